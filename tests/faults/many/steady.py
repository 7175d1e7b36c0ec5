"""People who order all the time while something is wrong: boots, live migrations, volumes, deletes.  What is refused
with 503 is as if it had not been ordered, or was done all the same; what was taken must be done."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from cloudseed.cli.api import Api, ApiError
from tests.faults.many.test_lost_hosts import PATIENCE_S, Cloud3
from tests.faults.scene import COMPUTE
from tests.support.daemon import wait_for

VOLUME = "/volume/v3"
PASSING = {401, 409, 503}  # of an order: log in again, it was done already, try again


class Steady:
    """`prefix` names what is ordered.  `taken` and `refused` count what was answered."""

    def __init__(self, cloud: Cloud3, prefix: str) -> None:
        self.cloud = cloud
        self.prefix = prefix
        self.taken: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        self._servers: set[str] = set()
        self._volumes: set[str] = set()
        self._doomed: set[str] = set()
        self._perhaps: set[str] = set()  # to be deleted; whether that was taken is not known
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._api: Api = cloud.api
        self._api.send("PUT", f"{VOLUME}/os-quota-class-sets/default",
                       {"quota_class_set": {"volumes": -1, "gigabytes": -1}})

    @contextlib.contextmanager
    def at_work(self, people: int = 3) -> Iterator[Steady]:
        """That many order while the body runs."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(people)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def go_on(self, check: Callable[[], None] = lambda: None, **orders: int) -> None:
        """Until so many more of each kind (with spaces for underscores) were taken; `check` all the time."""
        wanted = {what.replace("_", " "): count + self.taken[what.replace("_", " ")] for what, count in orders.items()}

        def look() -> bool:
            check()
            return bool(self._errors) or all(self.taken[what] >= count for what, count in wanted.items())

        wait_for(look, PATIENCE_S, f"{wanted} to be taken")

    def _work(self, number: int) -> None:
        turn = 0
        try:
            while not self._stop.is_set():
                self._round(f"{self.prefix}-{number}-{turn}", delete=turn % 2 == 0)
                turn += 1
        except BaseException as exc:
            self._errors.append(exc)

    def _round(self, name: str, *, delete: bool) -> None:
        volume = self._order("volume", "POST", f"{VOLUME}/volumes", {"volume": {"name": name, "size": 1}})
        if volume is not None:
            self._volumes.add(volume["volume"]["id"])
        server = self._order("boot", "POST", f"{COMPUTE}/servers", {"server": {
            "name": name, "flavorRef": "tiny", "imageRef": self.cloud.image_id,
            "networks": [{"uuid": self.cloud.network_id}]}})
        if server is None:
            return
        server_id = server["server"]["id"]
        self._servers.add(server_id)
        if self._rests(server_id):
            self._order("live migration", "POST", f"{COMPUTE}/servers/{server_id}/action", {"os-migrateLive": {
                "host": None, "block_migration": True, "disk_over_commit": False}})
            self._rests(server_id)
        if delete:
            self._perhaps.add(server_id)
            if self._order("delete", "DELETE", f"{COMPUTE}/servers/{server_id}") is not None:
                self._doomed.add(server_id)
        if delete and volume is not None and self._is_made(volume["volume"]["id"]):
            self._order("delete of a volume", "DELETE", f"{VOLUME}/volumes/{volume['volume']['id']}")

    def _order(self, what: str, method: str, path: str, body: Any = None) -> Any:
        """The answer ({} when it has none); None when it was refused."""
        try:
            answer = self._api.send(method, path, body)
        except ApiError as exc:
            status = int(re.search(r": (\d{3}) ", str(exc))[1])  # type: ignore[index]
            assert status in PASSING, exc
            self.refused[status] += 1
            if status == 401:
                self.log_in()
            time.sleep(0.1)
            return None
        self.taken[what] += 1
        return answer or {}

    def log_in(self) -> None:
        """Anew, also where that is refused a few times."""
        def look() -> Api | None:
            with contextlib.suppress(ApiError):
                return self.cloud.cloud.api
            return None

        self._api = wait_for(look, PATIENCE_S, "a token")

    def ask(self, path: str) -> Any:
        """What a GET answers, also where it is refused a few times."""
        def look() -> Any:
            try:
                return self._api.get(path)
            except ApiError as exc:
                assert re.search(": (401|503) ", str(exc)), exc
                if ": 401 " in str(exc):
                    self.log_in()
            return None

        return wait_for(look, PATIENCE_S, path)

    def _rests(self, server_id: str) -> bool:
        """Wait until the server is ACTIVE and nothing is under way; False when we are to stop before that."""
        return self._becomes(f"{COMPUTE}/servers/{server_id}", "server", "ACTIVE")

    def _is_made(self, volume_id: str) -> bool:
        return self._becomes(f"{VOLUME}/volumes/{volume_id}", "volume", "available")

    def _becomes(self, path: str, kind: str, status: str) -> bool:
        until = time.monotonic() + PATIENCE_S
        while not self._stop.is_set():
            found = self.ask(path)[kind]
            assert found["status"].upper() != "ERROR", found
            if found["status"] == status and found.get("OS-EXT-STS:task_state") is None:
                return True
            assert time.monotonic() < until, found
            time.sleep(0.2)
        return False

    # ---- the end

    def all_ended(self) -> None:
        """All servers are ACTIVE but for those that were deleted, each with one machine, on its host; all volumes are
        available, and no move failed."""
        wait_for(self._at_rest(f"{COMPUTE}/servers/detail", "servers", "ACTIVE"), PATIENCE_S, "servers to come to rest")
        wait_for(self._at_rest(f"{VOLUME}/volumes/detail", "volumes", "available"), PATIENCE_S, "volumes to be made")
        found = {server["id"] for server in self.ask(f"{COMPUTE}/servers")["servers"]}
        assert not found & self._doomed and found >= self._servers - self._doomed - self._perhaps
        for server_id in found:
            assert self.cloud.machines(server_id) == [self.cloud.host_of(server_id)]
        moves = self.ask(f"{COMPUTE}/os-migrations")["migrations"]
        assert {move["status"] for move in moves if move["instance_uuid"] in found} <= {"completed"}, moves

    def _at_rest(self, path: str, kind: str, state: str) -> Callable[[], bool]:
        def look() -> bool:
            found = [thing for thing in self.ask(path)[kind] if thing["name"].startswith(self.prefix)]
            assert not any(thing["status"].lower().startswith("error") for thing in found), found
            return all(thing["status"] == state and thing.get("OS-EXT-STS:task_state") is None for thing in found) \
                and not {thing["id"] for thing in found} & self._doomed

        return look

    def remove_all(self) -> None:
        """Of our prefix, also what was refused and done all the same."""
        servers = [server["id"] for server in self.ask(f"{COMPUTE}/servers")["servers"]
                   if server["name"].startswith(self.prefix)]
        for volume in self.ask(f"{VOLUME}/volumes")["volumes"]:
            self.cloud.send("DELETE", f"{VOLUME}/volumes/{volume['id']}")
        self.cloud.remove(*servers)
        wait_for(lambda: not self.ask(f"{VOLUME}/volumes")["volumes"], PATIENCE_S, "volumes to be gone")
