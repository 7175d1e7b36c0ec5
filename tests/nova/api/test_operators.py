"""What operators see and arrange: services, hypervisors, zones, aggregates, quotas, usage; and external events."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.nova.api.cloud import NovaCloud, message, nova

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_services(cloud: NovaCloud) -> None:
    admin = cloud.admin
    found = (await nova(admin, "GET", "/os-services")).json()["services"]
    assert {s["binary"]: (s["zone"], s["state"], s["status"]) for s in found} == {
        "nova-compute": ("nova", "up", "enabled"), "nova-conductor": ("internal", "up", "enabled"),
        "nova-scheduler": ("internal", "up", "enabled")}
    (compute,) = (await nova(admin, "GET", "/os-services?binary=nova-compute&host=localhost")).json()["services"]
    path = f"/os-services/{compute['id']}"
    off = await nova(admin, "PUT", path, {"status": "disabled", "disabled_reason": "repair"})
    assert off.json()["service"]["status"] == "disabled" and off.json()["service"]["disabled_reason"] == "repair"
    (hypervisor,) = (await nova(admin, "GET", "/os-hypervisors")).json()["hypervisors"]
    assert hypervisor["status"] == "disabled"
    old = {"host": "localhost", "binary": "nova-compute"}
    on = await nova(admin, "PUT", "/os-services/enable", old, "2.1")
    assert on.json() == {"service": {**old, "status": "enabled"}}
    down = await nova(admin, "PUT", "/os-services/force-down", {**old, "forced_down": True}, "2.11")
    assert down.json() == {"service": {**old, "forced_down": True}}
    assert (await nova(admin, "GET", "/os-services?binary=nova-compute")).json()["services"][0]["state"] == "down"
    assert (await nova(admin, "PUT", path, {"forced_down": False})).json()["service"]["state"] == "up"
    number = (await nova(admin, "GET", "/os-services?binary=nova-compute", version="2.1")).json()["services"][0]["id"]
    assert isinstance(number, int)
    busy = await cloud.boot(admin)
    refused = await nova(admin, "DELETE", path)
    assert refused.status == 409 and "hosting instances" in message(refused)
    await nova(admin, "DELETE", f"/servers/{busy['id']}")
    await cloud.wait_gone(admin, busy["id"])


_NOBODY = "7a1e6d0c-52a4-4b53-9c55-0e3a57c1a9c4"


@pytest.mark.parametrize(("path", "body", "version", "status"), [
    ("x", {"status": "enabled"}, "2.53", 400), (_NOBODY, {"status": "enabled"}, "2.53", 404),
    (_NOBODY, {}, "2.53", 400), (_NOBODY, {"status": "perhaps"}, "2.53", 400),
    (_NOBODY, {"disabled_reason": "x"}, "2.53", 400), (_NOBODY, [], "2.53", 400),
    ("enable", {"host": "nowhere", "binary": "nova-compute"}, "2.1", 404), ("enable", {"host": "x"}, "2.1", 400),
    ("explode", {"host": "localhost", "binary": "nova-compute"}, "2.1", 404),
    ("enable", {"host": "localhost", "binary": "nova-conductor"}, "2.1", 400),
    ("disable-log-reason", {"host": "localhost", "binary": "nova-compute"}, "2.1", 400),
    ("force-down", {"host": "localhost", "binary": "nova-compute", "forced_down": True}, "2.10", 404)])
async def test_bad_changes_of_services(cloud: NovaCloud, path: str, body: Any, version: str, status: int) -> None:
    assert (await nova(cloud.admin, "PUT", f"/os-services/{path}", body, version)).status == status


async def test_hypervisors(cloud: NovaCloud) -> None:
    admin = cloud.admin
    server = await cloud.boot(admin, name="on-it")
    (found,) = (await nova(admin, "GET", "/os-hypervisors/detail?with_servers=true")).json()["hypervisors"]
    assert found["state"] == "up" and {"uuid": server["id"], "name": "on-it"} in found["servers"]
    assert "vcpus" not in found and found["service"]["host"] == "localhost"
    path = f"/os-hypervisors/{found['id']}"
    assert (await nova(admin, "GET", path)).json()["hypervisor"]["hypervisor_hostname"] == "localhost"
    old = (await nova(admin, "GET", path, version="2.87")).json()["hypervisor"]
    assert old["vcpus"] == 1000 and old["running_vms"] >= 1 and old["memory_mb_used"] >= 256
    assert isinstance(old["cpu_info"], dict)
    oldest = (await nova(admin, "GET", "/os-hypervisors/detail", version="2.1")).json()["hypervisors"][0]
    assert isinstance(oldest["id"], int) and isinstance(oldest["cpu_info"], str)
    by_number = await nova(admin, "GET", f"/os-hypervisors/{oldest['id']}", version="2.1")
    assert by_number.json()["hypervisor"]["hypervisor_hostname"] == "localhost"
    statistics = (await nova(admin, "GET", "/os-hypervisors/statistics", version="2.87")).json()
    assert statistics["hypervisor_statistics"]["count"] == 1
    assert (await nova(admin, "GET", "/os-hypervisors/statistics")).status in (400, 404)
    searched = (await nova(admin, "GET", "/os-hypervisors/local/search", version="2.52")).json()["hypervisors"]
    assert [h["hypervisor_hostname"] for h in searched] == ["localhost"]
    its = (await nova(admin, "GET", "/os-hypervisors/local/servers", version="2.52")).json()["hypervisors"]
    assert server["id"] in [s["uuid"] for s in its[0]["servers"]]
    for missing in ("/os-hypervisors/" + str(uuid.uuid4()), "/os-hypervisors?hypervisor_hostname_pattern=nothing"):
        assert (await nova(admin, "GET", missing)).status == 404
    for bad in ("/os-hypervisors/x", "/os-hypervisors?limit=x", "/os-hypervisors?unknown=1",
                "/os-hypervisors?limit=1&hypervisor_hostname_pattern=l", "/os-hypervisors?with_servers=maybe"):
        assert (await nova(admin, "GET", bad)).status == 400, bad


async def test_zones_come_from_aggregates(cloud: NovaCloud) -> None:
    admin = cloud.admin
    user = await cloud.new_project("zones")
    plain = (await nova(user, "GET", "/os-availability-zone")).json()["availabilityZoneInfo"]
    assert plain == [{"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}]
    assert (await nova(user, "GET", "/os-availability-zone/detail")).status == 403
    made = await nova(admin, "POST", "/os-aggregates", {"aggregate": {"name": "rack", "availability_zone": "az1"}})
    aggregate = made.json()["aggregate"]
    assert aggregate["availability_zone"] == "az1" and aggregate["uuid"] and "hosts" not in aggregate
    assert (await nova(admin, "POST", "/os-aggregates", {"aggregate": {"name": "rack"}})).status == 409
    path = f"/os-aggregates/{aggregate['id']}"

    async def act(**body: Any) -> int:
        return (await nova(admin, "POST", path + "/action", body)).status

    assert await act(add_host={"host": "nowhere"}) == 404
    assert await act(add_host={"host": "localhost"}) == 200
    assert await act(add_host={"host": "localhost"}) == 409
    zones = (await nova(admin, "GET", "/os-availability-zone/detail")).json()["availabilityZoneInfo"]
    assert [z["zoneName"] for z in zones] == ["az1", "internal"]
    assert zones[0]["hosts"]["localhost"]["nova-compute"]["available"] is True
    assert await act(set_metadata={"metadata": {"ssd": "true"}}) == 200
    shown = (await nova(admin, "GET", path)).json()["aggregate"]
    assert shown["hosts"] == ["localhost"] and shown["metadata"] == {"availability_zone": "az1", "ssd": "true"}
    assert (await nova(admin, "DELETE", path)).status == 400
    assert await act(set_metadata={"metadata": {"ssd": None}}) == 200
    assert await act(remove_host={"host": "localhost"}) == 200
    assert await act(remove_host={"host": "localhost"}) == 404
    renamed = await nova(admin, "PUT", path, {"aggregate": {"name": "rack2"}})
    assert renamed.json()["aggregate"]["name"] == "rack2"
    assert await act(explode={}) == 400 and await act(add_host={}) == 400
    for bad in ({"name": ""}, {"name": "x" * 256}, {"name": "x", "availability_zone": "a:b"}, {"name": "x", "more": 1}):
        assert (await nova(admin, "POST", "/os-aggregates", {"aggregate": bad})).status == 400, bad
    assert (await nova(admin, "DELETE", path)).status == 200
    assert (await nova(admin, "GET", path)).status == 404
    assert (await nova(admin, "GET", "/os-aggregates/x")).status == 400
    assert (await nova(admin, "GET", "/os-aggregates/-1")).status == 404
    assert (await nova(user, "GET", "/os-aggregates")).status == 403


async def test_server_groups(cloud: NovaCloud) -> None:
    one, other = await cloud.new_project("group-one"), await cloud.new_project("group-other")
    body = {"server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}}
    made = (await nova(one, "POST", "/os-server-groups", body)).json()["server_group"]
    assert made["rules"] == {"max_server_per_host": 2} and made["members"] == [] and made["user_id"] == one.user_id
    old = (await nova(one, "GET", f"/os-server-groups/{made['id']}", version="2.12")).json()["server_group"]
    assert old == {"id": made["id"], "name": "g", "policies": ["anti-affinity"], "metadata": {}, "members": []}
    assert (await nova(other, "GET", f"/os-server-groups/{made['id']}")).status == 404
    assert (await nova(other, "DELETE", f"/os-server-groups/{made['id']}")).status == 404
    assert (await nova(other, "GET", "/os-server-groups")).json() == {"server_groups": []}
    everybodys = (await nova(cloud.admin, "GET", "/os-server-groups?all_projects=1")).json()["server_groups"]
    assert made["id"] in [g["id"] for g in everybodys]
    assert (await nova(one, "DELETE", f"/os-server-groups/{made['id']}")).status == 204
    await nova(cloud.admin, "PUT", f"/os-quota-sets/{one.project_id}", {"quota_set": {"server_groups": 0}})
    over = await nova(one, "POST", "/os-server-groups", body)
    assert over.status == 403 and message(over) == "Quota exceeded, too many server groups."


@pytest.mark.parametrize(("body", "version"), [
    ({"name": "g", "policies": ["affinity", "anti-affinity"]}, "2.1"), ({"name": "g", "policies": []}, "2.1"),
    ({"name": "g", "policies": ["soft-affinity"]}, "2.14"), ({"name": "g", "policy": "affinity"}, "2.63"),
    ({"name": "g", "policies": ["affinity"]}, "2.64"), ({"name": "g", "policy": "nearby"}, "2.64"),
    ({"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 2}}, "2.64"),
    ({"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}, "2.64"),
    ({"name": "", "policy": "affinity"}, "2.64"), ([], "2.64")])
async def test_bad_groups_are_refused(cloud: NovaCloud, body: Any, version: str) -> None:
    answer = await nova(cloud.admin, "POST", "/os-server-groups", {"server_group": body}, version)
    assert answer.status == 400


async def test_quotas(cloud: NovaCloud) -> None:
    admin = cloud.admin
    user = await cloud.new_project("quotas")
    path = f"/os-quota-sets/{user.project_id}"
    shown = (await nova(user, "GET", path)).json()["quota_set"]
    assert shown == {"id": user.project_id, "cores": 20, "instances": 10, "key_pairs": 100, "metadata_items": 128,
                     "ram": 51200, "server_group_members": 10, "server_groups": 10}
    old = (await nova(user, "GET", path, version="2.1")).json()["quota_set"]
    assert old["injected_files"] == 5 and old["floating_ips"] == -1
    assert (await nova(user, "PUT", path, {"quota_set": {"cores": 1}})).status == 403
    kept = await nova(admin, "PUT", path, {"quota_set": {"floating_ips": 7}}, version="2.1")
    assert kept.json()["quota_set"]["floating_ips"] == 7 and kept.json()["quota_set"]["fixed_ips"] == -1
    changed = await nova(admin, "PUT", path, {"quota_set": {"cores": "30", "instances": 2}})
    assert changed.json()["quota_set"]["cores"] == 30
    await cloud.boot(user)
    below = await nova(admin, "PUT", path, {"quota_set": {"cores": 0}})
    assert below.status == 400 and "already used" in message(below)
    assert (await nova(admin, "PUT", path, {"quota_set": {"cores": 0, "force": True}})).status == 200
    detail = (await nova(user, "GET", path + "/detail")).json()["quota_set"]
    assert detail["instances"] == {"limit": 2, "in_use": 1, "reserved": 0}
    personal = await nova(admin, "PUT", f"{path}?user_id={user.user_id}", {"quota_set": {"instances": 1}})
    assert personal.json()["quota_set"]["instances"] == 1
    over = await nova(user, "POST", "/servers", cloud.order())
    assert over.status == 403
    assert (await nova(admin, "DELETE", path)).status == 202
    assert (await nova(user, "GET", path)).json()["quota_set"]["instances"] == 10
    assert (await nova(user, "GET", path + "/defaults")).json()["quota_set"]["cores"] == 20
    other = await cloud.new_project("quotas-other")
    assert (await nova(other, "GET", path)).status == 403
    assert (await nova(other, "GET", f"/limits?tenant_id={user.project_id}")).status == 403
    assert (await nova(admin, "GET", f"/limits?tenant_id={user.project_id}")).status == 200
    unknown = await nova(admin, "GET", "/os-quota-sets/nobody")
    assert unknown.status == 400 and message(unknown) == "Project ID nobody is not a valid project."
    classes = await nova(admin, "PUT", "/os-quota-class-sets/default", {"quota_class_set": {"server_groups": 11}})
    assert classes.json()["quota_class_set"]["server_groups"] == 11
    assert (await nova(user, "GET", path)).json()["quota_set"]["server_groups"] == 11


@pytest.mark.parametrize("limits", [{"cores": -2}, {"cores": "x"}, {"cores": 2**31}, {"unknown": 1}, [],
                                    {"cores": None}, {"cores": True}, {"injected_files": 1}, {"force": "perhaps"}])
async def test_bad_quotas_are_refused(cloud: NovaCloud, limits: Any) -> None:
    path = f"/os-quota-sets/{cloud.admin.project_id}"
    assert (await nova(cloud.admin, "PUT", path, {"quota_set": limits})).status == 400


async def test_usage(cloud: NovaCloud) -> None:
    user = await cloud.new_project("usage")
    await cloud.boot(user, name="used")
    found = (await nova(user, "GET", f"/os-simple-tenant-usage/{user.project_id}")).json()["tenant_usage"]
    (server,) = found["server_usages"]
    assert server["name"] == "used" and server["vcpus"] == 1 and server["state"] == "active" and server["hours"] >= 0
    assert (await nova(user, "GET", "/os-simple-tenant-usage")).status == 403
    everybodys = (await nova(cloud.admin, "GET", "/os-simple-tenant-usage?detailed=0")).json()["tenant_usages"]
    assert user.project_id in [u["tenant_id"] for u in everybodys] and "server_usages" not in everybodys[0]
    other = await cloud.new_project("usage-other")
    assert (await nova(other, "GET", f"/os-simple-tenant-usage/{user.project_id}")).status == 403
    empty = await nova(other, "GET", f"/os-simple-tenant-usage/{other.project_id}?start=2020-01-01&end=2020-01-02")
    assert empty.json() == {"tenant_usage": {}}
    for query in ("start=x", "start=2020-01-02&end=2020-01-01", "limit=x", "unknown=1"):
        assert (await nova(cloud.admin, "GET", f"/os-simple-tenant-usage?{query}")).status == 400, query


def event(server_id: str, name: str = "network-changed", **more: Any) -> dict[str, Any]:
    return {"name": name, "server_uuid": server_id, **more}


async def test_external_events(cloud: NovaCloud) -> None:
    server = await cloud.boot(cloud.admin)
    nobody = str(uuid.uuid4())
    path = "/os-server-external-events"
    good = await nova(cloud.admin, "POST", path, {"events": [event(server["id"])]})
    assert good.status == 200
    assert good.json() == {"events": [{**event(server["id"]), "status": "completed", "code": 200}]}
    mixed = await nova(cloud.admin, "POST", path, {"events": [event(server["id"]), event(nobody, tag="t")]})
    assert mixed.status == 207 and [e["code"] for e in mixed.json()["events"]] == [200, 404]
    assert mixed.json()["events"][1]["status"] == "failed"
    assert (await nova(cloud.admin, "POST", path, {"events": [event(nobody)]})).status == 404
    user = await cloud.new_project("events")
    assert (await nova(user, "POST", path, {"events": [event(server["id"])]})).status == 403
    service = await cloud.login("neutron", project="service")
    assert (await nova(service, "POST", path, {"events": [event(server["id"])]})).status == 200


@pytest.mark.parametrize("body", [
    {}, {"events": []}, {"events": {}}, {"events": [{}]}, {"events": [event("x")]},
    {"events": [event(str(uuid.uuid4()), "boom")]},
    {"events": [event(str(uuid.uuid4()), status="odd")]}, {"events": [event(str(uuid.uuid4()), more=1)]},
    {"events": [event(str(uuid.uuid4()), tag="")]}, {"events": [event(str(uuid.uuid4()))] * 1001}])
async def test_bad_events_are_refused(cloud: NovaCloud, body: Any) -> None:
    assert (await nova(cloud.admin, "POST", "/os-server-external-events", body)).status == 400


async def test_events_belong_to_microversions(cloud: NovaCloud) -> None:
    body = {"events": [event(str(uuid.uuid4()), "volume-extended")]}
    assert (await nova(cloud.admin, "POST", "/os-server-external-events", body, "2.50")).status == 400
    assert (await nova(cloud.admin, "POST", "/os-server-external-events", body, "2.51")).status == 404
