"""Attachments: reserve, connect, complete, delete; who may; and the older actions."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.errors import Conflict
from tests.cinder.conftest import CinderCloud, Volumes
from tests.cinder.manager_double import Manager
from tests.cinder.nova_double import Nova

CONNECTOR = {"host": "h1", "initiator": "iqn", "ip": "127.0.0.1", "mountpoint": "/dev/vdb"}


@pytest.fixture
def nova() -> Nova:
    return Nova()


@pytest.fixture
async def cloud(tmp_path: Path, manager: Manager, nova: Nova) -> AsyncIterator[CinderCloud]:
    async with CinderCloud(tmp_path, manager, extra=[nova.build]) as cloud:
        yield cloud


@pytest.fixture
async def service(cloud: CinderCloud) -> Volumes:
    """As nova asks: with its own token."""
    return Volumes(await cloud.login("nova", project="service"))


async def reserve(who: Volumes, volume_id: str, server: str | None = None, status: int = 200, **more: Any) -> Any:
    body = {"attachment": {"volume_uuid": volume_id, "instance_uuid": server or str(uuid.uuid4()), **more}}
    answer = await who("POST", "/attachments", status, body)
    return answer["attachment"] if status == 200 else answer


async def connect(who: Volumes, attachment_id: str, status: int = 200, **more: Any) -> Any:
    body = {"attachment": {"connector": {**CONNECTOR, **more}}}
    answer = await who("PUT", f"/attachments/{attachment_id}", status, body)
    return answer["attachment"] if status == 200 else answer


async def test_the_way_that_nova_goes(user: Volumes, service: Volumes, manager: Manager) -> None:
    volume_id, server = await user.create(), str(uuid.uuid4())
    reserved = await reserve(user, volume_id, server)
    assert (reserved["status"], reserved["instance"], reserved["connection_info"]) == ("reserved", server, {})
    assert (await user.show(volume_id))["status"] == "reserved" and manager.exports == {}
    made = await connect(service, reserved["id"])
    assert made["status"] == "attaching" and made["attach_mode"] == "rw"
    info = made["connection_info"]
    assert info["driver_volume_type"] == "nbd" and info["export"] == made["id"] == info["attachment_id"]
    assert info["path"].endswith(".sock") and info["access_mode"] == "rw"
    assert (await user.show(volume_id))["attachments"] == []
    await service("POST", f"/attachments/{made['id']}/action", 204, {"os-complete": None})
    shown = await user.show(volume_id)
    assert shown["status"] == "in-use"
    assert shown["attachments"][0] | {"attached_at": ""} == {
        "id": volume_id, "attachment_id": made["id"], "volume_id": volume_id, "server_id": server, "host_name": None,
        "device": "/dev/vdb", "attached_at": ""}
    assert (await service.show(volume_id))["attachments"][0]["host_name"] == "h1"
    # a server that starts again asks again, and stays attached
    assert (await connect(service, made["id"]))["status"] == "attached"
    assert (await user.show(volume_id))["status"] == "in-use"
    await user("DELETE", f"/volumes/{volume_id}", 400)
    listed = (await user("GET", f"/attachments?instance_id={server}", 200))["attachments"]
    assert listed == [{"id": made["id"], "status": "attached", "instance": server, "volume_id": volume_id}]
    detailed = (await user("GET", "/attachments/detail", 200))["attachments"]
    assert detailed[0]["connection_info"]["volume_id"] == volume_id
    assert await service("DELETE", f"/attachments/{made['id']}", 200) == {"attachments": []}
    assert manager.exports == {} and (await user.show(volume_id))["status"] == "available"
    await user("GET", f"/attachments/{made['id']}", 404)


async def test_a_user_cannot_pull_a_volume_from_under_a_server(user: Volumes, admin: Volumes, service: Volumes,
                                                               nova: Nova, manager: Manager) -> None:
    """CVE-2023-2088"""
    volume_id, server = await user.create(), str(uuid.uuid4())
    attachment_id = (await reserve(user, volume_id, server, connector=CONNECTOR))["id"]
    await user("POST", f"/attachments/{attachment_id}/action", 204, {"os-complete": {}})
    nova.uses[server, volume_id] = attachment_id
    for who in (user, admin):
        error = await who("DELETE", f"/attachments/{attachment_id}", 409)
        assert f"Detach volume from instance {server}" in error["conflictingRequest"]["message"]
        await who.act(volume_id, "os-detach", {"attachment_id": attachment_id}, 409)
        await who.act(volume_id, "os-detach", {}, 409)
        await who.act(volume_id, "os-terminate_connection", {"connector": CONNECTOR}, 409)
    await admin.act(volume_id, "os-force_detach", {"attachment_id": attachment_id}, 409)
    assert attachment_id in manager.exports and (await user.show(volume_id))["status"] == "in-use"
    # an invented service token is none
    await user("DELETE", f"/attachments/{attachment_id}", 401, headers={"X-Service-Token": "x"})
    # one of another user's is not a service's
    own = user.client.token
    await user("DELETE", f"/attachments/{attachment_id}", 409, headers={"X-Service-Token": own})
    await user("DELETE", f"/attachments/{attachment_id}", 200, headers={"X-Service-Token": service.client.token})
    assert manager.exports == {} and (await user.show(volume_id))["status"] == "available"


async def test_a_user_may_delete_what_no_server_uses(user: Volumes, nova: Nova, manager: Manager) -> None:
    volume_id, server = await user.create(), str(uuid.uuid4())
    reserved = await reserve(user, volume_id, server)
    await user("DELETE", f"/attachments/{reserved['id']}", 200)
    connected = await reserve(user, volume_id, server, connector=CONNECTOR)
    await user("DELETE", f"/attachments/{connected['id']}", 200)  # nova knows no such server
    again = await reserve(user, volume_id, server, connector=CONNECTOR)
    nova.uses[server, volume_id] = str(uuid.uuid4())  # it has the volume through another attachment
    await user("DELETE", f"/attachments/{again['id']}", 200)
    assert manager.exports == {} and (await user.show(volume_id))["status"] == "available"


async def test_one_volume_one_server(user: Volumes, service: Volumes) -> None:
    volume_id, server = await user.create(), str(uuid.uuid4())
    first = await reserve(user, volume_id, server, connector=CONNECTOR)
    error = await reserve(user, volume_id, status=400)
    assert "status must be available to reserve" in error["badRequest"]["message"]
    # the same server may hold a second place for a while: it moves
    second = await reserve(user, volume_id, server)
    await connect(service, second["id"], host="h2")
    await service("DELETE", f"/attachments/{first['id']}", 200)
    assert (await user.show(volume_id))["status"] == "attaching"
    answers = await asyncio.gather(*(user("POST", "/attachments", None, {
        "attachment": {"volume_uuid": other, "instance_uuid": str(uuid.uuid4())}})
        for other in [await user.create()] * 4))
    assert sorted("attachment" in a for a in answers) == [False, False, False, True]


async def test_multiattach(user: Volumes, admin: Volumes, service: Volumes, manager: Manager) -> None:
    kind = (await admin("POST", "/types", 200, {"volume_type": {
        "name": "shared", "extra_specs": {"multiattach": "<is> True"}}}))["volume_type"]
    volume_id = await user.create(volume_type="shared")
    assert (await user.show(volume_id))["multiattach"] is True
    places = [await reserve(user, volume_id, connector=CONNECTOR) for _ in range(2)]
    for place in places:
        await service("POST", f"/attachments/{place['id']}/action", 204, {"os-complete": None})
    assert len((await user.show(volume_id))["attachments"]) == 2 and len(manager.exports) == 2
    left = await service("DELETE", f"/attachments/{places[0]['id']}", 200)
    assert [a["id"] for a in left["attachments"]] == [places[1]["id"]]
    assert (await user.show(volume_id))["status"] == "in-use"
    await admin("POST", f"/types/{kind['id']}/extra_specs", 400, {"extra_specs": {"multiattach": "<is> False"}})
    await admin("DELETE", f"/types/{kind['id']}", 400)


async def test_read_only(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    made = await reserve(user, volume_id, connector=CONNECTOR, mode="ro")
    assert made["attach_mode"] == "ro" and manager.exports[made["id"]]["read_only"] is True
    await user("DELETE", f"/attachments/{made['id']}", 200)
    made = await reserve(user, volume_id, connector={**CONNECTOR, "mode": "ro"})
    assert made["connection_info"]["access_mode"] == "ro"
    await user("DELETE", f"/attachments/{made['id']}", 200)
    await user.act(volume_id, "os-update_readonly_flag", {"readonly": True})
    made = await reserve(user, volume_id, connector=CONNECTOR, mode="rw")
    assert made["attach_mode"] == "ro"


async def test_a_connection_that_fails_leaves_the_reservation(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    reserved = await reserve(user, volume_id)
    manager.failures["export"] = [Conflict("no daemon")]
    error = await connect(user, reserved["id"], 409)
    assert "no daemon" in error["conflictingRequest"]["message"]
    assert (await user("GET", f"/attachments/{reserved['id']}", 200))["attachment"]["status"] == "reserved"
    assert (await user.show(volume_id))["status"] == "reserved"
    assert (await connect(user, reserved["id"]))["status"] == "attaching"
    await user("DELETE", f"/attachments/{reserved['id']}", 200)
    manager.failures["export"] = [Conflict("no daemon")]
    await reserve(user, volume_id, status=409, connector=CONNECTOR)
    assert (await user.show(volume_id))["status"] == "available" and manager.exports == {}


async def test_deleted_while_it_is_connected(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    place = await reserve(user, volume_id)
    manager.hold["export"] = asyncio.Event()
    connecting = asyncio.create_task(connect(user, place["id"], 409))
    while "export" not in manager.calls:
        await asyncio.sleep(0.005)
    await user("DELETE", f"/attachments/{place['id']}", 200)
    manager.hold.pop("export").set()
    await connecting
    assert manager.exports == {} and (await user.show(volume_id))["status"] == "available"


async def test_strangers_and_bad_bodies(user: Volumes, cloud: CinderCloud) -> None:
    volume_id = await user.create()
    place = await reserve(user, volume_id)
    other = Volumes(await cloud.new_project("bob"))
    await other("GET", f"/attachments/{place['id']}", 404)
    await other("DELETE", f"/attachments/{place['id']}", 404)
    await connect(other, place["id"], 404)
    await reserve(other, volume_id, status=404)
    assert (await other("GET", "/attachments", 200))["attachments"] == []
    for body in ({}, {"connector": {}}, {"connector": None}, {"connector": [1]}, {"connector": {"host": "x"}, "x": 1}):
        await user("PUT", f"/attachments/{place['id']}", 400, {"attachment": body})
    for body in ({}, {"volume_uuid": "x"}, {"volume_uuid": volume_id, "instance_uuid": "x"},
                 {"volume_uuid": volume_id, "mode": "wo"}, {"volume_uuid": volume_id, "x": 1}):
        await user("POST", "/attachments", 400, {"attachment": body})
    await connect(user, place["id"], 400, mode="wo")
    old = Volumes(user.client, "3.43")
    await old("POST", f"/attachments/{place['id']}/action", 404, {"os-complete": None})


async def test_the_older_way(user: Volumes, manager: Manager) -> None:
    volume_id, server = await user.create(), str(uuid.uuid4())
    await user.act(volume_id, "os-reserve")
    assert (await user.show(volume_id))["status"] == "attaching"
    await user.act(volume_id, "os-reserve", status=400)
    await user.act(volume_id, "os-unreserve")
    assert (await user.show(volume_id))["status"] == "available"
    await user.act(volume_id, "os-reserve")
    info = await user.act(volume_id, "os-initialize_connection", {"connector": CONNECTOR}, 200)
    assert info["connection_info"]["data"]["path"].endswith(".sock") and len(manager.exports) == 1
    await user.act(volume_id, "os-attach", {"instance_uuid": server, "mountpoint": "/dev/vdc"})
    shown = await user.show(volume_id)
    assert shown["status"] == "in-use" and shown["attachments"][0]["server_id"] == server
    await user.act(volume_id, "os-begin_detaching")
    assert (await user.show(volume_id))["status"] == "detaching"
    await user.act(volume_id, "os-roll_detaching")
    await user.act(volume_id, "os-begin_detaching")
    await user.act(volume_id, "os-terminate_connection", {"connector": CONNECTOR})
    assert manager.exports == {}
    await user.act(volume_id, "os-detach", {})
    shown = await user.show(volume_id)
    assert shown["status"] == "available" and shown["attachments"] == []


async def test_noted_attachments_need_no_export(user: Volumes, manager: Manager) -> None:
    """As Tempest does: os-attach and os-detach alone."""
    volume_id, server = await user.create(), str(uuid.uuid4())
    await user.act(volume_id, "os-attach", {"instance_uuid": server, "mountpoint": "/dev/vdc"})
    await user.act(volume_id, "os-attach", {"instance_uuid": str(uuid.uuid4()), "mountpoint": "/dev/vdc"}, 400)
    await user.act(volume_id, "os-attach", {"mountpoint": "/dev/vdc"}, 400)
    assert (await user.show(volume_id))["status"] == "in-use"
    await user.act(volume_id, "os-detach", {"attachment_id": str(uuid.uuid4())}, 400)
    await user.act(volume_id, "os-detach", {})
    assert (await user.show(volume_id))["status"] == "available" and manager.exports == {}


async def test_growing_in_use_is_told_to_nova(user: Volumes, service: Volumes, nova: Nova, cloud: CinderCloud) -> None:
    volume_id, server = await user.create(), str(uuid.uuid4())
    place = await reserve(user, volume_id, server, connector=CONNECTOR)
    await service("POST", f"/attachments/{place['id']}/action", 204, {"os-complete": None})
    await Volumes(user.client, "3.41").act(volume_id, "os-extend", {"new_size": 2}, 400)
    await user.act(volume_id, "os-extend", {"new_size": 2})
    assert (await user.wait_for(volume_id, "in-use"))["size"] == 2
    await cloud.idle()
    assert nova.events == [{"name": "volume-extended", "server_uuid": server, "tag": volume_id}]


async def test_the_managers_wish_list(user: Volumes, cloud: CinderCloud, manager: Manager) -> None:
    volume_id = await user.create()
    place = await reserve(user, volume_id, connector=CONNECTOR)
    wishes = await cloud.cinder.bus.call(_context(), "cinder-api", "export_wish", host="localhost")
    assert [(w["attachment_id"], w["volume_id"], w["read_only"]) for w in wishes] == [(place["id"], volume_id, False)]
    assert await cloud.cinder.bus.call(_context(), "cinder-api", "export_wish", host="other") == []


async def test_an_operator_may_say_that_nobody_has_it(user: Volumes, admin: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    await reserve(user, volume_id, connector=CONNECTOR)
    await admin.act(volume_id, "os-reset_status", {"status": "available", "attach_status": "detached"})
    assert (await user.show(volume_id))["status"] == "available" and manager.exports == {}


def _context() -> Any:
    from cloudseed.kernel.context import Context
    return Context()
