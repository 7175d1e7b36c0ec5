"""What a tenant must not reach through compute: others' servers, and all of our time."""

from __future__ import annotations

import asyncio
import time

import pytest

from cloudseed.kernel.errors import Invalid
from cloudseed.nova.models import servers
from cloudseed.nova.server_list import matches
from tests.nova.api.cloud import NovaCloud, nova

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_strangers_port_is_no_part_of_a_server(cloud: NovaCloud) -> None:
    """Anybody may write any id into the own port's device_id; the server's project decides whose ports count."""
    user, stranger = await cloud.new_project("victim"), await cloud.new_project("stranger")
    server = await cloud.boot(user)
    made = await stranger.post("/networking/v2.0/ports", {"port": {
        "network_id": cloud.network_id, "device_id": server["id"], "device_owner": "compute:nova"}})
    assert made.status == 201
    own = (await user.get("/networking/v2.0/ports", params={"device_id": server["id"]})).json()["ports"]
    assert len(own) == 1
    for action, status in (("os-stop", "SHUTOFF"), ("os-start", "ACTIVE")):  # the host looks at neutron again
        assert (await nova(user, "POST", f"/servers/{server['id']}/action", {action: None})).status == 202
        server = await cloud.wait_for(user, server["id"], status)
        await asyncio.sleep(0)
    interfaces = (await nova(user, "GET", f"/servers/{server['id']}/os-interface")).json()["interfaceAttachments"]
    assert [interface["port_id"] for interface in interfaces] == [own[0]["id"]]
    assert sum(map(len, server["addresses"].values())) == 1


@pytest.mark.parametrize("text", [
    "a?" * 30 + "a" * 30, "(a|a)" * 30 + "b", "(a|b|ab)" * 20 + "c", ".*.*.*b", "(a*)*b", "a{1,99}a{1,99}a{1,99}b",
    "[a-z]*[a-z]*[a-z]*!", "(?:a|a)" * 30 + "b", "(a?)" * 30 + "a" * 30, "(|a)" * 30 + "a" * 30])
async def test_no_pattern_takes_for_ever(text: str) -> None:
    """It is matched in our own process, where everybody waits for it."""
    with pytest.raises(Invalid):
        matches(servers.c.name, text)


@pytest.mark.parametrize("text", ["web", "^web-[0-9]+$", "web.*db", "web-1|web-2|db-1|db-2", "^(web|db|mail)$", "a?b"])
async def test_ordinary_patterns_pass(text: str) -> None:
    matches(servers.c.name, text)


async def test_the_worst_pattern_is_quick(cloud: NovaCloud) -> None:
    user = await cloud.new_project("patterns")
    await cloud.boot(user, name="a" * 255)
    for text in (".*.*b", "[a-z]*[a-z]*!", "a?a?a?a?" + "a*" + "b", "(a|a)(a|a)a*b"):
        began = time.process_time()
        answer = await nova(user, "GET", f"/servers?name={text.replace('+', '%2B')}")
        assert answer.status in (200, 400) and time.process_time() - began < 1.0, text
