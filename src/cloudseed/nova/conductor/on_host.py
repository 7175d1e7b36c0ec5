"""How an operation asks a server's host: what no answer means, and what an error means for the operation."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import BrokerAway, Unavailable
from cloudseed.kernel.operations import Run
from cloudseed.nova.compute.errors import HostSilent, NotHere
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.models import services
from cloudseed.nova.services import alive_since, is_up

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
# longer than whatever the host waits for; when it is over nothing is known, and we ask again
CALL_TIMEOUT_S = 120.0


class HostGone(Exception):
    """The host neither answers nor reports in."""

    def __init__(self, host: str, error: Unavailable) -> None:
        super().__init__(host)
        self.host = host
        self.error = error

    def failure(self, doing: str) -> HostSilent:
        """The error of a work that needs the host; `doing` says what failed."""
        return HostSilent(host=self.host, doing=doing, reason=self.error.message)


class Hosts:
    """Calls to computes for operations."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        self._networks = Networks(nova.conductor_session)

    async def ask(self, run: Run, host: str, method: str, **arguments: Any) -> Any:
        """Have `host` do `method` for this operation.

        Raises the host's own error; Unavailable or Timeout while it may still answer (ask again), BrokerAway when
        no host can be asked; HostGone when it has not reported in for so long that it counts as down.
        """
        return await self.ask_of(run.ctx, host, method, server_id=run.resource_id, operation_id=run.id, **arguments)

    async def ask_of(self, ctx: Context, host: str, method: str, **arguments: Any) -> Any:
        """As `ask`, of a server and for an operation that `arguments` name."""
        try:
            return await self._nova.conductor_bus.call(
                ctx, f"compute.{host}", method, timeout_s=CALL_TIMEOUT_S, **arguments)
        except BrokerAway:
            raise  # nor did anybody hear of the host meanwhile: that it counts as down says nothing
        except Unavailable as exc:
            if await self.is_up(host):
                raise
            raise HostGone(host, exc) from exc

    async def require(self, run: Run, row: Any, method: str, *, doing: str = "", **arguments: Any) -> Any:
        """As `ask` of the host that the server `row` is on, where nothing can be done without it.

        Raises NotHere when it is on none, HostSilent when its host is gone; `doing` says what failed then.
        """
        if row.host is None:
            raise NotHere(f"Instance {row.id} is on no host.")
        try:
            return await self.ask(run, row.host, method, **arguments)
        except HostGone as exc:
            doing = doing or f"{method} of server {row.id}"
            raise exc.failure(doing) from exc

    async def is_up(self, host: str) -> bool:
        async with self._nova.db.read() as tx:
            row = await tx.first(sa.select(services).where(services.c.host == host,
                                                           services.c.binary == "nova-compute"))
        return row is not None and is_up(row, alive_since(self._nova))

    async def release_ports(self, run: Run, given_ports: list[str]) -> None:
        """Give a server's ports back without its host, which is gone or never was."""
        await self._networks.release(run.ctx, run.resource_id, given_ports)
