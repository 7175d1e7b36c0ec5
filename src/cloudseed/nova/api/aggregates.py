"""/os-aggregates"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import aggregates
from cloudseed.nova.api.body import as_type, check_name, read, read_whole, shown
from cloudseed.nova.api.server_views import micro

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def _check_zone(zone: str | None) -> None:
    if zone is not None:
        check_name(zone, "availability_zone")
        if ":" in zone:
            raise ValueError(f"Invalid input for field/attribute availability_zone. Value: {shown(zone)}. It must not "
                             "hold a colon")


class NewAggregate(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    availability_zone: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_zone(self.availability_zone)


class AggregateChange(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    availability_zone: str | msgspec.UnsetType | None = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        if isinstance(self.availability_zone, str):
            _check_zone(self.availability_zone)
        if self.name is None and self.availability_zone is msgspec.UNSET:
            raise ValueError("Invalid input for field/attribute aggregate. It must name something to change")


class HostChange(msgspec.Struct, forbid_unknown_fields=True):
    host: str

    def __post_init__(self) -> None:
        check_name(self.host, "host")


class Metadata(msgspec.Struct, forbid_unknown_fields=True):
    metadata: dict[str, str | None]

    def __post_init__(self) -> None:
        for key, value in self.metadata.items():
            check_name(key, "metadata")
            if value is not None and len(value) > 255:
                raise ValueError(f"Invalid input for field/attribute {shown(key)}. It is longer than 255 characters")


def _without_uuid(body: dict[str, Any]) -> None:
    body.pop("uuid", None)


VIEW = Adapters(Adapter((2, 41), response=_without_uuid))


def view(found: aggregates.Aggregate, version: tuple[int, int]) -> dict[str, Any]:
    row, hosts = found
    body: dict[str, Any] = VIEW.lower(version, {
        "id": row.id, "uuid": row.uuid, "name": row.name, "hosts": hosts, "metadata": row.metadata,
        "created_at": micro(row.created_at), "updated_at": micro(row.updated_at), "deleted_at": None,
        "deleted": False, "availability_zone": row.metadata.get(aggregates.ZONE)})
    return body


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    def allow(self, req: Request, action: str) -> None:
        self.nova.policy.enforce(f"os_compute_api:os-aggregates:{action}", req.ctx.identity)

    def number(self, aggregate_id: str) -> int:
        digits = aggregate_id.removeprefix("-")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
            raise Invalid("Invalid input received: id must be an integer")
        return int(aggregate_id)


class Aggregates(_Base):
    """/v2.1/os-aggregates"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.allow(req, "index")
        resp.media = {"aggregates": [view(found, req.microversion)
                                     for found in await aggregates.list_aggregates(self.nova)]}

    async def on_post(self, req: Request, resp: Response) -> None:
        self.allow(req, "create")
        new = await read(req, "aggregate", NewAggregate)
        body = view(await aggregates.create_aggregate(self.nova, new.name, new.availability_zone), req.microversion)
        del body["hosts"], body["metadata"]  # upstream's answer to POST has neither
        resp.media = {"aggregate": body}


class Aggregate(_Base):
    """/v2.1/os-aggregates/{aggregate_id}"""

    async def on_get(self, req: Request, resp: Response, aggregate_id: str) -> None:
        self.allow(req, "show")
        found = await aggregates.get_aggregate(self.nova, self.number(aggregate_id))
        resp.media = {"aggregate": view(found, req.microversion)}

    async def on_put(self, req: Request, resp: Response, aggregate_id: str) -> None:
        self.allow(req, "update")
        change = await read(req, "aggregate", AggregateChange)
        zone = change.availability_zone
        metadata = {aggregates.ZONE: zone} if not isinstance(zone, msgspec.UnsetType) else {}
        found = await aggregates.update_aggregate(self.nova, self.number(aggregate_id), change.name, metadata)
        resp.media = {"aggregate": view(found, req.microversion)}

    async def on_delete(self, req: Request, resp: Response, aggregate_id: str) -> None:
        self.allow(req, "delete")
        await aggregates.delete_aggregate(self.nova, self.number(aggregate_id))


class AggregateAction(_Base):
    """/v2.1/os-aggregates/{aggregate_id}/action"""

    async def on_post(self, req: Request, resp: Response, aggregate_id: str) -> None:
        body: Any = await req.json()
        if not isinstance(body, dict) or len(body) != 1:
            raise Invalid("The body must name one action: add_host, remove_host or set_metadata.")
        name, value = next(iter(body.items()))
        if name in ("add_host", "remove_host"):
            self.allow(req, name)
            host = as_type(value, HostChange, name).host
            change = aggregates.add_host if name == "add_host" else aggregates.remove_host
            found = await change(self.nova, self.number(aggregate_id), host)
        elif name == "set_metadata":
            self.allow(req, name)
            metadata = as_type(value, Metadata, name).metadata
            found = await aggregates.update_aggregate(self.nova, self.number(aggregate_id), None, metadata)
        else:
            raise Invalid(f"There is no such action: {shown(name)}")
        resp.media = {"aggregate": view(found, req.microversion)}


class CachedImage(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class AggregateImages(_Base):
    """/v2.1/os-aggregates/{aggregate_id}/images: ask hosts to fetch images before they are needed"""

    async def on_post(self, req: Request, resp: Response, aggregate_id: str) -> None:
        require(req.microversion, (2, 81))
        self.nova.policy.enforce("compute:aggregates:images", req.ctx.identity)
        images = as_type((await read_whole(req, "cache"))["cache"], list[CachedImage], "cache")
        _, hosts = await aggregates.get_aggregate(self.nova, self.number(aggregate_id))
        for host in hosts:
            await self.nova.api_bus.cast(req.ctx, f"compute.{host}", "cache_images",
                                         image_ids=[image.id for image in images])
        resp.status = 202
