"""Metadata of servers: pairs of text that users attach; guests see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import NotFound
from cloudseed.nova import quotas
from cloudseed.nova.models import servers
from cloudseed.nova.servers import Server, check_lock, find_server, get_server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

RULE = "os_compute_api:server-metadata:"


async def get_metadata(nova: Nova, ctx: Context, server_id: str, action: str) -> dict[str, str]:
    metadata: dict[str, str] = (await get_server(nova, ctx, server_id, RULE + action)).metadata
    return metadata


async def get_item(nova: Nova, ctx: Context, server_id: str, key: str) -> str:
    metadata = await get_metadata(nova, ctx, server_id, "show")
    if key not in metadata:
        raise NotFound("Metadata item was not found")
    return metadata[key]


async def update_metadata(nova: Nova, ctx: Context, server_id: str, values: dict[str, str],
                          action: str) -> dict[str, str]:
    """Add or change; returns all."""
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, RULE + action)
        return await _write(nova, tx, ctx, row, {**row.metadata, **values})


async def replace_metadata(nova: Nova, ctx: Context, server_id: str, values: dict[str, str]) -> dict[str, str]:
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, RULE + "update_all")
        return await _write(nova, tx, ctx, row, values)


async def delete_item(nova: Nova, ctx: Context, server_id: str, key: str) -> None:
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, RULE + "delete")
        if key not in row.metadata:
            raise NotFound("Metadata item was not found")
        await _write(nova, tx, ctx, row, {name: value for name, value in row.metadata.items() if name != key})


async def _write(nova: Nova, tx: Tx, ctx: Context, row: Server, values: dict[str, str]) -> dict[str, str]:
    check_lock(nova, ctx, row)
    quotas.check_metadata(await quotas.get_limits(tx, row.project_id), values)
    await tx.execute(sa.update(servers).where(servers.c.id == row.id).values(metadata=values, updated_at=utcnow()))
    return values
