"""Many operations stand at their points at once, then a process is killed: a batch of the kill matrix.

    for batch in batches(points=lambda cell: ..., size=60):
        harm(scene, points, "control", batch)

Each operation ends as if nothing had been, the audit is clean, and the machines are where they belong.
"""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudseed.ledger import checks
from cloudseed.ledger.violations import operations
from tests.faults.lives.site import ManyLives
from tests.faults.many import lives
from tests.faults.many.lives import HERE, STORAGE, THERE, Cell, Site3
from tests.support.daemon import wait_for
from tests.support.points import Points

PATIENCE_S = 180.0
AT_ONCE = 6  # requests of one test
# whose cells may stand together: none passes a point of another's
GROUPS: dict[str, tuple[type[Cell], ...]] = {
    "servers": (lives.Lifetime, lives.Moves, lives.Actions, lives.Changes),
    "wires": (lives.Wire, lives.Routers),
    "others": (lives.Attachments, lives.InVain, lives.Images, lives.Upload, lives.RefusedUpload),
    "volumes": (lives.Volumes,),
    "evacuations": (lives.Evacuations,),
}
# victim -> the host that it belongs to, by what it does in a cell
VICTIMS: dict[str, int | None] = {
    "control": None, "rabbitmq": None, "postgres": None,
    **{f"host-{number} {kind}": number for number in (STORAGE, HERE, THERE) for kind in ("agent", "host")},
}
_numbers = itertools.count(1)


def concerned(victim: str, kind: type[Cell]) -> bool:
    """Whether the victim has a part in operations of that kind."""
    host = VICTIMS[victim]
    return host is None or host in kind.HOSTS


def draw(victim: str, group: str, wanted: Callable[[type[Cell], str, str], bool]) -> list[Cell]:
    """The wanted cells of a group that the victim has a part in, in an order that is always the same."""
    found = [each for kind in GROUPS[group] if concerned(victim, kind) for each in kind.every() if wanted(*each)]
    found.sort(key=lambda each: zlib.crc32(f"{each[1]} {each[2]}".encode()))
    return [kind(chapter, point, next(_numbers)) for kind, chapter, point in found]


def sample(victim: str, group: str) -> list[Cell]:
    """Every operation of a group at one of its points, which the names decide."""
    chosen: dict[str, tuple[int, Cell]] = {}
    for cell in draw(victim, group, lambda kind, chapter, point: True):
        name = cell.point.partition(":")[0] if group == "wires" else f"{type(cell).__name__} {cell.chapter}"
        weight = zlib.crc32(f"{victim} {name} {cell.point}".encode())
        if name not in chosen or weight < chosen[name][0]:
            chosen[name] = weight, cell
    return [cell for _, cell in chosen.values()]


class Batch:
    """Cells that stand together.  Those within a transaction stand last, one alone."""

    def __init__(self, scene: ManyLives, points: Points, cells: list[Cell]) -> None:
        assert sum(cell.still for cell in cells) <= 1
        self._scene, self._points = scene, points
        self._cells = sorted(cells, key=lambda cell: cell.turn)
        self._senders: list[threading.Thread] = []
        self._refused: list[str] = []

    def run(self, victim: str) -> None:
        """All the way; fails with what is wrong, and with which cell."""
        began = time.monotonic()
        self._all(lambda cell: cell.prepare(self._scene), "prepare")
        self.settle("before the kill")
        ready = time.monotonic()
        evacuates = any(isinstance(cell, lives.Evacuations) for cell in self._cells)
        if evacuates:
            self._lose_power()
        try:
            for _, cells in itertools.groupby(self._cells, lambda cell: cell.turn):
                self._stand(list(cells))
            standing = time.monotonic()
            self._scene.kill(victim)
            for cell in self._cells:
                cell.died = victim == "control"
        finally:
            self._points.release()
        self._scene.mend()
        mended = time.monotonic()
        for sender in self._senders:
            sender.join(PATIENCE_S)
        if evacuates:
            self._forced_down(False)
        assert not self._refused, self._refused
        self.settle(f"after the kill of {victim}")
        settled = time.monotonic()
        self._all(lambda cell: cell.ends(), "ends")
        self._all(lambda cell: cell.remove(), "remove")
        self.settle("when all is removed")
        laps = {"made ready": ready - began, "standing": standing - ready, "killed and mended": mended - standing,
                "at rest": settled - mended, "removed": time.monotonic() - settled}
        print(f"{len(self._cells)} cells, {victim}:", *(f"{name} {lap:.1f} s," for name, lap in laps.items()))

    def _stand(self, cells: list[Cell]) -> None:
        for cell in cells:
            (self._points.arm_still if cell.still else self._points.arm)(cell.point)
        for cell in cells:
            sender = threading.Thread(target=self._order, args=(cell,), daemon=True)
            self._senders.append(sender)
            sender.start()
        until = time.monotonic() + PATIENCE_S
        while missing := self._points.missing(cell.point for cell in cells):
            if self._refused or time.monotonic() > until:
                pytest.fail(f"nobody came to {missing}; answers: {[f'{c}: {c.answer}' for c in cells if c.answer]}, "
                            f"failed: {self._refused}")
            time.sleep(0.05)

    def _order(self, cell: Cell) -> None:
        try:
            cell.order()
        except Exception as exc:
            self._refused.append(f"{cell}: {exc!r}")

    def _all(self, act: Callable[[Cell], None], what: str) -> None:
        """Of every cell, some at once; fails with all that failed."""
        wrong: list[str] = []

        def one(cell: Cell) -> None:
            try:
                act(cell)
            except (Exception, pytest.fail.Exception) as exc:
                wrong.append(f"{what} of {cell}: {type(exc).__name__} {exc}")

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, self._cells))
        if wrong:
            pytest.fail("\n".join(wrong))

    # ---- evacuations: from a host without power

    def _lose_power(self) -> None:
        assert isinstance(self._scene, Site3)
        self._scene.site.power_off(HERE)
        self._forced_down(True)

    def _forced_down(self, down: bool) -> None:
        path = "/compute/v2.1/os-services"
        service, = self._scene.latest.get(f"{path}?binary=nova-compute&host=host-{HERE}")["services"]
        self._scene.latest.send("PUT", f"{path}/{service['id']}", {"forced_down": down})

    # ---- at rest

    def settle(self, when: str) -> None:
        """Until every host is up, no operation is open, the audit is clean and each server has its machine."""
        wrong: list[str] = ["not looked at"]

        def at_rest() -> bool:
            wrong[:] = self._wrong()
            return not wrong

        try:
            wait_for(at_rest, PATIENCE_S, "the cloud to come to rest")
        except pytest.fail.Exception:
            pytest.fail(f"{when}, of {[str(cell) for cell in self._cells]}: {wrong}")

    def _wrong(self) -> list[str]:
        picture: checks.Picture = self._scene.daemon.ask("ledger")
        wrong = [f"open: {operation}" for _, operation in operations(picture)]
        # the attachments that cinder's cells make are of servers that never were
        wrong += [str(found) for found in checks.check(picture) if found.rule != "attachment-without-server"]
        wrong += [f"{service['host']} is down" for service in self._scene.latest.get(
            "/compute/v2.1/os-services?binary=nova-compute")["services"] if service["state"] != "up"]
        return wrong + self._scene.machines_wrong(picture)


def split(cells: Iterable[Cell], size: int) -> list[list[Cell]]:
    """Batches of at most `size`, in each at most one that stands within a transaction and none at another's point."""
    made: list[list[Cell]] = []
    for cell in cells:
        for batch in made:
            if len(batch) < size and all(other.point != cell.point for other in batch) \
                    and not (cell.still and any(other.still for other in batch)):
                batch.append(cell)
                break
        else:
            made.append([cell])
    return made
