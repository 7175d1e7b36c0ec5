"""Moves between hosts as operators order and see them; on three pretended hosts with the real neutron."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cloudseed.nova.compute.drivers.fake import FakeDriver
from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.support.cloud import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Three(NovaCloud):
    """A cloud of three hosts."""

    async def act(self, server: Json, body: Any, version: str = "latest") -> Answer:
        return await nova(self.admin, "POST", f"/servers/{server['id']}/action", body, version)

    async def migrations(self, server: Json) -> list[Json]:
        found = await nova(self.admin, "GET", f"/os-migrations?instance_uuid={server['id']}")
        rows: list[Json] = found.json()["migrations"]
        return rows

    async def wait_ended(self, server: Json) -> Json:
        """The newest migration once it is over."""
        async with asyncio.timeout(15):
            while (newest := (await self.migrations(server))[0])["status"] not in (
                    "completed", "error", "cancelled", "done", "finished"):
                await asyncio.sleep(0.02)
        return newest

    async def force_down(self, host: str, down: bool) -> None:
        service, = (await nova(self.admin, "GET", f"/os-services?host={host}&binary=nova-compute")).json()["services"]
        assert (await nova(self.admin, "PUT", f"/os-services/{service['id']}", {"forced_down": down})).status == 200

    async def disable(self, host: str, disabled: bool) -> None:
        service, = (await nova(self.admin, "GET", f"/os-services?host={host}&binary=nova-compute")).json()["services"]
        change = {"status": "disabled", "disabled_reason": "maintenance"} if disabled else {"status": "enabled"}
        assert (await nova(self.admin, "PUT", f"/os-services/{service['id']}", change)).status == 200

    def drivers(self) -> list[FakeDriver]:
        return [compute.driver for compute in self.service("nova-compute").handle]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Three]:
    async with Three(tmp_path_factory.mktemp("moves"), fake_hosts=3) as cloud:
        generous = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        await nova(cloud.admin, "PUT", f"/os-quota-sets/{cloud.admin.project_id}", generous)
        yield cloud


@pytest_asyncio.fixture(loop_scope="module")
async def server(three: Three) -> AsyncIterator[Json]:
    made = await three.boot(three.admin)
    yield made
    await nova(three.admin, "DELETE", f"/servers/{made['id']}")
    await three.wait_gone(three.admin, made["id"])


def host(server: Json) -> str:
    name: str = server["OS-EXT-SRV-ATTR:host"]
    return name


async def hosts(three: Three) -> list[str]:
    found = (await nova(three.admin, "GET", "/os-services?binary=nova-compute")).json()["services"]
    return sorted(service["host"] for service in found)


async def test_a_cold_migration(three: Three, server: Json) -> None:
    there = next(h for h in await hosts(three) if h != host(server))
    own = await three.act(server, {"migrate": {"host": host(server)}})
    assert own.status == 400 and message(own) == "Cannot migrate to the host where the server exists."
    unknown = await three.act(server, {"migrate": {"host": "nowhere"}})
    assert unknown.status == 400 and message(unknown) == "Compute host nowhere could not be found."
    assert (await three.act(server, {"migrate": {"host": there}})).status == 202
    moved = await three.wait_for(three.admin, server["id"], "VERIFY_RESIZE")
    assert host(moved) == there and moved["OS-EXT-SRV-ATTR:hypervisor_hostname"] == there
    found = (await three.migrations(server))[0]
    assert (found["migration_type"], found["source_compute"], found["dest_compute"], found["status"]) == (
        "migration", host(server), there, "finished")
    assert (await three.act(server, {"revertResize": None})).status == 202
    assert host(await three.wait_for(three.admin, server["id"], "ACTIVE")) == host(server)
    assert (await three.act(server, {"migrate": None})).status == 202
    moved = await three.wait_for(three.admin, server["id"], "VERIFY_RESIZE")
    assert host(moved) != host(server)
    assert (await three.act(server, {"confirmResize": None})).status == 204
    assert host(await three.wait_for(three.admin, server["id"], "ACTIVE")) == host(moved)


async def test_a_live_migration(three: Three, server: Json) -> None:
    live = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    assert (await three.act(server, live)).status == 202
    ended = await three.wait_ended(server)
    moved = await three.wait_for(three.admin, server["id"], "ACTIVE")
    assert ended["status"] == "completed" and host(moved) == ended["dest_compute"] != host(server)
    self_ = await three.act(server, {"os-migrateLive": {"host": host(moved), "block_migration": "auto"}})
    assert self_.status == 400 and message(self_) == (
        f"Unable to migrate instance ({server['id']}) to current host ({host(moved)}).")
    old = {"os-migrateLive": {"host": host(server), "block_migration": True, "disk_over_commit": False}}
    assert (await three.act(server, old, "2.1")).status == 202
    assert host(await three.wait_for(three.admin, server["id"], "ACTIVE")) == host(server)
    shared = {"os-migrateLive": {"host": None, "block_migration": False, "disk_over_commit": False}}
    refused = await three.act(server, shared, "2.24")
    assert refused.status == 400 and "is not on shared storage" in message(refused)
    for body in ({"host": None, "block_migration": "auto", "force": True}, {"host": None}):
        assert (await three.act(server, {"os-migrateLive": body}, "2.30")).status == 400, body
    await three.act(server, {"os-stop": None})
    await three.wait_for(three.admin, server["id"], "SHUTOFF")
    off = await three.act(server, live)
    assert off.status == 409 and message(off) == (
        f"Cannot 'os-migrateLive' instance {server['id']} while it is in vm_state stopped")


async def test_a_live_migration_is_watched_hurried_and_aborted(three: Three, server: Json) -> None:
    held = asyncio.Event()
    for driver in three.drivers():
        async def wait(doing: str, _old: Any = driver._pretend) -> None:
            if doing == "send_live":
                await held.wait()
            await _old(doing)
        driver._pretend = wait  # type: ignore[method-assign]
    path = f"/servers/{server['id']}/migrations"
    for action in ("abort", "hurry"):
        held.clear()
        assert (await three.act(server, {"os-migrateLive": {"host": None, "block_migration": "auto"}})).status == 202
        async with asyncio.timeout(10):
            while not (found := (await nova(three.admin, "GET", path)).json()["migrations"]) \
                    or found[0]["status"] != "running":
                await asyncio.sleep(0.02)
        shown = (await nova(three.admin, "GET", f"{path}/{found[0]['id']}")).json()["migration"]
        assert shown["memory_total_bytes"] > 0 and shown["source_compute"] and shown["uuid"]
        busy = await three.act(server, {"migrate": None})
        assert busy.status == 409
        one = f"{path}/{found[0]['id']}"
        if action == "abort":
            assert (await nova(three.admin, "DELETE", one)).status == 202
            assert (await three.wait_ended(server))["status"] == "cancelled"
            late = await nova(three.admin, "DELETE", one)
            assert late.status == 409  # the server is not migrating any more
        else:
            for bad in ({}, {"force_complete": 1}, {"x": None}, []):
                assert (await nova(three.admin, "POST", f"{one}/action", bad)).status == 400
            assert (await nova(three.admin, "POST", f"{one}/action", {"force_complete": None})).status == 202
            held.set()
            assert (await three.wait_ended(server))["status"] == "completed"
        await three.wait_for(three.admin, server["id"], "ACTIVE")
    for unknown in ("999999", "x", "1" * 40, "%00"):
        assert (await nova(three.admin, "GET", f"{path}/{unknown}")).status == 404
        assert (await nova(three.admin, "DELETE", f"{path}/{unknown}")).status == 404
    over = await nova(three.admin, "GET", one)
    assert over.status == 404 and "is not in progress" in message(over)


async def test_an_evacuation(three: Three, server: Json) -> None:
    there = next(h for h in await hosts(three) if h != host(server))
    used = await three.act(server, {"evacuate": {}})
    assert used.status == 400 and message(used) == f"Compute service of {host(server)} is still in use."
    same = await three.act(server, {"evacuate": {"host": host(server)}})
    assert same.status == 400 and message(same) == "The target host can't be the same one."
    unknown = await three.act(server, {"evacuate": {"host": "nowhere"}})
    assert unknown.status == 404 and message(unknown) == "Compute host nowhere not found."
    await three.force_down(host(server), True)
    try:
        answer = await three.act(server, {"evacuate": {"host": there}}, "2.94")
        assert answer.status == 200, answer.body
        assert (await three.wait_ended(server))["migration_type"] == "evacuation"
        moved = await three.wait_for(three.admin, server["id"], "ACTIVE")
        assert host(moved) == there and moved["addresses"] == server["addresses"]
    finally:
        await three.force_down(host(server), False)
    await three.force_down(there, True)
    try:
        answer = await three.act(server, {"evacuate": {"onSharedStorage": False}}, "2.13")
        assert answer.status == 200 and answer.json()["adminPass"]
        moved = await three.wait_for(three.admin, server["id"], "ACTIVE")
        assert host(moved) != there
    finally:
        await three.force_down(there, False)
    await three.force_down(host(moved), True)
    try:
        assert (await three.act(server, {"evacuate": {}})).status == 200
        await three.wait_for(three.admin, server["id"], "SHUTOFF")  # since 2.95
    finally:
        await three.force_down(host(moved), False)


async def test_a_host_is_emptied(three: Three, server: Json) -> None:
    """Disabled, so that nothing new comes; then every server is sent away."""
    all_of = await hosts(three)
    await three.disable(host(server), True)
    try:
        for _ in range(2):
            assert host(await three.boot(three.admin)) != host(server)
        assert (await three.act(server, {"os-migrateLive": {"host": None, "block_migration": "auto"}})).status == 202
        moved = await three.wait_for(three.admin, server["id"], "ACTIVE")
        assert host(moved) in set(all_of) - {host(server)}
        back = {"os-migrateLive": {"host": host(server), "block_migration": "auto"}}
        assert (await three.act(server, back)).status == 202
        assert (await three.wait_ended(server))["status"] == "error"
    finally:
        await three.disable(host(server), False)


async def test_a_group_stays_apart_when_its_members_move(three: Three) -> None:
    made = await nova(three.admin, "POST", "/os-server-groups",
                      {"server_group": {"name": "apart", "policy": "anti-affinity"}})
    hints = {"os:scheduler_hints": {"group": made.json()["server_group"]["id"]}}
    members = []
    for _ in range(2):
        answer = await nova(three.admin, "POST", "/servers", {**three.order(), **hints})
        members.append(await three.wait_for(three.admin, answer.json()["server"]["id"], "ACTIVE"))
    free, = set(await hosts(three)) - {host(member) for member in members}
    for kind in ({"os-migrateLive": {"host": None, "block_migration": "auto"}}, {"migrate": None}):
        assert (await three.act(members[0], kind)).status == 202
        ended = await three.wait_ended(members[0])
        assert ended["dest_compute"] == free, ended
        free = ended["source_compute"]
    wrong = {"os-migrateLive": {"host": host(members[0]), "block_migration": "auto"}}
    assert (await three.act(members[1], wrong)).status == 202
    assert (await three.wait_ended(members[1]))["status"] == "error"
