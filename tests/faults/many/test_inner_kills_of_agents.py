"""kill -9 of a host's agent in the middle of its own work, for all that is ordered in the kill matrix (lives.py), with
pretended machines: breadth, where test_inner_kills.py has real guests.  CLOUDSEED_TEST_LONG=1 runs it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from cloudseed.cli.hosts import settings
from cloudseed.cli.servers import postgres, rabbitmq
from cloudseed.ledger.violations import operations
from tests.faults.many import lives
from tests.faults.many.inner import revive
from tests.faults.many.lives import Cell, Site3
from tests.faults.many.matrix import Batch
from tests.support.daemon import Daemon, needs_root
from tests.support.deaths import Deaths
from tests.support.long import long
from tests.support.points import Points

pytestmark = [needs_root, pytest.mark.real, long,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]
AT_ONCE = 6
DOWN_S = 120.0
PATIENCE_S = 180.0
KINDS: tuple[type[Cell], ...] = (lives.Lifetime, lives.Moves, lives.Actions, lives.Changes, lives.Attachments,
                                 lives.Volumes, lives.InVain)


class Stage:
    def __init__(self, cloud: Daemon, deaths: Deaths, points: Points) -> None:
        self.cloud, self.deaths, self.points = cloud, deaths, points
        self.scene = Site3(cloud)
        self.died: set[str] = set()
        self.number = 0

    def passed(self, kind: type[Cell], chapter: str) -> list[str]:
        """Where an agent passes in this chapter, and has not died yet."""
        _, heard = self._live(kind, chapter, [])
        return [name for name in heard if name.startswith("agent,") and name not in self.died]

    def die(self, kind: type[Cell], chapter: str, names: list[str]) -> set[str]:
        """Once more, with deaths at these points; where somebody died."""
        died, _ = self._live(kind, chapter, names)
        self.died |= died
        return died

    def _live(self, kind: type[Cell], chapter: str, names: list[str]) -> tuple[set[str], list[str]]:
        """At which of the points somebody died, and all that were passed."""
        self.number += 1
        cell = kind(chapter, kind.POINTS[chapter][0], self.number)
        batch = Batch(self.scene, self.points, [cell])
        cell.prepare(self.scene)
        batch.settle("before the deaths")
        self.deaths.listen()
        self.deaths.arm(names)
        refused: list[str] = []
        sender = threading.Thread(target=self._order, args=(cell, refused), daemon=True)
        sender.start()
        until = time.monotonic() + PATIENCE_S
        while sender.is_alive() or any(operations(self.cloud.ask("ledger"))):
            revive(self.cloud)
            assert time.monotonic() < until, (str(cell), names, list(operations(self.cloud.ask("ledger"))))
            time.sleep(0.1)
        heard, died = self.deaths.heard(), set(self.deaths.died())
        self.deaths.disarm()
        revive(self.cloud)
        assert not refused, (str(cell), refused, died)
        batch.settle(f"after deaths at {sorted(died)}")
        cell.ends()
        cell.remove()
        batch.settle("when all is removed")
        return died, heard

    def _order(self, cell: Cell, refused: list[str]) -> None:
        try:
            cell.order()
        except Exception as exc:
            refused.append(repr(exc))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    cloud = Daemon(driver="fake", hosts=3)
    deaths, points = Deaths(cloud.state.parent / "deaths"), Points(cloud.state.parent / "points")
    cloud.environment |= deaths.environment
    with pytest.MonkeyPatch.context() as patched:
        # a host whose agent dies again and again shall not count as down: its work would be given to others
        patched.setattr(settings, "SERVICE_DOWN_S", DOWN_S)
        with cloud:
            yield Stage(cloud, deaths, points)


@pytest.mark.parametrize(("kind", "chapter"), [
    pytest.param(kind, chapter, id=f"{kind.__name__}-{chapter}") for kind in KINDS for chapter in kind.POINTS])
def test_every_point(stage: Stage, kind: type[Cell], chapter: str) -> None:
    """At which no agent has died in an earlier test."""
    left = stage.passed(kind, chapter)
    died: set[str] = set()
    for number in range(-(-len(left) // AT_ONCE)):
        died |= stage.die(kind, chapter, left[number::-(-len(left) // AT_ONCE)])
    print(f"{kind.__name__} {chapter}: died at {len(died)} of {len(left)} points; never at "
          f"{sorted(set(left) - died)}", file=sys.stderr)
