"""/os-availability-zone"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import services
from cloudseed.nova.api.os_services import zone_of
from cloudseed.nova.api.server_views import micro
from cloudseed.nova.servers import INTERNAL_ZONE

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def zones(records: list[Any], by_host: dict[str, str], *, detail: bool,
          since: datetime.datetime) -> list[dict[str, Any]]:
    """Zones with their hosts.  A zone is available while one service in it is enabled."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        name = zone_of(record, by_host)
        if name == INTERNAL_ZONE and not detail:
            continue
        zone = found.setdefault(name, {"zoneName": name, "zoneState": {"available": False},
                                       "hosts": {} if detail else None})
        zone["zoneState"]["available"] |= not record.disabled
        if detail:
            zone["hosts"].setdefault(record.host, {})[record.binary] = {
                "available": services.is_up(record, since), "active": not record.disabled,
                "updated_at": micro(record.last_seen_at)}
    return [found[name] for name in sorted(found)]


class AvailabilityZones:
    """/v2.1/os-availability-zone, and /detail for admins"""

    def __init__(self, nova: Nova, *, detail: bool) -> None:
        self.nova = nova
        self.detail = detail

    async def on_get(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce(f"os_compute_api:os-availability-zone:{'detail' if self.detail else 'list'}",
                                 req.ctx.identity)
        records, by_host = await services.list_services(self.nova)
        resp.media = {"availabilityZoneInfo": zones(records, by_host, detail=self.detail,
                                                        since=services.alive_since(self.nova))}
