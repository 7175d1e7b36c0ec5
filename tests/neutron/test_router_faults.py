"""Killed at every declared point of what is done with routers and floating addresses, neutron comes back whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.operations import Killed, faults
from cloudseed.neutron import floatingips, routers  # noqa: F401  (they declare their points)
from tests.neutron.conftest import N, NeutronCloud, make_network, make_port, ok, until
from tests.neutron.test_faults import arm, disarm
from tests.neutron.test_routers import external, interface, new_router

__all__ = ["disarm"]
POINTS = [name for name in faults.declared() if name.startswith(("router_", "floatingip_"))]


def test_every_operation_has_its_points() -> None:
    assert len(POINTS) == 8 * 3


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at(tmp_path: Path, point: str) -> None:
    operation, _, moment = point.split(":")
    async with NeutronCloud(tmp_path) as cloud:
        admin = await cloud.login("admin")
        public, network = await external(admin), await make_network(admin)
        other = await make_network(admin, "10.2.0.0/24")
        port = await make_port(admin, network["id"])
        router = await new_router(admin, external_gateway_info={"network_id": public["id"]})
        assert (await interface(admin, router, "add", subnet_id=network["subnet"])).status == 200
        fip = ok(await admin.post(f"{N}/floatingips", {"floatingip": {
            "floating_network_id": public["id"], "port_id": port["id"]}}))
        spare = ok(await admin.post(f"{N}/floatingips", {"floatingip": {"floating_network_id": public["id"]}}))
        lone = await new_router(admin, external_gateway_info={"network_id": public["id"]})
        joined = await new_router(admin)
        leg = (await interface(admin, joined, "add", subnet_id=other["subnet"])).json()["port_id"]
        requests: dict[str, Any] = {
            "router_create": lambda: admin.post(f"{N}/routers", {"router": {
                "name": "new", "external_gateway_info": {"network_id": public["id"]}}}),
            "router_update": lambda: admin.put(f"{N}/routers/{lone['id']}", {"router": {"external_gateway_info": {}}}),
            "router_delete": lambda: admin.delete(f"{N}/routers/{lone['id']}"),
            "router_interface_add": lambda: interface(admin, router, "add", subnet_id=other["subnet"]),
            "router_interface_remove": lambda: interface(admin, joined, "remove", port_id=leg),
            "floatingip_create": lambda: admin.post(f"{N}/floatingips", {"floatingip": {
                "floating_network_id": public["id"]}}),
            "floatingip_update": lambda: admin.put(f"{N}/floatingips/{fip['id']}", {"floatingip": {"port_id": None}}),
            "floatingip_delete": lambda: admin.delete(f"{N}/floatingips/{fip['id']}")}
        if operation == "router_interface_add":  # the gateway's address must be free
            assert (await interface(admin, joined, "remove", port_id=leg)).status == 200
        arm(point)
        with pytest.raises(Killed):
            await requests[operation]()
        faults.arm(None)
    done = {operation} if moment != "before" else set()
    async with NeutronCloud(tmp_path) as cloud:  # the process is back; it has no hint of what was asked
        admin = await cloud.login("admin")
        ledger = (await cloud.runtime.ledger())["neutron"]
        by_id = {each["id"]: each for each in ledger["routers"]}
        assert len(by_id) == 3 + ("router_create" in done) - ("router_delete" in done)
        assert (lone["id"] in by_id) == ("router_delete" not in done)
        if lone["id"] in by_id:
            assert bool(by_id[lone["id"]]["gateway"]) == ("router_update" not in done)
        left = operation == "router_interface_add" or "router_interface_remove" in done
        assert by_id[joined["id"]]["legs"] == ([] if left else [leg])
        assert len(by_id[router["id"]]["legs"]) == 2 + ("router_interface_add" in done)
        found = {each["id"]: each for each in ok(await admin.get(f"{N}/floatingips"), 200)}
        assert len(found) == 2 + ("floatingip_create" in done) - ("floatingip_delete" in done)
        assert spare["id"] in found
        # every service port has its owner: a leg, a gateway or a floating address, and each of these its port
        legs = {leg for each in by_id.values() for leg in each["legs"]}
        owners = {p["id"]: p["device_owner"] for p in ledger["ports"] if p["device_owner"].startswith("network:")}
        assert legs == {id for id, owner in owners.items() if owner.startswith("network:router_")}
        assert sum(owner == "network:floatingip" for owner in owners.values()) == len(found)

        def wired() -> bool:
            assert cloud.host is not None
            host = {id: {leg.port_id for leg in (*wish.legs, *([wish.gateway] if wish.gateway else []))}
                    for id, wish in cloud.host.routers.items()}
            return {id: legs for id, legs in host.items() if legs} == {
                id: set(each["legs"]) for id, each in by_id.items() if each["legs"]}

        await until(wired)
        shown = {"floatingip_update", "floatingip_delete"} & done
        if not shown:
            async def active() -> bool:
                return bool(ok(await admin.get(f"{N}/floatingips/{fip['id']}"), 200)["status"] == "ACTIVE")

            await until(active)
        elif fip["id"] in found:
            assert found[fip["id"]]["status"] == "DOWN"
