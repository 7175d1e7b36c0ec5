"""What a host answers about a guest at once, outside its server's queue: figures, since which start it runs, an NMI, a
password, and file systems that stand still."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.bus import Handler
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import NotFound
from cloudseed.nova.compute.drivers.base import Driver
from cloudseed.nova.compute.spec import decode_spec


class GuestRequests:
    """The handlers, for the topic of the host."""

    def __init__(self, driver: Driver, host: str) -> None:
        self._driver = driver
        self._host = host

    def handlers(self) -> dict[str, Handler]:
        return {"diagnostics": self.diagnostics, "which_start": self.which_start, "inject_nmi": self.inject_nmi,
                "set_password": self.set_password, "quiesce": self.quiesce, "unquiesce": self.unquiesce}

    async def diagnostics(self, ctx: Context, server_id: str) -> dict[str, Any]:
        machine = await self._driver.machine(server_id)
        if machine is None:
            raise NotFound(f"Server {server_id} has no machine on host {self._host}.")
        figures = await self._driver.figures(server_id) if machine.running else {}
        return {"running": machine.running, "paused": machine.paused, "started_at": machine.started_at, **figures}

    async def which_start(self, ctx: Context, server_id: str, operation_id: str = "") -> str:
        """The name of the start that the machine runs since; empty when it is off."""
        machine = await self._driver.machine(server_id)
        return machine.start if machine is not None else ""

    async def inject_nmi(self, ctx: Context, server_id: str) -> None:
        await self._driver.inject_nmi(server_id)

    async def set_password(self, ctx: Context, server_id: str, spec: dict[str, Any], user: str,
                           password: str) -> None:
        await self._driver.set_password(decode_spec(spec), user, password)

    async def quiesce(self, ctx: Context, server_id: str, operation_id: str, spec: dict[str, Any]) -> None:
        await self._driver.quiesce(decode_spec(spec))

    async def unquiesce(self, ctx: Context, server_id: str, operation_id: str) -> None:
        await self._driver.unquiesce(server_id)
