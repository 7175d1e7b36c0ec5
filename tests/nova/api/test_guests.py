"""What is asked of a running guest over the API: figures, a password, a crash dump."""

from __future__ import annotations

import pytest

from tests.nova.api.cloud import NovaCloud, message, nova

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_password_needs_an_agent(cloud: NovaCloud) -> None:
    client = await cloud.new_project("passwords")
    plain, agent = await cloud.boot(client), await cloud.boot(
        client, imageRef=cloud.images.add(hw_qemu_guest_agent="yes"))
    order = {"changePassword": {"adminPass": "secret"}}
    answer = await nova(client, "POST", f"/servers/{plain['id']}/action", order)
    assert answer.status == 409 and message(answer) == "QEMU guest agent is not enabled"
    answer = await nova(client, "POST", f"/servers/{agent['id']}/action", order)
    assert answer.status == 202 and answer.body == b""
    for value in (None, {}, {"adminPass": 5}, {"adminPass": "x" * 300}, {"adminPass": "x", "color": 1}):
        refused = await nova(client, "POST", f"/servers/{agent['id']}/action", {"changePassword": value})
        assert refused.status == 400, value
    await nova(client, "POST", f"/servers/{agent['id']}/action", {"os-stop": None})
    await cloud.wait_for(client, agent["id"], "SHUTOFF")
    refused = await nova(client, "POST", f"/servers/{agent['id']}/action", order)
    assert refused.status == 409 and "Cannot 'changePassword' instance" in message(refused)


async def test_a_crash_dump_and_figures(cloud: NovaCloud) -> None:
    client = await cloud.new_project("dumps")
    server = await cloud.boot(client)
    path = f"/servers/{server['id']}/action"
    assert (await nova(client, "POST", path, {"trigger_crash_dump": None})).status == 202
    assert (await nova(client, "POST", path, {"trigger_crash_dump": None}, "2.16")).status in (400, 404)
    assert (await nova(client, "POST", path, {"trigger_crash_dump": 1})).status == 400
    figures = await nova(cloud.admin, "GET", f"/servers/{server['id']}/diagnostics")
    assert figures.status == 200 and figures.json()["state"] == "running" and figures.json()["uptime"] >= 0
    old = await nova(cloud.admin, "GET", f"/servers/{server['id']}/diagnostics", version="2.1")
    assert old.status == 200 and old.json()["memory"] == server["flavor"]["ram"] * 1024
    await nova(client, "POST", path, {"pause": None})
    await cloud.wait_for(client, server["id"], "PAUSED")
    figures = await nova(cloud.admin, "GET", f"/servers/{server['id']}/diagnostics")
    assert figures.json()["state"] == "paused"
