"""Killed at every declared point, neutron comes back whole: no half of a change, and the host as wished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.operations import Killed, faults
from cloudseed.neutron import networks, ports  # noqa: F401  (they declare their points)
from tests.neutron.conftest import N, NeutronCloud, make_network, make_port, ok, until
from tests.neutron.test_wiring import SERVER, active, bound_port

POINTS = [name for name in faults.declared() if name.split(":")[0] in (
    "network_create", "network_delete", "port_create", "port_update", "port_delete")]


@pytest.fixture(autouse=True)
def disarm() -> Iterator[None]:
    yield
    faults.arm(None)


def arm(point: str) -> None:
    def die(name: str) -> None:
        if name == point:
            raise Killed(name)

    faults.arm(die)


def test_every_operation_has_its_points() -> None:
    assert len(POINTS) == 15


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at(tmp_path: Path, point: str) -> None:
    operation, _, moment = point.split(":")
    committed = moment != "before"
    async with NeutronCloud(tmp_path) as cloud:
        admin, nova = await cloud.login("admin"), await cloud.login("nova", project="service")
        network = await make_network(admin)
        port = await bound_port(admin, nova, network["id"])
        await active(admin, port["id"])
        spare = await make_port(nova, network["id"], device_id=SERVER, device_owner="compute:nova",
                                tenant_id=admin.project_id)
        empty = await make_network(admin, None, name="empty")
        requests: dict[str, Any] = {
            "network_create": lambda: admin.post(f"{N}/networks", {"network": {"name": "new"}}),
            "network_delete": lambda: admin.delete(f"{N}/networks/{empty['id']}"),
            "port_create": lambda: nova.post(f"{N}/ports", {"port": {
                "network_id": network["id"], "name": "new", "device_id": SERVER, "device_owner": "compute:nova",
                "binding:host_id": "localhost"}}),
            "port_update": lambda: nova.put(f"{N}/ports/{spare['id']}", {"port": {"binding:host_id": "localhost"}}),
            "port_delete": lambda: nova.delete(f"{N}/ports/{port['id']}")}
        arm(point)
        with pytest.raises(Killed):
            await requests[operation]()
        faults.arm(None)
    async with NeutronCloud(tmp_path) as cloud:  # the process is back; it has no hint of what was asked
        admin = await cloud.login("admin")
        found = {n["name"] for n in ok(await admin.get(f"{N}/networks"), 200)}
        assert found == {"net"} | ({"new"} if operation == "network_create" and committed else set()) | (
            set() if operation == "network_delete" and committed else {"empty"})
        alive = [p for p in ok(await admin.get(f"{N}/ports?network_id={network['id']}"), 200)
                 if p["device_owner"] != "network:dhcp"]
        bound = {p["id"] for p in alive if p["binding:host_id"]}
        assert len(alive) == 2 + (committed and operation == "port_create") - (committed and operation == "port_delete")
        assert (spare["id"] in bound) == (operation == "port_update" and committed)

        def wired() -> bool:
            assert cloud.host is not None
            wish = cloud.host.networks.get(network["id"])
            return {p.port_id for p in wish.ports if p.local} == bound if wish else not bound

        await until(wired)
        for port_id in bound:
            await active(admin, port_id)
        owed = {port_id for port_id in bound if port_id != port["id"]}
        await until(lambda: owed <= {event["tag"] for event in cloud.nova.events})
        addresses = (await cloud.runtime.ledger())["neutron"]["ports"]
        assert all(p["plug_event"] is None or p["id"] in owed for p in addresses)
        assert all(p["addresses"] for p in addresses if p["network_id"] == network["id"])
