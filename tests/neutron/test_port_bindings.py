"""Bindings of one port to several hosts."""

from __future__ import annotations

import time
from typing import Any

from cloudseed.kernel.context import Context
from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok
from tests.neutron.test_wiring import active, bound_port, show
from tests.support.cloud import Client


async def second_host(cloud: NeutronCloud, name: str = "other") -> None:
    """An agent of another host, which says that it lives."""
    await cloud.env.bus("neutron-l2-agent").call(
        Context(), "neutron-server", "report_state", agent_type="Linux bridge agent", binary="neutron-l2-agent",
        topic_name="neutron-agent", host=name, started_at=time.time(), configurations={})


async def test_a_waiting_binding_becomes_the_active_one(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    port = await bound_port(admin, nova, network["id"])
    await active(admin, port["id"])
    path = f"{N}/ports/{port['id']}/bindings"

    def wish(**binding: Any) -> dict[str, Any]:
        return {"binding": binding}

    fails(await nova.post(path, wish(host="other")), 409, "PortBindingError")
    await second_host(cloud)
    made = ok(await nova.post(path, wish(host="other", profile={"migrating_to": "other"})))
    assert (made["status"], made["vif_type"], made["host"]) == ("INACTIVE", "bridge", "other")
    fails(await nova.post(path, wish(host="other")), 409, "PortBindingAlreadyExists")
    fails(await nova.post(path, wish(host="localhost")), 409, "PortBindingAlreadyExists")
    shown = ok(await admin.get(path), 200)
    assert [(b["host"], b["status"]) for b in shown] == [("localhost", "ACTIVE"), ("other", "INACTIVE")]
    assert [b["host"] for b in ok(await admin.get(f"{path}?status=INACTIVE"), 200)] == ["other"]
    assert (await admin.get(f"{path}?colour=red")).status == 400
    changed = ok(await nova.put(f"{path}/other", wish(vnic_type="macvtap")), 200)
    assert (changed["vnic_type"], changed["profile"]) == ("macvtap", {"migrating_to": "other"})
    assert (await show(admin, port["id"]))["status"] == "ACTIVE"

    fails(await nova.put(f"{path}/localhost/activate"), 409, "PortBindingAlreadyActive")
    fails(await nova.put(f"{path}/nowhere/activate"), 404, "PortBindingNotFound")
    answer = await nova.put(f"{path}/other/activate")
    assert answer.status == 200 and answer.json()["status"] == "ACTIVE"
    moved = await show(admin, port["id"])
    assert (moved["binding:host_id"], moved["binding:vnic_type"], moved["status"]) == ("other", "macvtap", "DOWN")
    host = cloud.host
    assert host is not None
    assert ok(await admin.get(f"{path}/localhost"), 200)["status"] == "INACTIVE"
    await cloud.service("neutron-agents").loops[-1].run_soon()
    assert host.wish(network["id"]).ports[0].local  # wired until the binding goes: the guest may come back
    await nova.put(f"{path}/localhost/activate")
    await active(admin, port["id"])
    assert (await nova.delete(f"{path}/other")).status == 204
    fails(await admin.get(f"{path}/other"), 404, "PortBindingNotFound")
    assert (await nova.delete(f"{path}/localhost")).status == 204
    unbound = await show(admin, port["id"])
    assert (unbound["binding:host_id"], unbound["binding:vif_type"]) == ("", "unbound")
    assert ok(await nova.post(path, wish(host="localhost")))["status"] == "ACTIVE"
    await active(admin, port["id"])
    await nova.post(path, wish(host="other"))
    assert (await nova.delete(f"{N}/ports/{port['id']}")).status == 204
    assert (await admin.get(path)).status == 404


async def test_who_may_bind_and_what(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    port = await bound_port(admin, nova, network["id"])
    path = f"{N}/ports/{port['id']}/bindings"
    member = await cloud.new_project("p")
    assert (await member.get(path)).status == 404
    fails(await admin.post(path, {"binding": {"host": "localhost"}}), 403, "PolicyNotAuthorized")
    fails(await admin.put(f"{path}/localhost/activate"), 403, "PolicyNotAuthorized")
    fails(await admin.delete(f"{path}/localhost"), 403, "PolicyNotAuthorized")
    own = await make_port(admin, network["id"])
    fails(await nova.post(f"{N}/ports/{own['id']}/bindings", {"binding": {"host": "localhost"}}), 409,
          "UnsupportedPortDeviceOwner")
    for binding in ({}, {"host": ""}, {"host": 5}, {"host": "x" * 300}, {"host": "h", "vnic_type": "x"},
                    {"host": "h", "profile": "x"}, {"host": "h", "status": "ACTIVE"}):
        assert (await nova.post(path, {"binding": binding})).status == 400, binding
