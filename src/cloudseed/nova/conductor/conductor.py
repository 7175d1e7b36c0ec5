"""The conductor's door: what nova-api orders in its own transactions, and what computes ask over the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.operations import OperationType

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

BOOT = OperationType("nova.boot", steps=())
DELETE = OperationType("nova.delete", steps=())
STOP = OperationType("nova.stop", steps=())
START = OperationType("nova.start", steps=())
REBOOT = OperationType("nova.reboot", steps=())


class Conductor:
    """Orders and drives; topic `conductor`."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        self.types: list[OperationType] = [BOOT, DELETE, STOP, START, REBOOT]

    async def start(self) -> None:
        """Listen on the topic `conductor`."""
        self._nova.conductor_bus.serve("conductor", {"wake": self._wake})

    async def _wake(self, ctx: Context) -> None:
        self._nova.engine.wake()

    async def order_boot(self, tx: Tx, ctx: Context, server_id: str) -> None:
        """Boot a server that this transaction has written (vm_state building, task_state scheduling)."""
        await self._nova.engine.submit(tx, BOOT, server_id, {}, ctx)

    async def order_delete(self, tx: Tx, ctx: Context, server_id: str) -> None:
        """Delete: unfinished operations are cancelled, task_state becomes deleting."""
        await self._nova.engine.cancel(tx, server_id)
        await self._nova.engine.submit(tx, DELETE, server_id, {}, ctx)

    async def order_stop(self, tx: Tx, ctx: Context, server_id: str) -> None:
        """Stop; task_state becomes powering-off."""
        await self._nova.engine.submit(tx, STOP, server_id, {}, ctx)

    async def order_start(self, tx: Tx, ctx: Context, server_id: str) -> None:
        """Start; task_state becomes powering-on."""
        await self._nova.engine.submit(tx, START, server_id, {}, ctx)

    async def order_reboot(self, tx: Tx, ctx: Context, server_id: str, hard: bool) -> None:
        """Reboot; task_state becomes rebooting or rebooting_hard."""
        await self._nova.engine.submit(tx, REBOOT, server_id, {"hard": hard}, ctx)
