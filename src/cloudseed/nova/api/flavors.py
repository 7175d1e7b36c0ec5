"""/flavors: list, detail, show, create, update, delete."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import flavors
from cloudseed.nova.api.body import check_name, check_query, check_range, check_text, read, shown
from cloudseed.nova.api.links import add_next, links_of
from cloudseed.nova.paging import Sort

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_ID = re.compile(r"^[a-zA-Z0-9._-]([a-zA-Z0-9. _-]{0,253}[a-zA-Z0-9._-])?\Z")
_QUERY = ("limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir", "name")


class NewFlavor(msgspec.Struct, forbid_unknown_fields=True):
    """POST /flavors"""

    name: str
    ram: int
    vcpus: int
    disk: int
    id: str | int | None = None
    swap: int = 0
    ephemeral: int = msgspec.field(default=0, name="OS-FLV-EXT-DATA:ephemeral")
    rxtx_factor: float | None = None
    is_public: bool = msgspec.field(default=True, name="os-flavor-access:is_public")
    description: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_range(self.ram, "ram", 1)
        check_range(self.vcpus, "vcpus", 1)
        check_range(self.disk, "disk")
        check_range(self.swap, "swap")
        check_range(self.ephemeral, "OS-FLV-EXT-DATA:ephemeral")
        check_text(self.description, "description", 65535)
        if self.rxtx_factor is not None and not 0 < self.rxtx_factor <= 3.4e38:
            raise ValueError("Invalid input for field/attribute rxtx_factor. It must be a positive number")
        if self.id is not None and not _ID.match(str(self.id)):
            raise ValueError(f"Invalid input for field/attribute id. Value: {shown(self.id)}. It must be at most 255 "
                             "letters, digits, dots, dashes, underscores and inner spaces")


class FlavorChange(msgspec.Struct, forbid_unknown_fields=True):
    """PUT /flavors/{id}"""

    description: str | None

    def __post_init__(self) -> None:
        check_text(self.description, "description", 65535)


def _with_specs(body: dict[str, Any]) -> None:
    body.pop("extra_specs", None)


def _with_description(body: dict[str, Any]) -> None:
    body.pop("description", None)


def _with_number_for_swap(body: dict[str, Any]) -> None:
    body["swap"] = body["swap"] or ""


def _without_rxtx(body: dict[str, Any]) -> None:
    body["rxtx_factor"] = body.pop("_rxtx_factor")
    body["OS-FLV-DISABLED:disabled"] = body.pop("_disabled")


DETAIL = Adapters(Adapter((2, 55), response=_with_description), Adapter((2, 61), response=_with_specs),
                  Adapter((2, 75), response=_with_number_for_swap), Adapter((2, 102), response=_without_rxtx))


def view(nova: Nova, req: Request, row: flavors.Flavor, *, specs: bool) -> dict[str, Any]:
    """A flavor in the request's version.  `specs`: the caller may see extra specs."""
    body = {
        "id": row.id, "name": row.name, "ram": row.ram, "disk": row.disk, "swap": row.swap,
        "OS-FLV-EXT-DATA:ephemeral": row.ephemeral, "os-flavor-access:is_public": row.is_public, "vcpus": row.vcpus,
        "links": links_of(req, "flavors", row.id), "description": row.description,
        "_rxtx_factor": row.rxtx_factor, "_disabled": row.disabled}
    if specs:
        body["extra_specs"] = row.extra_specs
    DETAIL.lower(req.microversion, body)
    body.pop("_rxtx_factor", None)
    body.pop("_disabled", None)
    return body


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    def show(self, req: Request, row: flavors.Flavor) -> dict[str, Any]:
        specs = self.nova.policy.check("os_compute_api:os-flavor-extra-specs:index", req.ctx.identity,
                                       {"project_id": req.ctx.project_id})
        return view(self.nova, req, row, specs=specs)

    async def page(self, req: Request) -> tuple[paging.Page, list[flavors.Flavor], bool]:
        """What a list's query asks for."""
        check_query(req, _QUERY if req.microversion >= (2, 102) else (), since=(2, 102))
        page = paging.parse(req)
        if req.microversion < (2, 102) and page.limit == 0:
            raise Invalid("limit must be positive")
        public = req.text_param("is_public")
        try:
            is_public = True if public is None else None if public.lower() == "none" else req.bool_param("is_public")
        except Invalid:
            raise Invalid(f"Invalid is_public filter [{shown(public)}]") from None
        if not flavors.is_admin(self.nova, req.ctx):
            is_public = True
        rows, more = await flavors.list_flavors(
            self.nova, req.ctx, page, _sort(req), is_public=is_public, min_ram=_minimum(req, "minRam"),
            min_disk=_minimum(req, "minDisk"),
            name=req.text_param("name") if req.microversion >= (2, 102) else None)
        return page, rows, more


def _minimum(req: Request, name: str) -> int | None:
    value = req.text_param(name)
    if value is None:
        return None
    if not value.lstrip("-").isascii() or not value.lstrip("-").isdigit() or len(value) > 18:
        raise Invalid(f"Invalid {name} filter [{shown(value)}]")
    return int(value)


def _sort(req: Request) -> Sort:
    key, direction = req.text_param("sort_key") or "flavorid", req.text_param("sort_dir") or "asc"
    column = flavors.SORT_KEYS.get(key)
    if column is None:
        raise Invalid(f"Invalid input for query parameters sort_key. Value: {shown(key)}. It is not one of "
                      f"{sorted(flavors.SORT_KEYS)}")
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid input for query parameters sort_dir. Value: {shown(direction)}. It is not one of "
                      "['asc', 'desc']")
    return Sort(((column, direction == "desc"),))


class Flavors(_Base):
    """/v2.1/flavors"""

    async def on_get(self, req: Request, resp: Response) -> None:
        page, rows, more = await self.page(req)
        items = [{"id": row.id, "name": row.name, "links": links_of(req, "flavors", row.id),
                  "description": row.description} for row in rows]
        if req.microversion < (2, 55):
            for item in items:
                del item["description"]
        resp.media = body = {"flavors": items}
        add_next(req, body, "flavors", page, rows[-1].id if rows else "", more)

    async def on_post(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-manage:create", req.ctx.identity)
        new = await read(req, "flavor", NewFlavor, added={"description": (2, 55)}, removed={"rxtx_factor": (2, 102)})
        flavor_id = None if new.id in (None, "auto") else str(new.id)
        row = await flavors.create_flavor(self.nova, req.ctx, {
            "id": flavor_id, "name": new.name, "ram": new.ram, "vcpus": new.vcpus, "disk": new.disk,
            "swap": new.swap, "ephemeral": new.ephemeral, "rxtx_factor": new.rxtx_factor or 1.0,
            "is_public": new.is_public, "disabled": False, "description": new.description})
        resp.media = {"flavor": self.show(req, row)}


class FlavorsDetail(_Base):
    """/v2.1/flavors/detail"""

    async def on_get(self, req: Request, resp: Response) -> None:
        page, rows, more = await self.page(req)
        specs = self.nova.policy.check("os_compute_api:os-flavor-extra-specs:index", req.ctx.identity,
                                       {"project_id": req.ctx.project_id})
        resp.media = body = {"flavors": [view(self.nova, req, row, specs=specs) for row in rows]}
        add_next(req, body, "flavors", page, rows[-1].id if rows else "", more)


class Flavor(_Base):
    """/v2.1/flavors/{flavor_id}"""

    async def on_get(self, req: Request, resp: Response, flavor_id: str) -> None:
        check_query(req, ())
        resp.media = {"flavor": self.show(req, await flavors.get_flavor(self.nova, req.ctx, flavor_id))}

    async def on_put(self, req: Request, resp: Response, flavor_id: str) -> None:
        require(req.microversion, (2, 55))
        self.nova.policy.enforce("os_compute_api:os-flavor-manage:update", req.ctx.identity)
        change = await read(req, "flavor", FlavorChange)
        row = await flavors.update_flavor(self.nova, req.ctx, flavor_id, change.description)
        resp.media = {"flavor": self.show(req, row)}

    async def on_delete(self, req: Request, resp: Response, flavor_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-manage:delete", req.ctx.identity)
        await flavors.delete_flavor(self.nova, req.ctx, flavor_id)
        resp.status = 202
