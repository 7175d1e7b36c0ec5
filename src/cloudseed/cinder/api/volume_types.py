"""/v3/types, with extra specs"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.cinder import volume_types
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import as_type, check_pairs, check_text, is_admin, read, read_object, read_pairs, shown
from cloudseed.cinder.errors import VolumeTypeNotFound
from cloudseed.cinder.listing import Listing, equals, literal
from cloudseed.cinder.models import volume_types as table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_types import USER_VISIBLE, VolumeType
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

LISTING = Listing(table, {key: table.c[key] for key in ("id", "name", "created_at", "updated_at", "is_public")},
                  lambda marker: VolumeTypeNotFound(volume_type_id=marker))


class _New(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    extra_specs: dict[str, str | None] | None = None
    is_public: bool = msgspec.field(default=True, name="os-volume-type-access:is_public")

    def __post_init__(self) -> None:
        check_text(self.name, "name", minimum=1)
        if not self.name.strip():
            raise ValueError("Volume type name can not be empty")
        check_text(self.description, "description")
        check_pairs(self.extra_specs, "extra_specs")


class _Changed(msgspec.Struct, forbid_unknown_fields=True):
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    is_public: bool | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        for what in ("name", "description"):
            value = getattr(self, what)
            check_text(value if isinstance(value, str) else None, what)

    def changes(self) -> dict[str, Any]:
        found = {what: getattr(self, what) for what in ("name", "description", "is_public")
                 if getattr(self, what) is not msgspec.UNSET}
        if not found:
            raise Invalid("Specify volume type name, description, is_public or a combination thereof.")
        if found.get("name", "") is None:
            del found["name"]
        elif "name" in found and not found["name"].strip():
            raise Invalid("Volume type name can not be empty.")
        return found


def view(req: Request, cinder: Cinder, kind: VolumeType) -> dict[str, Any]:
    """A type; users see the extra specs that matter to them."""
    may, identity = cinder.policy.check, req.ctx.identity
    target = {"project_id": identity.project_id}
    shown_type: dict[str, Any] = {"id": kind.id, "name": kind.name, "is_public": kind.is_public,
                                  "description": kind.description}
    if may("volume_extension:access_types_extra_specs", identity, target):
        shown_type["extra_specs"] = visible_specs(req, cinder, kind)
    if may("volume_extension:access_types_qos_specs_id", identity, target):
        shown_type["qos_specs_id"] = kind.qos_specs_id
    if may("volume_extension:volume_type_access", identity, target):
        shown_type["os-volume-type-access:is_public"] = kind.is_public
    return shown_type


def visible_specs(req: Request, cinder: Cinder, kind: VolumeType) -> dict[str, str]:
    if cinder.policy.check("volume_extension:types_extra_specs:read_sensitive", req.ctx.identity):
        return kind.extra_specs
    return {key: value for key, value in kind.extra_specs.items() if key in USER_VISIBLE}


class VolumeTypes:
    """/v3/types"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        self.cinder.policy.enforce("volume_extension:type_get_all", req.ctx.identity,
                                   {"project_id": req.ctx.identity.project_id})
        names = {"is_public": lambda text: sa.true(), "name": equals(table.c.name),
                 "description": equals(table.c.description), "extra_specs": lambda text: sa.true()}
        query = lists.parse(req, names, added={"extra_specs": (3, 52)})
        where = [*query.where, volume_types.visible(req.ctx), *self._publicity(req)]
        async with self.cinder.db.read() as tx:
            rows = await LISTING.rows(tx, query.page, where)
        found = [volume_types.from_row(row) for row in rows]
        wanted = literal(req.text_param("extra_specs") or "") if req.microversion >= (3, 52) else None
        if isinstance(wanted, dict):
            found = [kind for kind in found if all(visible_specs(req, self.cinder, kind).get(str(k)) == v
                                                   for k, v in wanted.items())]
        body = lists.answer(req, "volume_types", query, found, [view(req, self.cinder, kind) for kind in found])
        if "volume_types_links" in body:
            body["volume_type_links"] = body.pop("volume_types_links")
        resp.media = body

    def _publicity(self, req: Request) -> list[Any]:
        """Administrators see public types unless they ask for others too."""
        text = req.text_param("is_public")
        if not is_admin(req) or text is None:
            return [] if not is_admin(req) else [table.c.is_public.is_(True)]
        if text.lower() == "none":
            return []
        return [table.c.is_public.is_(req.bool_param("is_public"))]

    async def on_post(self, req: Request, resp: Response) -> None:
        await _create(self.cinder, req, resp, await read(req, "volume_type", _New))


async def _create(cinder: Cinder, req: Request, resp: Response, order: _New) -> None:
    kind = await volume_types.create_type(
        cinder, req.ctx, name=order.name.strip(), description=order.description, is_public=order.is_public,
        extra_specs={key: value or "" for key, value in (order.extra_specs or {}).items()})
    resp.media = {"volume_type": _without(view(req, cinder, kind), "qos_specs_id")}


def _without(shown_type: dict[str, Any], *names: str) -> dict[str, Any]:
    """Creating and changing a type answer less than showing it, as upstream."""
    return {name: value for name, value in shown_type.items() if name not in names}


_UPDATED = ("qos_specs_id", "os-volume-type-access:is_public")


async def act_on_type(cinder: Cinder, req: Request, resp: Response, type_id: str, name: str, value: Any) -> None:
    """The actions create, update and delete of a type, which do what POST, PUT and DELETE do."""
    if name == "create":
        await _create(cinder, req, resp, as_type(value, _New, name))
    elif name == "update":
        changes = as_type(value, _Changed, name).changes()
        kind = await volume_types.update_type(cinder, req.ctx, type_id, changes)
        resp.media = {"volume_type": _without(view(req, cinder, kind), *_UPDATED)}
    else:
        await volume_types.delete_type(cinder, req.ctx, type_id)
        resp.status = 202


class VolumeTypeItem:
    """/v3/types/{type_id}; `default` is the type of volumes that name none"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, type_id: str) -> None:
        self.cinder.policy.enforce("volume_extension:type_get", req.ctx.identity,
                                   {"project_id": req.ctx.identity.project_id})
        async with self.cinder.db.read() as tx:
            kind = await volume_types.get_default_type(tx, req.ctx) if type_id == "default" else \
                await volume_types.get_type(tx, req.ctx, type_id)
        resp.media = {"volume_type": view(req, self.cinder, kind)}

    async def on_put(self, req: Request, resp: Response, type_id: str) -> None:
        changes = (await read(req, "volume_type", _Changed)).changes()
        kind = await volume_types.update_type(self.cinder, req.ctx, type_id, changes)
        resp.media = {"volume_type": _without(view(req, self.cinder, kind), *_UPDATED)}

    async def on_delete(self, req: Request, resp: Response, type_id: str) -> None:
        await volume_types.delete_type(self.cinder, req.ctx, type_id)
        resp.status = 202


class ExtraSpecs:
    """/v3/types/{type_id}/extra_specs"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, type_id: str) -> None:
        self.cinder.policy.enforce("volume_extension:types_extra_specs:index", req.ctx.identity,
                                   {"project_id": req.ctx.identity.project_id})
        async with self.cinder.db.read() as tx:
            kind = await volume_types.get_type(tx, req.ctx, type_id)
        resp.media = {"extra_specs": visible_specs(req, self.cinder, kind)}

    async def on_post(self, req: Request, resp: Response, type_id: str) -> None:
        specs = read_pairs((await read_object(req, "extra_specs"))["extra_specs"], "extra_specs")
        await volume_types.set_extra_specs(self.cinder, req.ctx, type_id, specs, "create")
        resp.media = {"extra_specs": specs}


class ExtraSpec:
    """/v3/types/{type_id}/extra_specs/{key}"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        self.cinder.policy.enforce("volume_extension:types_extra_specs:show", req.ctx.identity,
                                   {"project_id": req.ctx.identity.project_id})
        async with self.cinder.db.read() as tx:
            kind = await volume_types.get_type(tx, req.ctx, type_id)
        specs = visible_specs(req, self.cinder, kind)
        if key not in specs:
            raise VolumeTypeNotFound(f"Volume Type {type_id} has no extra specs with key {key}.")
        resp.media = {key: specs[key]}

    async def on_put(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        specs = read_pairs(await req.json(), "extra_specs")
        if list(specs) != [key]:
            raise Invalid(f"Request body and URI mismatch: the body must set {shown(key)}, and nothing else.")
        await volume_types.set_extra_specs(self.cinder, req.ctx, type_id, specs, "update")
        resp.media = specs

    async def on_delete(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        await volume_types.delete_extra_spec(self.cinder, req.ctx, type_id, key)
        resp.status = 202
