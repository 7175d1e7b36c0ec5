"""Servers as a client sees them: ordered, listed, shown, changed, powered, deleted."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.nova.api.cloud import NovaCloud, message, nova

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_servers_life(cloud: NovaCloud) -> None:
    user = await cloud.new_project("life")
    answer = await nova(user, "POST", "/servers", cloud.order(name="first", metadata={"a": "b"}), "2.1")
    assert answer.status == 202
    made = answer.json()["server"]
    assert set(made) == {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
    assert made["security_groups"] == [{"name": "default"}] and len(made["adminPass"]) == 12
    assert answer.headers["location"] == f"http://127.0.0.1:8080/compute/v2.1/servers/{made['id']}"
    server = await cloud.wait_for(user, made["id"], "ACTIVE")
    (address,) = server["addresses"]["public-net"]
    assert address["version"] == 4 and address["addr"].startswith("10.1.") and address["OS-EXT-IPS:type"] == "fixed"
    assert server["OS-EXT-STS:power_state"] == 1 and server["OS-SRV-USG:launched_at"]
    assert server["security_groups"] == [{"name": "default"}] and server["metadata"] == {"a": "b"}
    path = f"/servers/{server['id']}"

    async def act(body: Any) -> int:
        return (await nova(user, "POST", path + "/action", body)).status

    assert await act({"os-start": None}) == 409
    assert await act({"os-stop": None}) == 202
    await cloud.wait_for(user, server["id"], "SHUTOFF")
    stopped = await nova(user, "POST", path + "/action", {"os-stop": None})
    assert stopped.status == 409
    assert message(stopped) == f"Cannot 'stop' instance {server['id']} while it is in vm_state stopped"
    assert await act({"os-start": None}) == 202
    await cloud.wait_for(user, server["id"], "ACTIVE")
    for kind in ("SOFT", "HARD"):
        assert await act({"reboot": {"type": kind}}) == 202
        await cloud.wait_for(user, server["id"], "ACTIVE")
    actions = (await nova(user, "GET", path + "/os-instance-actions")).json()["instanceActions"]
    assert [a["action"] for a in actions] == ["reboot", "reboot", "start", "stop", "create"]
    assert (await nova(user, "DELETE", path)).status == 204
    await cloud.wait_gone(user, server["id"])
    assert (await nova(user, "DELETE", path)).status == 404
    old = await nova(user, "GET", path + "/os-instance-actions", version="2.21")
    assert old.json()["instanceActions"][0]["action"] == "delete"
    assert (await nova(user, "GET", path + "/os-instance-actions", version="2.20")).status == 404


async def test_the_ports_and_claims_of_a_deleted_server_are_gone(cloud: NovaCloud) -> None:
    user = await cloud.new_project("clean")
    server = await cloud.boot(user)
    ports = (await user.get("/networking/v2.0/ports", params={"device_id": server["id"]})).json()["ports"]
    assert len(ports) == 1 and ports[0]["device_owner"] == "compute:nova"
    await nova(user, "DELETE", f"/servers/{server['id']}")
    await cloud.wait_gone(user, server["id"])
    assert (await user.get("/networking/v2.0/ports")).json()["ports"] == []
    held = await cloud.admin.get(f"/placement/allocations/{server['id']}")
    assert held.json()["allocations"] == {}


SHAPES = [
    ("2.1", {"locked", "tags", "description", "host_status", "OS-EXT-SRV-ATTR:hostname", "server_groups"}),
    ("2.3", {"locked", "tags", "description"}), ("2.9", {"tags", "description", "host_status"}),
    ("2.16", {"tags", "description"}), ("2.19", {"tags"}), ("2.26", {"trusted_image_certificates"}),
    ("2.63", {"server_groups"}), ("2.71", {"locked_reason"}), ("2.73", {"pinned_availability_zone"}),
    ("2.96", {"scheduler_hints"}), ("2.100", set())]


async def test_the_shape_follows_the_microversion(cloud: NovaCloud) -> None:
    server = await cloud.boot(cloud.admin, name="shape", tags=["x"], description="d")
    seen: set[str] = set()
    for version, absent in SHAPES:
        body = (await nova(cloud.admin, "GET", f"/servers/{server['id']}", version=version)).json()["server"]
        assert not absent & set(body), version
        assert seen <= set(body), (version, seen - set(body))  # nothing that was shown once goes away
        seen = set(body)
        embedded = version not in ("2.1", "2.3", "2.9", "2.16", "2.19", "2.26")
        assert set(body["flavor"]) == ({"vcpus", "ram", "disk", "ephemeral", "swap", "original_name", "extra_specs"}
                                       if embedded else {"id", "links"})
        assert ("properties" in body["image"]) == (version == "2.100")
    assert body["OS-EXT-SRV-ATTR:host"] and body["tags"] == ["x"] and body["description"] == "d"
    await nova(cloud.admin, "DELETE", f"/servers/{server['id']}")


async def test_users_do_not_see_where_their_servers_run(cloud: NovaCloud) -> None:
    user = await cloud.new_project("hidden")
    server = await cloud.boot(user)
    body = (await nova(user, "GET", f"/servers/{server['id']}")).json()["server"]
    assert not any(name.startswith("OS-EXT-SRV-ATTR:") for name in set(body) - {"OS-EXT-SRV-ATTR:hostname"})
    assert "host_status" not in body and len(body["hostId"]) == 56
    old = (await nova(user, "GET", f"/servers/{server['id']}", version="2.89")).json()["server"]
    assert "OS-EXT-SRV-ATTR:hostname" not in old


async def test_projects_are_apart(cloud: NovaCloud) -> None:
    owner, other = await cloud.new_project("owner"), await cloud.new_project("other")
    server = await cloud.boot(owner, name="mine")
    path = f"/servers/{server['id']}"
    for method, suffix, body in [
            ("GET", "", None), ("DELETE", "", None), ("PUT", "", {"server": {"name": "x"}}),
            ("POST", "/action", {"os-stop": None}), ("POST", "/action", {"lock": None}),
            ("POST", "/action", {"os-getConsoleOutput": {}}), ("GET", "/metadata", None), ("GET", "/tags", None),
            ("PUT", "/tags/x", None), ("GET", "/ips", None), ("GET", "/os-interface", None),
            ("GET", "/os-instance-actions", None), ("GET", "/os-security-groups", None),
            ("POST", "/metadata", {"metadata": {"a": "b"}}), ("GET", "/os-volume_attachments", None),
            ("POST", "/action", {"resize": {"flavorRef": "1"}}), ("GET", "/topology", None)]:
        answer = await nova(other, method, path + suffix, body)
        assert answer.status == 404, (method, suffix, answer.body)
        assert message(answer) == f"Instance {server['id']} could not be found."
    assert (await nova(other, "GET", "/servers/detail")).json()["servers"] == []
    everybodys = await nova(other, "GET", "/servers?all_tenants=1")
    assert everybodys.status == 403
    found = (await nova(cloud.admin, "GET", "/servers?all_tenants=1&name=mine")).json()["servers"]
    assert [s["id"] for s in found] == [server["id"]]
    assert (await nova(cloud.admin, "GET", path)).status == 200


async def test_readers_read(cloud: NovaCloud) -> None:
    reader = await cloud.new_project("reader", roles=("reader",))
    assert (await nova(reader, "GET", "/servers")).status == 200
    refused = await nova(reader, "POST", "/servers", cloud.order())
    assert refused.status == 403
    assert message(refused) == "Policy doesn't allow os_compute_api:servers:create to be performed."


async def test_many_at_once_with_one_reservation(cloud: NovaCloud) -> None:
    user = await cloud.new_project("many")
    order = cloud.order(name="many", min_count=2, max_count=3, return_reservation_id=True)
    answer = await nova(user, "POST", "/servers", order)
    reservation = answer.json()["reservation_id"]
    assert answer.status == 202 and reservation.startswith("r-")
    query = f"reservation_id={reservation}&sort_key=display_name&sort_dir=asc"
    found = (await nova(user, "GET", f"/servers?{query}")).json()
    assert [s["name"] for s in found["servers"]] == ["many-1", "many-2", "many-3"]


async def test_quota_is_decided_when_the_order_is_written(cloud: NovaCloud) -> None:
    user = await cloud.new_project("full")
    await nova(cloud.admin, "PUT", f"/os-quota-sets/{user.project_id}", {"quota_set": {"instances": 3}})
    answers = await asyncio.gather(*(nova(user, "POST", "/servers", cloud.order()) for _ in range(8)))
    assert sorted(a.status for a in answers) == [202] * 3 + [403] * 5
    refused = next(a for a in answers if a.status == 403)
    assert message(refused) == ("Quota exceeded for instances: Requested 1, but already used 3 of 3 instances")
    partly = await nova(user, "POST", "/servers", cloud.order(min_count=1, max_count=5))
    assert partly.status == 403
    limits = (await nova(user, "GET", "/limits")).json()["limits"]["absolute"]
    assert (limits["totalInstancesUsed"], limits["maxTotalInstances"]) == (3, 3)
    assert (limits["totalCoresUsed"], limits["totalRAMUsed"]) == (3, 768)


async def test_locks(cloud: NovaCloud) -> None:
    user = await cloud.new_project("locks")
    server = await cloud.boot(user)
    path = f"/servers/{server['id']}"
    assert (await nova(user, "POST", path + "/action", {"lock": {"locked_reason": "busy"}})).status == 202
    shown = (await nova(user, "GET", path)).json()["server"]
    assert shown["locked"] is True and shown["locked_reason"] == "busy"
    refused = await nova(user, "POST", path + "/action", {"os-stop": None})
    assert refused.status == 409 and message(refused) == f"Instance {server['id']} is locked"
    assert (await nova(user, "DELETE", path)).status == 409
    assert [s["id"] for s in (await nova(user, "GET", "/servers?locked=true")).json()["servers"]] == [server["id"]]
    assert (await nova(user, "POST", path + "/action", {"unlock": None})).status == 202
    assert (await nova(cloud.admin, "POST", path + "/action", {"lock": None})).status == 202
    assert (await nova(user, "POST", path + "/action", {"unlock": None})).status == 403
    assert (await nova(cloud.admin, "POST", path + "/action", {"unlock": None})).status == 202
    assert (await nova(user, "DELETE", path)).status == 204


async def test_update(cloud: NovaCloud) -> None:
    user = await cloud.new_project("update")
    server = await cloud.boot(user)
    path = f"/servers/{server['id']}"
    body = {"server": {"name": "new name", "description": "text", "hostname": "new.host", "accessIPv4": "192.0.2.1"}}
    changed = (await nova(user, "PUT", path, body)).json()["server"]
    assert (changed["name"], changed["description"], changed["OS-EXT-SRV-ATTR:hostname"], changed["accessIPv4"]) == (
        "new name", "text", "new.host", "192.0.2.1")
    old = (await nova(user, "PUT", path, {"server": {"name": "x"}}, "2.1")).json()["server"]
    assert "OS-EXT-STS:vm_state" not in old and old["name"] == "x"
    for bad in ({"server": {"name": ""}}, {"server": {"hostname": "a b"}}, {"server": {"id": "x"}}, {"server": []},
                {"server": {"accessIPv4": "fd00::1"}}, {"server": {"description": "x" * 256}}, {"x": {}}):
        assert (await nova(user, "PUT", path, bad)).status == 400, bad
    assert (await nova(user, "PUT", path, {"server": {"hostname": "x"}}, "2.89")).status == 400
    pinned = await nova(user, "PUT", path, {"server": {"pinned_availability_zone": "nova"}})
    assert pinned.json()["server"]["pinned_availability_zone"] == "nova"
    elsewhere = await nova(user, "PUT", path, {"server": {"pinned_availability_zone": "mars"}})
    assert elsewhere.status == 409


async def test_console_output_is_the_guests(cloud: NovaCloud) -> None:
    user = await cloud.new_project("console")
    server = await cloud.boot(user)
    path = f"/servers/{server['id']}/action"
    answer = await nova(user, "POST", path, {"os-getConsoleOutput": {"length": 5}})
    assert answer.status == 200 and isinstance(answer.json()["output"], str)
    for bad in ({"length": -2}, {"length": "x"}, {"lines": 1}, []):
        assert (await nova(user, "POST", path, {"os-getConsoleOutput": bad})).status == 400, bad


@pytest.mark.parametrize("body", [
    {}, [], None, {"nonsense": {}}, {"os-stop": None, "os-start": None}, {"reboot": None}, {"reboot": {"type": "WARM"}},
    {"resize": {"flavorRef": "nowhere"}}, {"rebuild": {"imageRef": "x"}}, {"os-resetState": {"state": "gone"}}])
async def test_bad_actions_are_refused(cloud: NovaCloud, body: Any) -> None:
    user = cloud.admin
    found = (await nova(user, "GET", "/servers?name=refusing")).json()["servers"]
    server_id = found[0]["id"] if found else (await cloud.boot(user, name="refusing"))["id"]
    answer = await nova(user, "POST", f"/servers/{server_id}/action", body)
    assert answer.status == 400, answer.body
    assert message(answer)
    assert (await nova(user, "GET", f"/servers/{server_id}")).json()["server"]["status"] == "ACTIVE"


async def test_what_cannot_be_scheduled_ends_in_error_with_a_reason(cloud: NovaCloud) -> None:
    huge = {"name": "huge", "id": "huge", "ram": 2**30, "vcpus": 1, "disk": 1}
    await nova(cloud.admin, "POST", "/flavors", {"flavor": huge})
    user = await cloud.new_project("huge")
    await nova(cloud.admin, "PUT", f"/os-quota-sets/{user.project_id}", {"quota_set": {"ram": -1}})
    answer = await nova(user, "POST", "/servers", cloud.order(flavorRef="huge"))
    server = await cloud.wait_for(user, answer.json()["server"]["id"], "ERROR")
    assert server["fault"]["code"] == 500 and "No valid host" in server["fault"]["message"]
    reset = await nova(cloud.admin, "POST", f"/servers/{server['id']}/action", {"os-resetState": {"state": "active"}})
    assert reset.status == 202
    assert (await nova(user, "POST", f"/servers/{server['id']}/action",
                       {"os-resetState": {"state": "error"}})).status == 403
    assert (await nova(user, "DELETE", f"/servers/{server['id']}")).status == 204
    await cloud.wait_gone(user, server["id"])


async def test_what_upstream_keeps_for_other_hypervisors_and_deferred_deletes(cloud: NovaCloud) -> None:
    user = await cloud.new_project("elsewhere")
    made = await nova(user, "POST", "/servers", cloud.order())
    server = await cloud.wait_for(user, made.json()["server"]["id"], "ACTIVE")
    action = f"/servers/{server['id']}/action"
    answer = await nova(user, "POST", action, {"restore": None})
    assert answer.status == 409 and "Cannot 'restore' instance" in answer.json()["conflictingRequest"]["message"]
    assert (await nova(user, "POST", action, {"injectNetworkInfo": None})).status == 403
    assert (await nova(cloud.admin, "POST", action, {"injectNetworkInfo": None})).status == 202
    other = await cloud.new_project("stranger")
    assert (await nova(other, "POST", action, {"restore": None})).status == 404
    assert (await nova(user, "DELETE", f"/servers/{server['id']}")).status == 204
    await cloud.wait_gone(user, server["id"])


async def test_unknown_servers_are_404_everywhere(cloud: NovaCloud) -> None:
    for server_id in (str(uuid.uuid4()), "x", "%00", "a" * 300, "..%2f"):
        for method, suffix in (("GET", ""), ("DELETE", ""), ("GET", "/metadata"), ("GET", "/os-interface"),
                               ("GET", "/diagnostics"), ("GET", "/tags"), ("GET", "/os-instance-actions/req-x")):
            assert (await nova(cloud.admin, method, f"/servers/{server_id}{suffix}")).status in (400, 404)


async def test_the_story_and_the_ledger(cloud: NovaCloud) -> None:
    user = await cloud.new_project("story")
    server = await cloud.boot(user, name="story")
    service = cloud.service("nova")
    assert service.ledger is not None and service.explain is not None
    held = {row["id"]: row for row in (await service.ledger())["servers"]}
    ports = (await user.get("/networking/v2.0/ports", params={"device_id": server["id"]})).json()["ports"]
    assert held[server["id"]]["ports"] == [ports[0]["id"]] and held[server["id"]]["vm_state"] == "active"
    assert await service.handle.engine.idle()
    story = await service.explain("server", "story")
    assert story is not None and story["id"] == server["id"]
    assert [a["action"] for a in story["actions"]] == ["create"]
    assert story["operations"][0]["kind"] == "nova.boot" and story["operations"][0]["status"] == "done"
    assert await service.explain("server", "nobody") is None and await service.explain("image", "story") is None


async def test_old_urls(cloud: NovaCloud) -> None:
    for path in (f"/v2.1/{cloud.admin.project_id}/flavors/c1", f"/v2/{cloud.admin.project_id}/flavors/c1",
                 "/v2/flavors/c1"):
        assert (await cloud.admin.get("/compute" + path)).json()["flavor"]["id"] == "c1"
    assert (await cloud.anonymous().get("/compute/")).json()["versions"][1]["version"] == "2.104"
    assert (await cloud.anonymous().get("/compute/v2.1/")).json()["version"]["status"] == "CURRENT"
    assert (await nova(cloud.admin, "GET", "/os-cells")).status == 410
    assert (await nova(cloud.admin, "GET", "/servers", version="2.105")).status == 406


async def test_access_addresses_are_shown_in_canonical_form(cloud: NovaCloud) -> None:
    admin = cloud.admin
    server = await cloud.boot(admin, accessIPv4="1.1.1.1", accessIPv6="0000:0000:0000:0000:0000:babe:220.12.22.2")
    assert (server["accessIPv4"], server["accessIPv6"]) == ("1.1.1.1", "::babe:dc0c:1602")
    changed = await nova(admin, "PUT", f"/servers/{server['id']}", {"server": {"accessIPv6": "2001:DB8:0::1"}})
    assert changed.json()["server"]["accessIPv6"] == "2001:db8::1"


async def test_each_version_links_to_its_own_document(cloud: NovaCloud) -> None:
    for version in (await cloud.anonymous().get("/compute/")).json()["versions"]:
        (link,) = version["links"]
        shown = await cloud.anonymous().get("/compute" + link["href"].partition("/compute")[2])
        assert shown.json()["version"]["id"] == version["id"]
        assert link in shown.json()["version"]["links"]


async def test_what_upstream_took_away_says_so(cloud: NovaCloud) -> None:
    admin = cloud.admin
    for method, path in (("POST", "/os-tenant-networks"), ("DELETE", "/os-tenant-networks/x"), ("POST", "/os-networks"),
                         ("GET", "/os-fping"), ("GET", "/os-floating-ip-dns/a/entries/b")):
        assert (await nova(admin, method, path, {} if method == "POST" else None)).status == 410, path
    assert (await nova(admin, "POST", "/servers/x/action", {"resetNetwork": None})).status == 410
    assert (await admin.get("/compute/v2.1/versions/v2.1")).json() == (await admin.get("/compute/v2.1")).json()
    assert (await admin.get("/compute/v2.1/versions/v3")).status == 404
