"""Ten minutes without RabbitMQ while people go on ordering: what is taken is done afterwards, what is not taken is
refused with the reason, and nothing is left over.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloudseed.cli.api import ApiError
from cloudseed.cli.servers import rabbitmq
from tests.faults.scene import COMPUTE, NETWORK
from tests.faults.test_broker_away import VOLUME, Away, broker_of_ours
from tests.support.daemon import wait_for
from tests.support.long import long
from tests.support.serving import Serving

__all__ = ["broker_of_ours"]
AWAY_S = 600.0
PAUSE_S = 5.0  # between two orders
PATIENCE_S = 240.0


@pytest.fixture
def usual(broker_of_ours: rabbitmq.Broker) -> Iterator[Away]:
    """A cloud with the settings that everybody has."""
    with Serving(broker_of_ours.url, report_interval_s=10.0, service_down_s=60.0) as cloud:
        yield Away(broker_of_ours, cloud)


class People:
    """Orders of all kinds, one after another; who ordered what, and what was refused why."""

    def __init__(self, away: Away) -> None:
        self._away = away
        self._scene = away.scene
        self.servers: list[str] = []
        self.doomed: list[str] = []
        self.networks: list[str] = []
        self.ports: list[str] = []
        self.volumes: list[str] = []
        self.taken: Counter[str] = Counter()
        self.refused: list[tuple[str, int, str]] = []  # order, status, reason
        self.slowest_s = 0.0
        self._turn = 0

    def order(self) -> None:
        """The next one."""
        orders: list[Callable[[], Any]] = [self.boot, self.stop, self.network, self.volume, self.boot, self.delete,
                                           self.port, self.reboot]
        what = orders[self._turn % len(orders)]
        self._turn += 1
        began = time.monotonic()
        try:
            what()
            self.taken[what.__name__] += 1
        except ApiError as exc:
            status = int(re.search(r": (\d{3}) ", str(exc))[1])  # type: ignore[index]
            self.refused.append((what.__name__, status, str(exc)))
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def boot(self) -> None:
        self.servers.append(self._scene.boot(f"during-{self._turn}"))

    def stop(self) -> None:
        self._scene.act(self.servers[self._turn % len(self.servers)], "os-stop")

    def reboot(self) -> None:
        self._scene.act(self.servers[self._turn % len(self.servers)], "reboot", {"type": "HARD"})

    def delete(self) -> None:
        server_id = self.servers[self._turn % len(self.servers)]
        self._scene.send("DELETE", f"{COMPUTE}/servers/{server_id}")
        self.servers.remove(server_id)
        self.doomed.append(server_id)

    def network(self) -> None:
        self.networks.append(self._scene.new_network(f"during-{self._turn}"))

    def port(self) -> None:
        body = {"port": {"network_id": self._scene.network_id}}
        self.ports.append(str(self._scene.send("POST", f"{NETWORK}/ports", body)["port"]["id"]))

    def volume(self) -> None:
        body = {"volume": {"name": f"during-{self._turn}", "size": 1}}
        self.volumes.append(str(self._scene.send("POST", f"{VOLUME}/volumes", body)["volume"]["id"]))

    def volumes_are_made(self) -> bool:
        found = {volume["id"]: volume["status"]
                 for volume in self._scene.api.get(f"{VOLUME}/volumes/detail")["volumes"]}
        assert "error" not in found.values(), found
        return found.keys() == set(self.volumes) and set(found.values()) <= {"available"}

    def remove_all(self) -> None:
        for server_id in self.servers:
            self._scene.send("DELETE", f"{COMPUTE}/servers/{server_id}")
        for volume_id in self.volumes:
            self._scene.send("DELETE", f"{VOLUME}/volumes/{volume_id}")
        wait_for(lambda: not any(map(self._scene.server, self.servers)), PATIENCE_S, "servers to be gone")
        wait_for(lambda: not self._scene.api.get(f"{VOLUME}/volumes")["volumes"], PATIENCE_S, "volumes to be gone")
        for kind, ids in (("ports", self.ports), ("networks", self.networks)):
            for object_id in ids:
                self._scene.send("DELETE", f"{NETWORK}/{kind}/{object_id}")


@long
def test_ten_minutes_without_a_broker(usual: Away) -> None:
    people = People(usual)
    people.servers = [usual.scene.boot(f"before-{number}") for number in range(3)]
    untouched = usual.scene.boot("untouched")
    assert {usual.ended(server_id)["status"] for server_id in [*people.servers, untouched]} == {"ACTIVE"}
    usual.stop()
    until = time.monotonic() + AWAY_S
    while time.monotonic() < until:
        people.order()
        assert usual.scene.server(untouched)  # looking goes on
        time.sleep(PAUSE_S)
    usual.start()
    usual.wait_all_up()
    print("taken", dict(people.taken), "slowest", round(people.slowest_s, 1), "s; refused",
          *sorted({(what, status, reason[-200:]) for what, status, reason in people.refused}), sep="\n")
    assert {status for _, status, _ in people.refused} <= {409, 413, 503}, people.refused  # 413: a quota is full
    assert people.taken["boot"] and people.taken["network"]
    assert usual.ended(untouched, PATIENCE_S)["status"] == "ACTIVE"
    for server_id in people.servers:
        found = usual.ended(server_id, PATIENCE_S)
        assert found["status"] in ("ACTIVE", "SHUTOFF"), found  # all were waited for, and some are stopped
    wait_for(lambda: not any(map(usual.scene.server, people.doomed)), PATIENCE_S, "deleted servers to be gone")
    wait_for(people.volumes_are_made, PATIENCE_S, "volumes to be made")
    usual.clean()
    later = usual.scene.boot("later")
    assert usual.ended(later, PATIENCE_S)["status"] == "ACTIVE"
    people.servers += [later, untouched]
    people.remove_all()
    usual.clean()
