"""A server's claim on a host: its allocations in placement, made, found again, moved, released.

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

    async def candidates(self, ctx: Context, request: Request, limit: int | None,
                         node_id: str | None = None) -> dict[str, Any]:
        """Placement's allocation candidates: {"allocation_requests", "provider_summaries"}; see Request.query."""
        answer: dict[str, Any] = await self._session.get_json(
            ctx, "placement", "/allocation_candidates", params=request.query(limit, node_id),
            microversion=MICROVERSION)
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

    async def move(self, ctx: Context, giver: str, taker: str, types: tuple[str, str]) -> None:
        """What `giver` holds becomes `taker`'s, who loses what it had; a giver without anything changes nothing.

        One request, so at no moment could somebody else take the room.  Safe twice.  `types`: the consumer types of
        giver and taker.
        """
        given, had = await self.present(ctx, giver), await self.present(ctx, taker)
        if not given["allocations"]:
            return
        await self._session.request(ctx, "placement", "POST", "/allocations", microversion=MICROVERSION, json={
            taker: _entry(given, given["allocations"], had.get("consumer_generation"), types[1]),
            giver: _entry(given, {}, given.get("consumer_generation"), types[0])})

    async def release(self, ctx: Context, server_id: str) -> None:
        """Give everything back; nothing held is fine."""
        await self._session.request(ctx, "placement", "DELETE", f"/allocations/{server_id}",
                                    microversion=MICROVERSION, expect=(404,))


def _entry(owner: dict[str, Any], allocations: dict[str, Any], generation: int | None, kind: str) -> dict[str, Any]:
    """One consumer of POST /allocations."""
    return {"allocations": {node: {"resources": given["resources"]} for node, given in allocations.items()},
            "project_id": owner["project_id"], "user_id": owner["user_id"], "consumer_generation": generation,
            "consumer_type": kind}
