"""/os-services"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import services
from cloudseed.nova.api.body import as_type, check_name, check_query, is_uuid, shown
from cloudseed.nova.api.server_views import micro
from cloudseed.nova.hypervisors import number_of
from cloudseed.nova.servers import DEFAULT_ZONE, INTERNAL_ZONE

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class OldChange(msgspec.Struct, forbid_unknown_fields=True):
    """PUT /os-services/{enable, disable, disable-log-reason, force-down} before 2.53"""

    host: str
    binary: str
    disabled_reason: str | None = None
    forced_down: bool | None = None

    def __post_init__(self) -> None:
        check_name(self.host, "host")
        check_name(self.binary, "binary")
        if self.disabled_reason is not None:
            check_name(self.disabled_reason, "disabled_reason")


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """PUT /os-services/{uuid} since 2.53"""

    status: Literal["enabled", "disabled"] | None = None
    disabled_reason: str | None = None
    forced_down: bool | None = None

    def __post_init__(self) -> None:
        if self.disabled_reason is not None:
            check_name(self.disabled_reason, "disabled_reason")


def _without_forced_down(body: dict[str, Any]) -> None:
    body.pop("forced_down", None)


def _with_number(body: dict[str, Any]) -> None:
    body["id"] = number_of(body["id"])


VIEW = Adapters(Adapter((2, 11), response=_without_forced_down), Adapter((2, 53), response=_with_number))


def zone_of(record: Any, zones: dict[str, str]) -> str:
    return zones.get(record.host, DEFAULT_ZONE) if record.binary == "nova-compute" else INTERNAL_ZONE


def view(record: Any, zones: dict[str, str], version: tuple[int, int], since: datetime.datetime) -> dict[str, Any]:
    body: dict[str, Any] = VIEW.lower(version, {
        "binary": record.binary, "host": record.host, "id": record.id, "zone": zone_of(record, zones),
        "status": "disabled" if record.disabled else "enabled",
        "state": "up" if services.is_up(record, since) else "down",
        "updated_at": micro(record.last_seen_at or record.updated_at), "disabled_reason": record.disabled_reason,
        "forced_down": record.forced_down})
    return body


class Services:
    """/v2.1/os-services"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:os-services:list", req.ctx.identity)
        check_query(req, ("host", "binary"), since=(2, 75))
        records, zones = await services.list_services(self.nova, host=req.text_param("host"),
                                                      binary=req.text_param("binary"))
        since = services.alive_since(self.nova)
        resp.media = {"services": [view(record, zones, req.microversion, since) for record in records]}


class Service:
    """/v2.1/os-services/{service_id}: a uuid since 2.53; before it, the name of a change"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_put(self, req: Request, resp: Response, service_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-services:update", req.ctx.identity)
        body: Any = await req.json()
        if req.microversion < (2, 53):
            resp.media = {"service": await self._old(req, service_id, body)}
            return
        if not is_uuid(service_id):
            raise Invalid(f"Invalid uuid {shown(service_id)}")
        change = as_type(body, Change, "body")
        values: dict[str, Any] = {}
        if change.disabled_reason is not None and change.status != "disabled":
            raise Invalid("Specifying disabled_reason requires that status is 'disabled'.")
        if change.status is not None:
            values |= {"disabled": change.status == "disabled", "disabled_reason": change.disabled_reason}
        if change.forced_down is not None:
            values["forced_down"] = change.forced_down
        if not values:
            raise Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
        record = await services.update_service(self.nova, service_id, values)
        _, zones = await services.list_services(self.nova, host=record.host)
        resp.media = {"service": view(record, zones, req.microversion, services.alive_since(self.nova))}

    async def _old(self, req: Request, action: str, body: Any) -> dict[str, Any]:
        change = as_type(body, OldChange, "body")
        values: dict[str, Any]
        told: dict[str, Any]
        if action == "enable":
            values = {"disabled": False, "disabled_reason": None}
            told = {"status": "enabled"}
        elif action == "disable":
            values, told = {"disabled": True}, {"status": "disabled"}
        elif action == "disable-log-reason":
            if change.disabled_reason is None:
                raise Invalid("Missing disabled reason field")
            values = {"disabled": True, "disabled_reason": change.disabled_reason}
            told = {"status": "disabled", "disabled_reason": change.disabled_reason}
        elif action == "force-down":
            require(req.microversion, (2, 11))
            if change.forced_down is None:
                raise Invalid("Missing forced_down field")
            values = told = {"forced_down": change.forced_down}
        else:
            raise NotFound("The resource could not be found.")
        record = await services.find_service(self.nova, change.host, change.binary)
        await services.update_service(self.nova, record.id, values)
        return {"host": change.host, "binary": change.binary, **told}

    async def on_delete(self, req: Request, resp: Response, service_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-services:delete", req.ctx.identity)
        if req.microversion >= (2, 53) and not is_uuid(service_id):
            raise Invalid(f"Invalid uuid {shown(service_id)}")
        if req.microversion < (2, 53):
            records, _ = await services.list_services(self.nova)
            service_id = next((record.id for record in records if str(number_of(record.id)) == service_id),
                              service_id)
        await services.delete_service(self.nova, service_id)
        resp.status = 204
