"""What belongs to a server: metadata, tags, addresses, interfaces, actions, and the views that are empty yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(cloud: NovaCloud) -> AsyncIterator[Client]:
    yield await cloud.new_project("parts")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(cloud: NovaCloud, user: Client) -> AsyncIterator[Json]:
    yield await cloud.boot(user, name="parts")


async def test_metadata(user: Client, server: Json) -> None:
    path = f"/servers/{server['id']}/metadata"
    assert (await nova(user, "POST", path, {"metadata": {"a": "1", "b": "2"}})).json() == {
        "metadata": {"a": "1", "b": "2"}}
    assert (await nova(user, "PUT", path + "/a", {"meta": {"a": "3"}})).json() == {"meta": {"a": "3"}}
    assert (await nova(user, "GET", path + "/a")).json() == {"meta": {"a": "3"}}
    assert (await nova(user, "DELETE", path + "/b")).status == 204
    assert (await nova(user, "DELETE", path + "/b")).status == 404
    assert (await nova(user, "PUT", path, {"metadata": {"c": "4"}})).json() == {"metadata": {"c": "4"}}
    assert (await nova(user, "GET", path)).json() == {"metadata": {"c": "4"}}
    over = await nova(user, "POST", path, {"metadata": {str(i): "x" for i in range(129)}})
    assert over.status == 403 and "128" in message(over)
    for method, suffix, body in (
            ("PUT", "/a", {"meta": {"b": "1"}}), ("PUT", "/a", {"meta": {}}), ("POST", "", {"metadata": []}),
            ("POST", "", {}), ("POST", "", {"metadata": {"x" * 256: "y"}}), ("PUT", "/a", {"meta": {"a": 5}}),
            ("POST", "", {"metadata": {"a": "b"}, "more": 1})):
        assert (await nova(user, method, path + suffix, body)).status == 400, (method, body)


async def test_tags(user: Client, server: Json) -> None:
    path = f"/servers/{server['id']}/tags"
    added = await nova(user, "PUT", path + "/red")
    assert added.status == 201 and added.headers["location"].endswith("/tags/red")
    assert (await nova(user, "PUT", path + "/red")).status == 204
    assert (await nova(user, "GET", path + "/red")).status == 204
    assert (await nova(user, "GET", path + "/blue")).status == 404
    assert (await nova(user, "PUT", path, {"tags": ["x", "b"]})).json() == {"tags": ["b", "x"]}
    assert (await nova(user, "DELETE", path + "/b")).status == 204
    assert (await nova(user, "DELETE", path + "/b")).status == 404
    assert (await nova(user, "GET", path)).json() == {"tags": ["x"]}
    assert (await nova(user, "DELETE", path + "/")).status == 404  # an empty tag is not all tags
    assert (await nova(user, "GET", path)).json() == {"tags": ["x"]}
    assert (await nova(user, "DELETE", path)).status == 204
    assert (await nova(user, "GET", path)).json() == {"tags": []}
    assert (await nova(user, "GET", path, version="2.25")).status == 404
    assert (await nova(user, "PUT", path + "/a,b")).status == 400
    for bad in (["a,b"], "x", [5], ["x" * 61], [str(i) for i in range(51)], ["a", "a"]):
        assert (await nova(user, "PUT", path, {"tags": bad})).status == 400, bad
    assert (await nova(user, "PUT", path, {"tags": [str(i) for i in range(50)]})).status == 200
    over = await nova(user, "PUT", path + "/one-more")
    assert over.status == 400 and message(over) == "The number of tags exceeded the per-server limit 50"


async def test_addresses_and_interfaces(user: Client, server: Json) -> None:
    path = f"/servers/{server['id']}"
    (address,) = (await nova(user, "GET", path + "/ips")).json()["addresses"]["public-net"]
    assert set(address) == {"version", "addr"}
    assert (await nova(user, "GET", path + "/ips/public-net")).json() == {"public-net": [address]}
    assert (await nova(user, "GET", path + "/ips/nothing")).status == 404
    (interface,) = (await nova(user, "GET", path + "/os-interface")).json()["interfaceAttachments"]
    assert interface["fixed_ips"][0]["ip_address"] == address["addr"] and interface["port_state"] in ("ACTIVE", "DOWN")
    one = await nova(user, "GET", f"{path}/os-interface/{interface['port_id']}")
    assert one.json()["interfaceAttachment"] == interface
    assert (await nova(user, "GET", path + "/os-interface/nothing")).status == 404
    assert (await nova(user, "DELETE", path + "/os-interface/nothing")).status == 404
    groups = (await nova(user, "GET", path + "/os-security-groups")).json()["security_groups"]
    assert [g["name"] for g in groups] == ["default"] and groups[0]["tenant_id"] == user.project_id


async def test_actions_and_their_events(cloud: NovaCloud, user: Client, server: Json) -> None:
    path = f"/servers/{server['id']}/os-instance-actions"
    (action,) = (await nova(user, "GET", path)).json()["instanceActions"]
    assert action["action"] == "create" and action["user_id"] == user.user_id and action["message"] is None
    assert "updated_at" not in (await nova(user, "GET", path, version="2.57")).json()["instanceActions"][0]
    shown = (await nova(user, "GET", f"{path}/{action['request_id']}")).json()["instanceAction"]
    assert shown["events"] and all(event["result"] == "Success" for event in shown["events"])
    assert all(len(event["hostId"]) in (0, 56) and "host" not in event for event in shown["events"])
    seen = (await nova(cloud.admin, "GET", f"{path}/{action['request_id']}")).json()["instanceAction"]["events"]
    assert all("traceback" in event and "host" in event for event in seen)
    assert "events" not in (await nova(user, "GET", f"{path}/{action['request_id']}",
                                       version="2.50")).json()["instanceAction"]
    assert (await nova(user, "GET", path + "/req-nothing")).status == 404
    assert (await nova(user, "GET", path + "?limit=1&changes-since=2001-01-01T00:00:00Z")).status == 200
    for query in ("limit=x", "marker=nothing", "changes-since=x", "unknown=1"):
        assert (await nova(user, "GET", f"{path}?{query}")).status == 400, query


@pytest.mark.parametrize(("method", "suffix", "status", "body"), [
    ("GET", "os-volume_attachments", 200, {"volumeAttachments": []}), ("POST", "os-volume_attachments", 400, None),
    ("GET", "os-volume_attachments/x", 404, None), ("DELETE", "os-volume_attachments/x", 404, None),
    ("GET", "topology", 200, {"nodes": [], "pagesize_kb": None}), ("GET", "os-server-password", 200, {"password": ""}),
    ("DELETE", "os-server-password", 204, None), ("GET", "shares", 200, {"shares": []}), ("POST", "shares", 400, None),
    ("GET", "consoles", 410, None)])
async def test_smaller_views(user: Client, server: Json, method: str, suffix: str, status: int, body: Any) -> None:
    answer = await nova(user, method, f"/servers/{server['id']}/{suffix}", {} if method == "POST" else None)
    assert answer.status == status, answer.body
    if body is not None:
        assert answer.json() == body


async def test_diagnostics_are_for_admins(cloud: NovaCloud, user: Client, server: Json) -> None:
    path = f"/servers/{server['id']}/diagnostics"
    found = (await nova(cloud.admin, "GET", path)).json()
    assert found["state"] == "running" and found["num_cpus"] == 1 and found["num_nics"] == 1
    assert (await nova(user, "GET", path)).status == 403
    assert (await nova(cloud.admin, "GET", f"/servers/{server['id']}/migrations")).json() == {"migrations": []}
    assert (await nova(user, "GET", f"/servers/{server['id']}/migrations")).status == 403
