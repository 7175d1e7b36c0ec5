"""A namespace's parts: objects, properties, tags and resource types, which differ in their schema alone."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.glance.images import Glance
from cloudseed.glance.metadefs import schemas
from cloudseed.glance.metadefs.namespaces import KINDS, check_body, find_namespace, require_admin
from cloudseed.glance.models import metadef_parts as parts
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Forbidden, NotFound


def _rule(verb: str, kind: str) -> str:
    if kind == "property" and verb == "delete":
        return "remove_metadef_property"
    if kind == "resource_type":
        return {"add": "add_metadef_resource_type_association", "delete": "remove_metadef_resource_type_association",
                "get": "get_metadef_resource_type"}[verb]
    return f"{verb}_metadef_{kind}"


async def _find(tx: Tx, namespace: Any, kind: str, name: str) -> Any:
    row = await tx.first(sa.select(parts).where(parts.c.namespace_id == namespace.id, parts.c.kind == kind,
                                                parts.c.name == name))
    if row is None:
        raise NotFound(f"The metadata definition {kind} with name={name} was not found in "
                       f"namespace={namespace.namespace}.")
    return row


async def list_parts(glance: Glance, ctx: Context, namespace: str, kind: str) -> list[Any]:
    require_admin(glance, ctx, _rule("get", kind))
    async with glance.db.read() as tx:
        parent = await find_namespace(tx, ctx, namespace)
        return list(await tx.all(sa.select(parts).where(parts.c.namespace_id == parent.id, parts.c.kind == kind)
                                 .order_by(parts.c.id.desc() if kind == "tag" else parts.c.id)))


async def get_part(glance: Glance, ctx: Context, namespace: str, kind: str, name: str) -> Any:
    require_admin(glance, ctx, _rule("get", kind))
    async with glance.db.read() as tx:
        return await _find(tx, await find_namespace(tx, ctx, namespace), kind, name)


async def create_part(glance: Glance, ctx: Context, namespace: str, kind: str, body: Any) -> Any:
    """A new part.  Raises Conflict when its name is taken in the namespace."""
    require_admin(glance, ctx, _rule("add", kind))
    values = check_body(KINDS[kind], body)
    async with glance.db.write() as tx:
        parent = await find_namespace(tx, ctx, namespace)
        await _insert(tx, parent, kind, values)
        return await _find(tx, parent, kind, values["name"])


async def _insert(tx: Tx, parent: Any, kind: str, values: dict[str, Any]) -> None:
    name = values["name"]
    if await tx.scalar(sa.select(parts.c.id).where(parts.c.namespace_id == parent.id, parts.c.kind == kind,
                                                   parts.c.name == name)) is not None:
        raise Conflict(f"A metadata definition {kind} with name={name} already exists in "
                       f"namespace={parent.namespace}.")
    now = utcnow()
    await tx.execute(sa.insert(parts).values(
        namespace_id=parent.id, kind=kind, name=name, body={k: v for k, v in values.items() if k != "name"},
        created_at=now, updated_at=now))


async def update_part(glance: Glance, ctx: Context, namespace: str, kind: str, name: str, body: Any) -> Any:
    """Replace a part, its name too."""
    require_admin(glance, ctx, _rule("modify", kind))
    values = check_body(KINDS[kind], body)
    async with glance.db.write() as tx:
        parent = await find_namespace(tx, ctx, namespace)
        row = await _find(tx, parent, kind, name)
        if values["name"] != name:
            taken = await tx.scalar(sa.select(parts.c.id).where(
                parts.c.namespace_id == parent.id, parts.c.kind == kind, parts.c.name == values["name"]))
            if taken is not None:
                raise Conflict(f"A metadata definition {kind} with name={values['name']} already exists in "
                               f"namespace={namespace}.")
        await tx.execute(sa.update(parts).where(parts.c.id == row.id).values(
            name=values["name"], body={k: v for k, v in values.items() if k != "name"}, updated_at=utcnow()))
        return await _find(tx, parent, kind, values["name"])


async def delete_parts(glance: Glance, ctx: Context, namespace: str, kind: str, name: str | None = None) -> None:
    """Remove one part, or all of a kind."""
    require_admin(glance, ctx, _rule("delete", kind))
    async with glance.db.write() as tx:
        parent = await find_namespace(tx, ctx, namespace)
        if parent.protected and name is None:
            raise Forbidden(f"Metadata definition namespace {namespace} is protected and its parts stay.")
        condition = [parts.c.namespace_id == parent.id, parts.c.kind == kind]
        if name is not None:
            condition.append(parts.c.id == (await _find(tx, parent, kind, name)).id)
        await tx.execute(sa.delete(parts).where(*condition))


async def replace_tags(glance: Glance, ctx: Context, namespace: str, body: Any, *, append: bool) -> list[Any]:
    """Give a namespace these tags instead of its own, or beside them.  Raises Conflict for a name given twice."""
    require_admin(glance, ctx, "add_metadef_tags")
    listed: list[Any] = schemas.check({"name": "tags", "required": ["tags"], "additionalProperties": False,
                            "properties": {"tags": {"type": "array", "items": {"type": "object", **schemas.TAG}}}},
                           body)["tags"]
    names = [tag["name"] for tag in listed]
    if len(set(names)) != len(names):
        raise Conflict("A tag is named twice.")
    async with glance.db.write() as tx:
        parent = await find_namespace(tx, ctx, namespace)
        if not append:
            await tx.execute(sa.delete(parts).where(parts.c.namespace_id == parent.id, parts.c.kind == "tag"))
        for tag in listed:
            await _insert(tx, parent, "tag", tag)
    return listed
