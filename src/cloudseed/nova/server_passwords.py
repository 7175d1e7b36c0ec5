"""The password that a guest made for itself, encrypted with its server's key, and reported to the metadata service.

Only its owner can read it (`openstack server show` has no part in it; `nova get-password` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.nova.models import servers
from cloudseed.nova.servers import find_server, get_server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

MAX_BYTES = 1020  # upstream's four pieces of 255
_KEY = "password"
_RULE = "os_compute_api:os-server-password:"


def password_of(system_metadata: dict[str, Any]) -> str:
    """What the guest reported; empty when nothing yet."""
    return str(system_metadata.get(_KEY) or "")


def with_password(system_metadata: dict[str, Any], password: str) -> dict[str, Any]:
    return {**system_metadata, _KEY: password}


async def get_password(nova: Nova, ctx: Context, server_id: str) -> str:
    """The encrypted password, or an empty text."""
    return password_of((await get_server(nova, ctx, server_id, _RULE + "show")).system_metadata)


async def clear_password(nova: Nova, ctx: Context, server_id: str) -> None:
    """Forget it, so that the guest may report another one; the guest's own password stays as it is."""
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, _RULE + "clear")
        kept = {name: value for name, value in row.system_metadata.items() if name != _KEY}
        await tx.execute(sa.update(servers).where(servers.c.id == row.id).values(system_metadata=kept))
