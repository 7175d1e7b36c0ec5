"""A server's claim on a host: its allocations in placement, made, found again, released.

The claim is what keeps a host from being overcommitted: placement accepts it only while there is room.
"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.nova.scheduler.request import Request

MICROVERSION = "placement 1.39"


class Claims:
    """Placement, through the scheduler's session."""

    def __init__(self, session: ServiceSession) -> None:
        self._session = session

    async def candidates(self, ctx: Context, request: Request) -> dict[str, Any]:
        """Placement's allocation candidates: {"allocation_requests", "provider_summaries"}."""
        answer: dict[str, Any] = await self._session.get_json(
            ctx, "placement", "/allocation_candidates", params=request.query(), microversion=MICROVERSION)
        return answer

    async def present(self, ctx: Context, server_id: str) -> dict[str, Any]:
        """What the server holds: {"allocations": {node: ...}, "consumer_generation": ...}."""
        answer: dict[str, Any] = await self._session.get_json(
            ctx, "placement", f"/allocations/{server_id}", microversion=MICROVERSION)
        return answer

    async def claim(self, ctx: Context, request: Request, allocations: dict[str, Any],
                    consumer_generation: int | None) -> bool:
        """Claim; False when somebody else took the room, or wrote at the same time."""
        try:
            await self._session.request(
                ctx, "placement", "PUT", f"/allocations/{request.server_id}", microversion=MICROVERSION,
                json={"allocations": {node: {"resources": given["resources"]} for node, given in allocations.items()},
                      "project_id": request.project_id, "user_id": request.user_id, "consumer_type": "INSTANCE",
                      "consumer_generation": consumer_generation})
        except Conflict:
            return False
        return True

    async def release(self, ctx: Context, server_id: str) -> None:
        """Give everything back; nothing held is fine."""
        await self._session.request(ctx, "placement", "DELETE", f"/allocations/{server_id}",
                                    microversion=MICROVERSION, expect=(404,))
