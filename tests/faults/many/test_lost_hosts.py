"""A host that is cut off, and one that loses its power: the others go on, and what comes back removes only what is no
longer its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import harm
from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.scene import COMPUTE, Scene
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]
PATIENCE_S = 120.0  # other tests have the processors too


class Cloud3(Scene):
    """Hosts with pretended machines, three or so, and ways to harm them."""

    def __init__(self, cloud: Daemon) -> None:
        super().__init__(cloud)
        self.site = harm.Site(cloud.state, cloud.config.port, cloud.start)
        for number in range(1, self.site.shape.count + 1):
            self.wait_host(number, "up")

    def wait_host(self, number: int, state: str) -> None:
        """Until nova says so, and of a living host all of neutron's agents too."""
        def look() -> bool:
            service, = self.api.get(f"{COMPUTE}/os-services?binary=nova-compute&host=host-{number}")["services"]
            agents = self.api.get(f"/networking/v2.0/agents?host=host-{number}")["agents"]
            return bool(service["state"] == state and (state == "down" or all(agent["alive"] for agent in agents)))

        wait_for(look, PATIENCE_S, f"host-{number} to be {state}")

    def boot_on(self, number: int, name: str) -> str:
        server_id = self.boot(name, availability_zone=f"nova:host-{number}")
        self.wait_status(server_id, "ACTIVE", PATIENCE_S)
        return server_id

    def machines(self, server_id: str) -> list[str]:
        """The hosts that have a machine of that server."""
        root = self.cloud.state / "hosts"
        return sorted(path.relative_to(root).parts[0]
                      for path in root.glob(f"*/**/nova-compute/*/machines/{server_id}.json"))

    def host_of(self, server_id: str) -> str:
        server = self.server(server_id)
        assert server is not None
        return str(server["OS-EXT-SRV-ATTR:host"])

    def remove(self, *server_ids: str) -> None:
        for server_id in server_ids:
            self.send("DELETE", f"{COMPUTE}/servers/{server_id}")
        for server_id in server_ids:
            self.wait_gone(server_id, PATIENCE_S)
        self.cloud.settle(PATIENCE_S)
        assert not any(self.machines(server_id) for server_id in server_ids)


@pytest.fixture(scope="module")
def cloud3() -> Iterator[Cloud3]:
    with Daemon(driver="fake", hosts=3) as started:
        yield Cloud3(started)


def test_a_host_that_is_cut_off(cloud3: Cloud3) -> None:
    kept, doomed = cloud3.boot_on(2, "kept"), cloud3.boot_on(2, "doomed")
    reconnect = cloud3.site.unplug(2)
    try:
        cloud3.wait_host(2, "down")
        cloud3.send("DELETE", f"{COMPUTE}/servers/{doomed}")
        elsewhere = cloud3.boot("elsewhere")
        cloud3.wait_status(elsewhere, "ACTIVE", PATIENCE_S)
        assert cloud3.host_of(elsewhere) != "host-2"
        assert cloud3.machines(kept) == cloud3.machines(doomed) == ["host-2"]  # nobody can have touched them
    finally:
        reconnect()
    cloud3.wait_host(2, "up")
    cloud3.wait_gone(doomed, PATIENCE_S)
    wait_for(lambda: not cloud3.machines(doomed), PATIENCE_S, "the machine of the deleted server to be gone")
    cloud3.wait_status(kept, "ACTIVE", PATIENCE_S)
    cloud3.cloud.settle(PATIENCE_S)
    assert cloud3.machines(kept) == ["host-2"]
    again = cloud3.boot_on(2, "again")
    cloud3.remove(kept, elsewhere, again)


def test_a_host_without_power_is_evacuated_and_returns(cloud3: Cloud3) -> None:
    moved, left = cloud3.boot_on(3, "moved"), cloud3.boot_on(3, "left")
    cloud3.site.power_off(3)
    cloud3.wait_host(3, "down")
    cloud3.act(moved, "evacuate", {"onSharedStorage": False})
    wait_for(lambda: cloud3.host_of(moved) != "host-3", PATIENCE_S, "the server to be on another host")
    cloud3.wait_status(moved, "ACTIVE", PATIENCE_S)
    there = cloud3.host_of(moved)
    assert cloud3.machines(moved) == sorted([there, "host-3"])  # the dead host's disk has it still
    cloud3.site.mend(None)
    cloud3.wait_host(3, "up")
    wait_for(lambda: cloud3.machines(moved) == [there], PATIENCE_S, "host-3 to remove what is no longer its own")
    cloud3.cloud.settle(PATIENCE_S)
    assert cloud3.machines(left) == ["host-3"] and cloud3.host_of(left) == "host-3"
    cloud3.wait_status(moved, "ACTIVE", PATIENCE_S)
    cloud3.remove(moved, left)
