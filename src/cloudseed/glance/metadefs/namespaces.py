"""Namespaces of metadata definitions, each with all of its parts."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.glance.images import Glance
from cloudseed.glance.metadefs import schemas
from cloudseed.glance.models import metadef_namespaces as namespaces
from cloudseed.glance.models import metadef_parts as parts
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound

KINDS = {"object": schemas.OBJECT, "property": schemas.PROPERTY, "tag": schemas.TAG,
         "resource_type": schemas.RESOURCE_TYPE}
_SETTABLE = ("namespace", "display_name", "description", "visibility", "protected", "owner")
_READ_ONLY = ("created_at", "updated_at", "self", "schema")


async def find_namespace(tx: Tx, ctx: Context, name: str) -> Any:
    """The namespace's row.  Raises NotFound for what is not there or not the caller's to see."""
    row = await tx.first(sa.select(namespaces).where(namespaces.c.namespace == name))
    visible = row is not None and (row.visibility == "public" or row.owner == ctx.identity.project_id
                                   or "admin" in ctx.identity.roles)
    if not visible:
        raise NotFound(f"Metadata definition namespace={name} was not found.")
    return row


def require_admin(glance: Glance, ctx: Context, rule: str) -> None:
    glance.policy.enforce(rule, ctx.identity)


def check_body(schema: schemas.Schema, body: Any) -> dict[str, Any]:
    """A body that fits its schema, without what only we write.  Raises Invalid, Forbidden."""
    if isinstance(body, dict):
        for name in _READ_ONLY:
            if name in body:
                raise Forbidden(f"Attribute '{name}' is read-only.")
    return schemas.check(schema, body)


async def list_namespaces(glance: Glance, ctx: Context, *, limit: int, marker: str | None, ascending: bool,
                          visibility: str | None, resource_types: list[str]) -> list[tuple[Any, list[Any]]]:
    """One page, each with its resource types."""
    require_admin(glance, ctx, "get_metadef_namespaces")
    table = namespaces
    statement = sa.select(table)
    if "admin" not in ctx.identity.roles:
        statement = statement.where(sa.or_(table.c.visibility == "public", table.c.owner == ctx.identity.project_id))
    if visibility is not None:
        if visibility not in ("public", "private"):
            raise Invalid(f"Invalid visibility value: {visibility}")
        statement = statement.where(table.c.visibility == visibility)
    if resource_types:
        statement = statement.where(table.c.id.in_(sa.select(parts.c.namespace_id).where(
            parts.c.kind == "resource_type", parts.c.name.in_(resource_types))))
    async with glance.db.read() as tx:
        if marker is not None:
            mark = await find_namespace(tx, ctx, marker)
            key, own = sa.tuple_(table.c.created_at, table.c.id), (mark.created_at, mark.id)
            value = sa.tuple_(sa.literal(own[0], table.c.created_at.type), sa.literal(own[1]))
            statement = statement.where(key > value if ascending else key < value)
        order = [table.c.created_at, table.c.id]
        rows = await tx.all(statement.order_by(*(order if ascending else [c.desc() for c in order])).limit(limit))
        types = await tx.all(sa.select(parts).where(parts.c.kind == "resource_type",
                                                    parts.c.namespace_id.in_([row.id for row in rows])))
    return [(row, [part for part in types if part.namespace_id == row.id]) for row in rows]


async def get_namespace(glance: Glance, ctx: Context, name: str) -> tuple[Any, list[Any]]:
    """The namespace and all of its parts."""
    require_admin(glance, ctx, "get_metadef_namespace")
    async with glance.db.read() as tx:
        row = await find_namespace(tx, ctx, name)
        found = await tx.all(sa.select(parts).where(parts.c.namespace_id == row.id).order_by(parts.c.id))
    return row, list(found)


async def create_namespace(glance: Glance, ctx: Context, body: Any) -> tuple[Any, list[Any]]:
    """A new namespace, with the parts that the body holds.  Raises Conflict when the name is taken."""
    require_admin(glance, ctx, "add_metadef_namespace")
    values = check_body(schemas.NAMESPACE, body)
    now = utcnow()
    async with glance.db.write() as tx:
        await _require_free(tx, values["namespace"])
        record = {"visibility": "private", "protected": False, "owner": ctx.project_id, "display_name": None,
                  "description": None, **{k: v for k, v in values.items() if k in _SETTABLE}}
        await tx.execute(sa.insert(namespaces).values(**record, created_at=now, updated_at=now))
        row = await find_namespace(tx, ctx, values["namespace"])
        rows = [{"namespace_id": row.id, "kind": kind, "name": name, "body": part, "created_at": now, "updated_at": now}
                for kind, name, part in _parts_of(values)]
        if rows:
            await tx.execute(sa.insert(parts), rows)
        found = await tx.all(sa.select(parts).where(parts.c.namespace_id == row.id).order_by(parts.c.id))
    return row, list(found)


def _parts_of(values: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """The parts in a namespace's body.  Raises Invalid, Conflict for a name given twice."""
    found = [("property", name, {**part, "name": name}) for name, part in values.get("properties", {}).items()]
    for kind, field in (("object", "objects"), ("tag", "tags"), ("resource_type", "resource_type_associations")):
        found += [(kind, part.get("name", ""), part) for part in values.get(field, ())]
    for kind, _, part in found:
        schemas.check(KINDS[kind], part)
    if len({(kind, name) for kind, name, _ in found}) != len(found):
        raise Conflict("The namespace holds two parts of one kind with the same name.")
    return [(kind, name, {k: v for k, v in part.items() if k != "name"}) for kind, name, part in found]


async def _require_free(tx: Tx, name: str) -> None:
    if await tx.scalar(sa.select(namespaces.c.id).where(namespaces.c.namespace == name)) is not None:
        raise Conflict(f"The metadata definition namespace={name} already exists.")


async def update_namespace(glance: Glance, ctx: Context, name: str, body: Any) -> Any:
    """Replace the namespace's own fields; what is not given goes back to its default."""
    require_admin(glance, ctx, "modify_metadef_namespace")
    values = check_body(schemas.NAMESPACE, body)
    async with glance.db.write() as tx:
        row = await find_namespace(tx, ctx, name)
        if values["namespace"] != name:
            await _require_free(tx, values["namespace"])
        record = {"visibility": "private", "protected": False, "owner": row.owner, "display_name": None,
                  "description": None, **{k: v for k, v in values.items() if k in _SETTABLE}}
        await tx.execute(sa.update(namespaces).where(namespaces.c.id == row.id)
                         .values(**record, updated_at=utcnow()))
        return await find_namespace(tx, ctx, values["namespace"])


async def delete_namespace(glance: Glance, ctx: Context, name: str) -> None:
    """Remove the namespace with all of its parts.  Raises Forbidden when it is protected."""
    require_admin(glance, ctx, "delete_metadef_namespace")
    async with glance.db.write() as tx:
        row = await find_namespace(tx, ctx, name)
        if row.protected:
            raise Forbidden(f"Metadata definition namespace {name} is protected and cannot be deleted.")
        await tx.execute(sa.delete(parts).where(parts.c.namespace_id == row.id))
        await tx.execute(sa.delete(namespaces).where(namespaces.c.id == row.id))


class ResourceType(NamedTuple):
    name: str
    created_at: datetime.datetime
    updated_at: datetime.datetime


# Resource types of this cloud's own services, which definitions may be bound to from the start.  (Upstream has
# them once its operator loaded the standard definitions.)  They were never created: their time is the epoch.
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
OWN_TYPES = tuple(ResourceType(name, _EPOCH, _EPOCH) for name in (
    "OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Nova::Server"))


async def all_resource_types(glance: Glance, ctx: Context) -> list[ResourceType]:
    """This cloud's own resource types, and every other that some namespace names, once, by name."""
    require_admin(glance, ctx, "list_metadef_resource_types")
    async with glance.db.read() as tx:
        rows = await tx.all(
            sa.select(parts.c.name, sa.func.min(parts.c.created_at), sa.func.max(parts.c.updated_at))
            .where(parts.c.kind == "resource_type").group_by(parts.c.name))
    found = {known.name: known for known in OWN_TYPES} | {row[0]: ResourceType._make(row) for row in rows}
    return [found[name] for name in sorted(found)]
