"""Rebuild and rescue over the API: what is asked, what is refused with which words, what the server becomes."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from tests.nova.api.cloud import NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def act(client: Client, server_id: str, action: str, value: Any = None, version: str = "latest") -> Any:
    return await nova(client, "POST", f"/servers/{server_id}/action", {action: value}, version)


async def test_a_rebuilt_server_keeps_its_id_and_its_ports(cloud: NovaCloud) -> None:
    client = await cloud.new_project("rebuild")
    key = await nova(client, "POST", "/os-keypairs", {"keypair": {"name": "k", "type": "ssh"}}, "2.91")
    assert key.status in (200, 201), key.body
    server = await cloud.boot(client)
    image = cloud.images.add(hw_disk_bus="scsi")
    data = base64.b64encode(b"#!/bin/sh").decode()
    answer = await act(client, server["id"], "rebuild", {
        "imageRef": image, "name": "new", "metadata": {"a": "b"}, "description": "d", "key_name": "k",
        "user_data": data, "hostname": "new-host", "adminPass": "secret", "accessIPv4": "1.2.3.4",
        "OS-DCF:diskConfig": "AUTO", "preserve_ephemeral": False})
    assert answer.status == 202, answer.body
    told = answer.json()["server"]
    assert told["adminPass"] == "secret" and told["user_data"] == data and told["key_name"] == "k"
    assert told["status"] == "REBUILD" and told["OS-EXT-STS:task_state"] == "rebuilding"
    assert answer.headers["location"].endswith(f"/servers/{server['id']}")
    after = await cloud.wait_for(client, server["id"], "ACTIVE")
    expected = {"name": "new", "metadata": {"a": "b"}, "description": "d", "key_name": "k", "accessIPv4": "1.2.3.4",
                "OS-DCF:diskConfig": "AUTO", "OS-EXT-SRV-ATTR:hostname": "new-host",
                "addresses": server["addresses"], "flavor": server["flavor"]}
    assert {name: after[name] for name in expected} == expected
    assert after["image"]["id"] == image and cloud.driver().boots_from(server["id"]) == image
    answer = await act(cloud.admin, server["id"], "rebuild", {"imageRef": image, "key_name": None})
    assert answer.status == 202, answer.body
    told = answer.json()["server"]
    assert "OS-EXT-SRV-ATTR:host" in told and "OS-EXT-SRV-ATTR:user_data" not in told
    assert (await cloud.wait_for(client, server["id"], "ACTIVE"))["key_name"] is None


async def test_old_clients_see_less_of_it(cloud: NovaCloud) -> None:
    client = await cloud.new_project("old")
    server = await cloud.boot(client)
    assert (await act(client, server["id"], "os-stop")).status == 202
    await cloud.wait_for(client, server["id"], "SHUTOFF")
    for field in ("description", "key_name", "user_data", "hostname", "trusted_image_certificates"):
        answer = await act(client, server["id"], "rebuild", {"imageRef": cloud.image_id, field: "x"}, "2.1")
        assert answer.status == 400 and field in message(answer)
    answer = await act(client, server["id"], "rebuild", {
        "imageRef": cloud.image_id, "personality": [{"path": "/a", "contents": "eA=="}]}, "2.1")
    assert answer.status == 202, answer.body
    told = answer.json()["server"]
    assert told["adminPass"] and not {"key_name", "user_data", "config_drive", "locked"} & told.keys()
    assert [set(ip) for label in told["addresses"].values() for ip in label] == [{"version", "addr"}]
    await cloud.wait_for(client, server["id"], "SHUTOFF")


@pytest.mark.parametrize(("body", "words"), [
    ({}, "imageRef"), (None, "rebuild"), ({"imageRef": "x"}, "is not a 'uuid'"), ({"imageRef": ""}, "is not a 'uuid'"),
    ({"name": ""}, "name"), ({"name": "x" * 256}, "name"), ({"metadata": {"a": "b" * 256}}, "255"),
    ({"hostname": "a b"}, "hostname"), ({"user_data": "not base64!"}, "base64"), ({"accessIPv4": "::1"}, "ipv4"),
    ({"OS-DCF:diskConfig": "maybe"}, "diskConfig"), ({"color": 1}, "color"), ({"adminPass": 5}, "adminPass"),
    ({"preserve_ephemeral": True}, "does not support preserving ephemeral partitions"),
    ({"imageRef": str(uuid.uuid4())}, "Cannot find image for rebuild"), ({"key_name": "none"}, "Invalid key_name"),
    ({"personality": []}, "personality"), ({"trusted_image_certificates": []}, "1 to 50")])
async def test_what_is_refused(cloud: NovaCloud, body: Any, words: str) -> None:
    client = await cloud.new_project(f"refused-{uuid.uuid4().hex[:6]}")
    server = await cloud.boot(client)
    value = {"imageRef": cloud.image_id, **body} if body else body
    answer = await act(client, server["id"], "rebuild", value)
    assert answer.status == 400 and words in message(answer)
    assert (await cloud.wait_for(client, server["id"], "ACTIVE"))["name"] == "vm"


@pytest.mark.parametrize(("image", "words"), [
    ({"status": "queued"}, "is not active."), ({"min_ram": 10**6}, "Flavor's memory is too small"),
    ({"min_disk": 10**4}, "Flavor's disk is smaller than the minimum size"),
    ({"size": 10**14}, "Flavor's disk is too small for requested image")])
async def test_images_that_do_not_fit(cloud: NovaCloud, image: dict[str, Any], words: str) -> None:
    client = await cloud.new_project(f"fits-{uuid.uuid4().hex[:6]}")
    server = await cloud.boot(client)
    answer = await act(client, server["id"], "rebuild", {"imageRef": cloud.images.add(**image)})
    assert answer.status == 400 and words in message(answer)


async def test_states_and_locks(cloud: NovaCloud) -> None:
    client = await cloud.new_project("states")
    server = await cloud.boot(client)
    await act(client, server["id"], "pause")
    await cloud.wait_for(client, server["id"], "PAUSED")
    for action, value in (("rebuild", {"imageRef": cloud.image_id}), ("rescue", None)):
        answer = await act(client, server["id"], action, value)
        assert answer.status == 409 and message(answer) == (
            f"Cannot '{action}' instance {server['id']} while it is in vm_state paused")
    await act(client, server["id"], "unpause")
    await cloud.wait_for(client, server["id"], "ACTIVE")
    answer = await act(client, server["id"], "unrescue")
    assert answer.status == 409 and "while it is in vm_state active" in message(answer)
    await act(cloud.admin, server["id"], "lock")
    for action, value in (("rebuild", {"imageRef": cloud.image_id}), ("rescue", None)):
        answer = await act(client, server["id"], action, value)
        assert answer.status == 409 and "is locked" in message(answer)


async def test_a_rescue_and_back(cloud: NovaCloud) -> None:
    client = await cloud.new_project("rescue")
    server = await cloud.boot(client)
    answer = await act(client, server["id"], "rescue", {"adminPass": "secret", "rescue_image_ref": cloud.image_id})
    assert answer.status == 200 and answer.json() == {"adminPass": "secret"}
    shown = await cloud.wait_for(client, server["id"], "RESCUE")
    assert shown["OS-EXT-STS:vm_state"] == "rescued" and shown["OS-EXT-STS:power_state"] == 1
    assert shown["image"] == server["image"]
    for action in ("os-stop", "pause", "rescue"):
        assert (await act(client, server["id"], action)).status == 409
    answer = await act(client, server["id"], "unrescue")
    assert answer.status == 202 and answer.body == b""
    await cloud.wait_for(client, server["id"], "ACTIVE")
    answer = await act(client, server["id"], "rescue")
    assert answer.status == 200 and len(answer.json()["adminPass"]) == 12
    await cloud.wait_for(client, server["id"], "RESCUE")
    assert (await nova(client, "DELETE", f"/servers/{server['id']}")).status == 204
    await cloud.wait_gone(client, server["id"])


@pytest.mark.parametrize(("image", "words"), [
    (None, "is not supported"), ({"status": "queued"}, "is not supported"),
    ({"hw_rescue_device": "floppy"}, "Requested rescue device 'floppy' is not supported"),
    ({"hw_rescue_bus": "xen"}, "Requested rescue bus 'xen' is not supported")])
async def test_rescue_images_that_cannot_be(cloud: NovaCloud, image: dict[str, Any] | None, words: str) -> None:
    client = await cloud.new_project(f"cannot-{uuid.uuid4().hex[:6]}")
    server = await cloud.boot(client)
    image_id = str(uuid.uuid4()) if image is None else cloud.images.add(**image)
    answer = await act(client, server["id"], "rescue", {"rescue_image_ref": image_id})
    assert answer.status == 400 and words in message(answer)
    for body in ({"rescue_image_ref": "x"}, {"adminPass": 5}, {"color": 1}, "x"):
        assert (await act(client, server["id"], "rescue", body)).status == 400
