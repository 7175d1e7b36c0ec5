"""Pause, unpause, suspend and resume: states, refusals, what the host does."""

from __future__ import annotations

import pytest

from tests.nova.api.cloud import NovaCloud, message, nova

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_there_and_back(cloud: NovaCloud) -> None:
    client = await cloud.new_project("still")
    server = await cloud.boot(client)
    path = f"/servers/{server['id']}/action"
    for action, status, power, machine in (
            ("pause", "PAUSED", 3, (True, True, False)), ("unpause", "ACTIVE", 1, (True, False, False)),
            ("suspend", "SUSPENDED", 4, (False, False, True)), ("resume", "ACTIVE", 1, (True, False, False))):
        answer = await nova(client, "POST", path, {action: None})
        assert answer.status == 202 and answer.body == b""
        shown = await cloud.wait_for(client, server["id"], status)
        assert shown["OS-EXT-STS:power_state"] == power
        found = await cloud.driver().machine(server["id"])
        assert found is not None and (found.running, found.paused, found.suspended) == machine
        refused = await nova(client, "POST", path, {action: None})
        assert refused.status == 409 and message(refused) == (
            f"Cannot '{action}' instance {server['id']} while it is in vm_state "
            f"{shown['OS-EXT-STS:vm_state']}")
    actions = (await nova(client, "GET", f"/servers/{server['id']}/os-instance-actions")).json()["instanceActions"]
    assert [a["action"] for a in actions] == ["resume", "suspend", "unpause", "pause", "create"]


@pytest.mark.parametrize(("action", "status"), [("pause", "PAUSED"), ("suspend", "SUSPENDED")])
async def test_a_hard_reboot_and_a_delete_end_it(cloud: NovaCloud, action: str, status: str) -> None:
    client = await cloud.new_project(f"ends-{action}")
    server = await cloud.boot(client)
    path = f"/servers/{server['id']}/action"
    await nova(client, "POST", path, {action: None})
    await cloud.wait_for(client, server["id"], status)
    assert (await nova(client, "POST", path, {"os-stop": None})).status == 409
    assert (await nova(client, "POST", path, {"reboot": {"type": "SOFT"}})).status == 409
    assert (await nova(client, "POST", path, {"reboot": {"type": "HARD"}})).status == 202
    await cloud.wait_for(client, server["id"], "ACTIVE")
    found = await cloud.driver().machine(server["id"])
    assert found is not None and (found.running, found.paused, found.suspended) == (True, False, False)
    await nova(client, "POST", path, {action: None})
    await cloud.wait_for(client, server["id"], status)
    assert (await nova(client, "DELETE", f"/servers/{server['id']}")).status == 204
    await cloud.wait_gone(client, server["id"])


async def test_a_locked_server_stands_not_still(cloud: NovaCloud) -> None:
    client = await cloud.new_project("locked")
    server = await cloud.boot(client)
    await nova(cloud.admin, "POST", f"/servers/{server['id']}/action", {"lock": None})
    for action in ("pause", "suspend"):
        answer = await nova(client, "POST", f"/servers/{server['id']}/action", {action: None})
        assert answer.status == 409 and "is locked" in message(answer)
