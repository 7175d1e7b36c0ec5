"""Many orders at once: what there is room for runs, the rest is told why not, and nothing is given twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.faults.scene import Scene
from tests.support.daemon import Daemon, wait_for

ROOM, ORDERS = 20, 200


def test_two_hundred_orders_with_room_for_twenty() -> None:
    with Daemon(driver="fake", fake_vcpus=ROOM, cpu_allocation_ratio=1.0) as cloud:
        scene = Scene(cloud)
        with ThreadPoolExecutor(32) as clients:
            ids = list(clients.map(lambda n: scene.boot(f"vm-{n}"), range(ORDERS)))
        assert len(set(ids)) == ORDERS

        def servers() -> list[dict[str, object]]:
            found: list[dict[str, object]] = scene.api.get("/compute/v2.1/servers/detail")["servers"]
            return found

        wait_for(lambda: all(server["status"] != "BUILD" for server in servers()), 90, "every boot to end")
        found = servers()
        assert {server["id"] for server in found} == set(ids)
        assert Counter(server["status"] for server in found) == {"ACTIVE": ROOM, "ERROR": ORDERS - ROOM}
        for server in found:
            if server["status"] == "ERROR":
                fault = server["fault"]
                assert isinstance(fault, dict) and "No valid host was found" in fault["message"], fault
                assert "VCPU" in fault["message"], fault  # which resource there was too little of
        picture = cloud.settle()
        (provider,) = picture["placement"]["providers"]
        assert provider["inventories"]["VCPU"]["used"] == ROOM
        owned = [port for port in picture["neutron"]["ports"] if port["device_owner"].startswith("compute:")]
        assert len(owned) == ROOM
        # and room that is given back is taken
        active = next(str(server["id"]) for server in found if server["status"] == "ACTIVE")
        scene.send("DELETE", f"/compute/v2.1/servers/{active}")
        scene.wait_gone(active)
        scene.wait_status(scene.boot("late"), "ACTIVE")
        cloud.settle()
