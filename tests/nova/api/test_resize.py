"""Resize, migrations and evacuation as clients see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(cloud: NovaCloud) -> AsyncIterator[Client]:
    yield await cloud.new_project("resize")


@pytest_asyncio.fixture(loop_scope="module")
async def server(cloud: NovaCloud, user: Client) -> AsyncIterator[Json]:
    made = await cloud.boot(user)
    yield made
    await nova(user, "DELETE", f"/servers/{made['id']}")
    await cloud.wait_gone(user, made["id"])


async def flavor(cloud: NovaCloud, name: str, **values: Any) -> str:
    order = {"name": name, "vcpus": 2, "ram": 512, "disk": 2, **values}
    made = await nova(cloud.admin, "POST", "/flavors", {"flavor": order})
    assert made.status == 200, made.body
    flavor_id: str = made.json()["flavor"]["id"]
    return flavor_id


async def act(client: Client, server: Json, body: Any, version: str = "latest") -> Any:
    return await nova(client, "POST", f"/servers/{server['id']}/action", body, version)


async def test_resize_and_confirm_and_revert(cloud: NovaCloud, user: Client, server: Json) -> None:
    larger = await flavor(cloud, "larger")
    answer = await act(user, server, {"resize": {"flavorRef": larger}})
    assert answer.status == 202 and answer.body == b""
    shown = await cloud.wait_for(user, server["id"], "VERIFY_RESIZE")
    assert shown["flavor"]["original_name"] == "larger" and shown["OS-EXT-STS:vm_state"] == "resized"
    assert shown["OS-DCF:diskConfig"] == "MANUAL"
    again = await act(user, server, {"resize": {"flavorRef": "c1"}})
    assert again.status == 409 and message(again) == (
        f"Cannot 'resize' instance {server['id']} while it is in vm_state resized")
    assert (await act(user, server, {"os-stop": None})).status == 409
    reverted = await act(user, server, {"revertResize": {}})  # what Tempest and SDKs send
    assert reverted.status == 202
    shown = await cloud.wait_for(user, server["id"], "ACTIVE")
    assert shown["flavor"]["original_name"] == server["flavor"]["original_name"]
    assert (await act(user, server, {"confirmResize": None})).status == 409
    order = {"resize": {"flavorRef": larger, "OS-DCF:diskConfig": "AUTO"}}
    assert (await act(user, server, order)).status == 202
    shown = await cloud.wait_for(user, server["id"], "VERIFY_RESIZE")
    assert shown["OS-DCF:diskConfig"] == "AUTO"
    confirmed = await act(user, server, {"confirmResize": {}})
    assert confirmed.status == 204 and confirmed.body == b""
    await cloud.wait_for(user, server["id"], "ACTIVE")
    found = (await nova(cloud.admin, "GET", f"/os-migrations?instance_uuid={server['id']}")).json()["migrations"]
    assert [m["status"] for m in found] == ["confirmed", "reverted"]
    assert set(found[0]) == {
        "id", "uuid", "instance_uuid", "status", "created_at", "updated_at", "old_instance_type_id",
        "new_instance_type_id", "source_compute", "source_node", "dest_compute", "dest_node", "dest_host",
        "migration_type", "user_id", "project_id"}
    assert found[0]["migration_type"] == "resize" and found[0]["source_compute"]
    first = (await nova(cloud.admin, "GET", "/os-migrations?limit=1")).json()
    assert first["migrations"][0]["uuid"] == found[0]["uuid"] and first["migrations_links"][0]["rel"] == "next"
    second = (await nova(cloud.admin, "GET", f"/os-migrations?limit=1&marker={found[0]['uuid']}")).json()
    assert second["migrations"][0]["uuid"] == found[1]["uuid"]
    old = (await nova(cloud.admin, "GET", "/os-migrations", version="2.22")).json()["migrations"][0]
    assert "migration_type" not in old and "uuid" not in old
    assert (await nova(user, "GET", "/os-migrations")).status == 403
    for query in ("limit=x", "marker=nothing", "changes-since=x", "unknown=1", "instance_uuid=x"):
        assert (await nova(cloud.admin, "GET", f"/os-migrations?{query}")).status == 400, query
    empty = await nova(cloud.admin, "GET", f"/servers/{server['id']}/migrations")
    assert empty.json() == {"migrations": []}
    assert (await nova(cloud.admin, "GET", f"/servers/{server['id']}/migrations/1")).status == 404


async def test_flavors_that_do_not_fit(cloud: NovaCloud, user: Client, server: Json) -> None:
    hidden = await flavor(cloud, "hidden", **{"os-flavor-access:is_public": False})
    nothing = await flavor(cloud, "no-disk", disk=0)
    for reference, text in (("unknown", "Flavor unknown could not be found."),
                            (hidden, f"Flavor {hidden} could not be found."),
                            ("c1", "When resizing, instances must change flavor!"),
                            (nothing, "Server disk was unable to be resized because: Resize to zero disk flavor is "
                                      "not allowed.")):
        answer = await act(user, server, {"resize": {"flavorRef": reference}})
        assert answer.status == 400 and message(answer) == text
    for body in ({"resize": None}, {"resize": {}}, {"resize": {"flavorRef": ""}}, {"resize": {"flavorRef": []}},
                 {"resize": {"flavorRef": "c1", "x": 1}}):
        assert (await act(user, server, body)).status == 400, body
    huge = await flavor(cloud, "huge", vcpus=100, ram=4096)
    full = await act(user, server, {"resize": {"flavorRef": huge}})
    assert full.status == 403 and message(full) == (
        "Quota exceeded for cores: Requested 99, but already used 1 of 20 cores")
    stranger = await cloud.new_project("stranger-of-resize")
    assert (await act(stranger, server, {"resize": {"flavorRef": huge}})).status == 404


async def test_a_smaller_disk_is_refused_and_the_server_goes_on(cloud: NovaCloud, user: Client) -> None:
    large, small = await flavor(cloud, "large-disk", disk=3), await flavor(cloud, "small-disk", disk=2)
    server = await cloud.boot(user, flavorRef=large)
    assert (await act(user, server, {"resize": {"flavorRef": small}})).status == 202
    shown = await cloud.wait_for(user, server["id"], "ACTIVE")
    assert shown["flavor"]["original_name"] == "large-disk"
    actions = (await nova(user, "GET", f"/servers/{server['id']}/os-instance-actions")).json()["instanceActions"]
    async with asyncio.timeout(5):
        while actions[0]["message"] != "Error":
            actions = (await nova(user, "GET", f"/servers/{server['id']}/os-instance-actions")).json()[
                "instanceActions"]
    await nova(user, "DELETE", f"/servers/{server['id']}")


async def test_moves_find_no_host(cloud: NovaCloud, user: Client, server: Json) -> None:
    admin, host = cloud.admin, (await nova(cloud.admin, "GET", f"/servers/{server['id']}")).json()["server"][
        "OS-EXT-SRV-ATTR:host"]
    assert (await act(user, server, {"migrate": None})).status == 403
    moved = await act(admin, server, {"migrate": None})
    assert moved.status == 202
    await cloud.wait_for(user, server["id"], "ACTIVE")
    own = await act(admin, server, {"migrate": {"host": host}})
    assert own.status == 400 and (await act(admin, server, {"migrate": {"host": "nowhere"}})).status == 400
    live = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    assert (await act(admin, server, live)).status == 202
    await cloud.wait_for(user, server["id"], "ACTIVE")
    before = {"os-migrateLive": {"host": None, "block_migration": False, "disk_over_commit": False}}
    refused = await act(admin, server, before, "2.24")
    assert refused.status == 400 and "No valid host was found" in message(refused)
    for body in ({"os-migrateLive": {"host": None}}, {"os-migrateLive": {"block_migration": "auto"}},
                 {"os-migrateLive": {"host": None, "block_migration": "auto", "force": True}},
                 {"os-migrateLive": {"host": None, "block_migration": "maybe"}}):
        assert (await act(admin, server, body)).status == 400, body
    gone = await act(admin, server, {"evacuate": {}})
    assert gone.status == 400 and message(gone) == f"Compute service of {host} is still in use."
    assert (await act(user, server, {"evacuate": {}})).status == 403
    assert (await act(admin, server, {"evacuate": {"onSharedStorage": True}})).status == 400
    kinds = {m["migration_type"] for m in (await nova(
        admin, "GET", f"/os-migrations?instance_uuid={server['id']}&status=error")).json()["migrations"]}
    assert kinds == {"migration", "live-migration"}
