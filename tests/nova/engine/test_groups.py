"""Server groups: members side by side or apart, also when they are ordered at the same time."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.nova.models import server_group_members, server_groups
from tests.nova.engine.bench import Bench


async def members(bench: Bench, policy: str, count: int, rules: dict[str, Any] | None = None) -> list[Any]:
    """Order `count` members of a new group at once; the servers once all is over."""
    group_id = str(uuid.uuid4())
    async with bench.nova.db.write() as tx:
        await tx.execute(sa.insert(server_groups).values(id=group_id, project_id="p1", user_id="u1", name="g",
                                                         policy=policy, rules=rules or {}))
    ids = [str(uuid.uuid4()) for _ in range(count)]
    async with bench.nova.db.write() as tx:
        await tx.execute(sa.insert(server_group_members), [{"group_id": group_id, "server_id": i} for i in ids])
    await asyncio.gather(*(bench.create(id=server_id) for server_id in ids))
    await bench.idle()
    return [await bench.server(server_id) for server_id in ids]


async def test_the_hints_that_say_which_hosts_will_do(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=3) as bench:
        wanted = f"{bench.config.host}-2"
        for query in (["=", "$host", wanted], f'["in", "$host", "{wanted}", "another"]'):
            server_id = await bench.create(scheduler_hints={"query": query})
            assert (await bench.wait_for(server_id, vm_state="active", task_state=None)).host == wanted
        server_id = await bench.create(scheduler_hints={"build_near_host_ip": "203.0.113.1"})
        await bench.wait_for(server_id, vm_state="error", task_state=None)
        assert "SimpleCIDRAffinityFilter" in await bench.fault(server_id)
        near = {"build_near_host_ip": bench.config.address, "cidr": "/32"}
        await bench.wait_for(await bench.create(scheduler_hints=near), vm_state="active", task_state=None)


async def test_anti_affinity_holds_for_members_ordered_at_once(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=3) as bench:
        rows = await members(bench, "anti-affinity", 4)
        hosts = [row.host for row in rows if row.vm_state == "active"]
        assert len(hosts) == len(set(hosts)) and 2 <= len(hosts) <= 3
        for row in rows:
            if row.vm_state == "error":
                assert "No valid host was found." in await bench.fault(row.id)
        assert await bench.violations() == []


async def test_anti_affinity_with_room_for_two(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=2) as bench:
        for row in await members(bench, "anti-affinity", 2, {"max_server_per_host": 2}):
            assert row.vm_state == "active"


@pytest.mark.parametrize("count", [5])
async def test_affinity_holds_for_members_ordered_at_once(tmp_path: Path, count: int) -> None:
    async with Bench(tmp_path, fake_hosts=3) as bench:
        rows = await members(bench, "affinity", count)
        assert len({row.host for row in rows if row.host}) == 1
        assert await bench.violations() == []


@pytest.mark.parametrize(("policy", "hosts"), [("soft-affinity", 1), ("soft-anti-affinity", 3)])
async def test_a_soft_policy_decides_where_it_can(tmp_path: Path, policy: str, hosts: int) -> None:
    async with Bench(tmp_path, fake_hosts=3) as bench:
        async with bench.nova.db.write() as tx:
            await tx.execute(sa.insert(server_groups).values(
                id="g1", project_id="p1", user_id="u1", name="g", policy=policy, rules={}))
        ids = [str(uuid.uuid4()) for _ in range(3)]
        async with bench.nova.db.write() as tx:
            await tx.execute(sa.insert(server_group_members), [{"group_id": "g1", "server_id": i} for i in ids])
        for server_id in ids:
            await bench.create(id=server_id)
            await bench.idle()
        assert len({(await bench.server(server_id)).host for server_id in ids}) == hosts


async def test_hints_name_servers_to_be_near_to_or_far_from(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=3) as bench:
        first = await bench.create()
        await bench.idle()
        host = (await bench.server(first)).host
        for hint, near in (({"same_host": first}, True), ({"same_host": [first]}, True),
                           ({"different_host": [first]}, False)):
            other = await bench.create(scheduler_hints=hint)
            await bench.idle()
            assert ((await bench.server(other)).host == host) is near
        lost = await bench.create(scheduler_hints={"same_host": [str(uuid.uuid4())]})
        await bench.idle()
        assert "SameHostFilter removed the last" in await bench.fault(lost)
