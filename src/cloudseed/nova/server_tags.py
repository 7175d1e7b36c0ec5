"""Tags of servers: a set of short words, at most 50."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.nova.models import server_tags
from cloudseed.nova.servers import find_server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

RULE = "os_compute_api:os-server-tags:"
MAX_TAGS = 50


async def _tags(tx: Tx, server_id: str) -> list[str]:
    return list(await tx.scalars(sa.select(server_tags.c.tag).where(server_tags.c.server_id == server_id)
                                 .order_by(server_tags.c.tag)))


async def list_tags(nova: Nova, ctx: Context, server_id: str, action: str = "index") -> list[str]:
    async with nova.db.read() as tx:
        await find_server(nova, tx, ctx, server_id, RULE + action)
        return await _tags(tx, server_id)


async def add_tag(nova: Nova, ctx: Context, server_id: str, tag: str) -> bool:
    """True when it was not there before."""
    async with nova.db.write() as tx:
        await find_server(nova, tx, ctx, server_id, RULE + "update")
        present = await _tags(tx, server_id)
        if tag in present:
            return False
        if len(present) >= MAX_TAGS:
            raise Invalid(f"The number of tags exceeded the per-server limit {MAX_TAGS}")
        await tx.execute(sa.insert(server_tags).values(server_id=server_id, tag=tag))
        return True


async def replace_tags(nova: Nova, ctx: Context, server_id: str, tags: list[str], action: str) -> list[str]:
    async with nova.db.write() as tx:
        await find_server(nova, tx, ctx, server_id, RULE + action)
        await tx.execute(sa.delete(server_tags).where(server_tags.c.server_id == server_id))
        if tags:
            await tx.execute(sa.insert(server_tags), [{"server_id": server_id, "tag": tag} for tag in tags])
        return await _tags(tx, server_id)


async def delete_tag(nova: Nova, ctx: Context, server_id: str, tag: str) -> None:
    async with nova.db.write() as tx:
        await find_server(nova, tx, ctx, server_id, RULE + "delete")
        gone = await tx.execute(sa.delete(server_tags).where(server_tags.c.server_id == server_id,
                                                             server_tags.c.tag == tag))
        if gone.rowcount == 0:
            raise NotFound(f"Server {server_id} has no tag '{tag}'")
