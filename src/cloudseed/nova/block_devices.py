"""Block devices of servers in the database: the rows, and the picture of them that lies with each server.

The rows are the truth; `servers.block_devices` repeats them, so that whoever reads a server (a list, the spec for
its host) has its disks without another statement.  Every function that changes rows paints the picture anew in the
same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.models import block_device_mappings as table
from cloudseed.nova.models import servers

_NEW = sa.insert(table)
_OF_SERVER = sa.select(table).where(table.c.server_id == sa.bindparam("server")).order_by(table.c.position,
                                                                                         table.c.id)
_ONE = sa.update(table).where(table.c.id == sa.bindparam("this"))
_PAINT = sa.update(servers).where(servers.c.id == sa.bindparam("this"))
FIELDS = tuple(name for name in BlockDevice.__struct_fields__)


def _device(row: Any) -> BlockDevice:
    return BlockDevice(**{name: getattr(row, name) for name in FIELDS})


async def list_devices(tx: Tx, server_id: str) -> list[BlockDevice]:
    """A server's devices in the order in which its guest sees them."""
    return [_device(row) for row in await tx.all(_OF_SERVER, {"server": server_id})]


async def find_device(tx: Tx, device_id: str) -> BlockDevice | None:
    row = await tx.first(sa.select(table).where(table.c.id == device_id))
    return _device(row) if row is not None else None


async def servers_of_volume(tx: Tx, volume_id: str) -> list[str]:
    """The servers that have the volume, or are about to."""
    found = await tx.scalars(sa.select(table.c.server_id).where(table.c.volume_id == volume_id))
    return sorted(found)


def named(device: BlockDevice) -> BlockDevice:
    """The device with an id of its own."""
    return msgspec.structs.replace(device, id=device.id or str(uuid.uuid4()))


def picture(devices: Iterable[BlockDevice]) -> list[dict[str, Any]]:
    """Devices as the column `servers.block_devices` has them."""
    wire: list[dict[str, Any]] = msgspec.to_builtins(list(devices))
    return wire


async def add_devices(tx: Tx, server_id: str, devices: list[BlockDevice], *, paint: bool = True) -> None:
    """New rows, behind those that are there; each must have its id."""
    if not devices:
        return
    first = int(await tx.scalar(sa.select(sa.func.coalesce(sa.func.max(table.c.position), -1)).where(
        table.c.server_id == server_id))) + 1
    now = utcnow()
    await tx.execute(_NEW, [{**{name: getattr(device, name) for name in FIELDS}, "server_id": server_id,
                             "position": first + number, "created_at": now}
                            for number, device in enumerate(devices)])
    if paint:
        await _paint(tx, server_id)


async def change_device(tx: Tx, server_id: str, device_id: str, **values: Any) -> None:
    """Change a row; one that is gone meanwhile stays gone."""
    await tx.execute(_ONE, {"this": device_id, **values})
    await _paint(tx, server_id)


async def change_devices(tx: Tx, server_id: str, devices: Iterable[BlockDevice]) -> None:
    """Write what a host did to these devices: volume, size, attachment and connection."""
    for device in devices:
        await tx.execute(_ONE, {"this": device.id, **{name: getattr(device, name) for name in (
            "volume_id", "volume_size", "attachment_id", "connection_info", "state", "made")}})
    await _paint(tx, server_id)


async def remove_devices(tx: Tx, server_id: str, device_ids: Iterable[str] | None = None) -> None:
    """Remove rows of a server: those named, or all."""
    where = [table.c.server_id == server_id]
    if device_ids is not None:
        where.append(table.c.id.in_(list(device_ids)))
    await tx.execute(sa.delete(table).where(*where))
    await _paint(tx, server_id)


async def _paint(tx: Tx, server_id: str) -> None:
    await tx.execute(_PAINT, {"this": server_id, "block_devices": picture(await list_devices(tx, server_id))})

