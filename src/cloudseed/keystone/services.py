"""Services of the catalogue, and their endpoints."""

from __future__ import annotations

import re
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.keystone import checks, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Invalid, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import endpoints, regions, services
from cloudseed.keystone.state import Keystone

INTERFACES = ("public", "internal", "admin")
_FIELDS = re.compile(r"[%$]\(([^)]*)\)(s?)")
_KNOWN = ("project_id", "tenant_id", "user_id", "domain_id")


async def _get(ks: Keystone, table: sa.Table, noun: str, item_id: str) -> Record:
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(table).where(table.c.id == item_id))
    if row is None:
        raise NotFound(noun, item_id)
    return row


async def get_service(ks: Keystone, ctx: Context, service_id: str, rule: str = "get_service") -> Record:
    ks.enforce(ctx, rule)
    return await _get(ks, services, "service", service_id)


async def list_services(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    ks.enforce(ctx, "list_services")
    async with ks.db.read() as tx:
        return await fetch(tx, services, filters, "service")


async def create_service(ks: Keystone, ctx: Context, *, service_type: str, name: str, enabled: bool,
                         extra: dict[str, Any]) -> Record:
    ks.enforce(ctx, "create_service")
    values = {"id": uuid.uuid4().hex, "type": checks.check_name("type", service_type), "name": name,
              "enabled": enabled, "extra": extra}
    checks.check_text("name", name, maximum=255)
    async with ks.changing(ctx) as tx:
        return await rows.add(tx, services, values)


async def update_service(ks: Keystone, ctx: Context, service_id: str, patch: dict[str, Any],
                         extra: dict[str, Any]) -> Record:
    row = await get_service(ks, ctx, service_id, "update_service")
    if "type" in patch:
        patch["type"] = checks.check_name("type", patch["type"])
    if "name" in patch:
        patch["name"] = patch["name"] or ""
        checks.check_text("name", patch["name"], maximum=255)
    rows.add_extra(row, patch, extra)
    async with ks.changing(ctx) as tx:
        return await rows.change(tx, services, "service", service_id, patch)


async def delete_service(ks: Keystone, ctx: Context, service_id: str) -> None:
    """Its endpoints go with it."""
    await get_service(ks, ctx, service_id, "delete_service")
    in_use = Conflict("service", f"{service_id} is still named by a registered limit")
    async with ks.changing(ctx, conflict=in_use) as tx:
        await tx.execute(sa.delete(services).where(services.c.id == service_id))


# --- endpoints


def check_url(url: str) -> None:
    """An address that a catalogue can fill in.  Raises Invalid for one that names what no token has."""
    checks.check_text("url", url, minimum=1)
    if "://" not in url or any(ord(c) <= 32 for c in url):
        raise Invalid(f"Invalid input for field/attribute url. {url!r} is not an address.")
    for name, conversion in _FIELDS.findall(url):
        if name not in _KNOWN or not conversion:
            raise Invalid(f"Malformed endpoint URL ({url}): it may name {', '.join(_KNOWN)} as %(name)s, "
                          f"not {name!r}.")


def check_interface(interface: str) -> None:
    if interface not in INTERFACES:
        raise Invalid(f"Invalid input for field/attribute interface. {interface!r} is not one of "
                      f"{', '.join(INTERFACES)}.")


async def get_endpoint(ks: Keystone, ctx: Context, endpoint_id: str, rule: str = "get_endpoint") -> Record:
    ks.enforce(ctx, rule)
    return await _get(ks, endpoints, "endpoint", endpoint_id)


async def list_endpoints(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    ks.enforce(ctx, "list_endpoints")
    if "interface" in filters.exact:
        check_interface(filters.exact["interface"])
    async with ks.db.read() as tx:
        return await fetch(tx, endpoints, filters, "endpoint")


async def _references(tx: Tx, values: dict[str, Any]) -> None:
    """Raises Invalid when the service or the region is not there (400, as upstream says it for bodies)."""
    for key, table, noun in (("service_id", services, "service"), ("region_id", regions, "region")):
        wanted = values.get(key)
        if wanted is not None and not await tx.scalar(sa.select(sa.func.count()).where(table.c.id == wanted)):
            raise Invalid(f"Invalid input for field/attribute {key}. Could not find {noun}: {wanted}.")


async def _ensure_region(tx: Tx, region_id: str) -> None:
    """A region that is named by the attribute's old name is made when it is not there."""
    checks.check_text("region", region_id, minimum=1, maximum=255)
    if not await tx.scalar(sa.select(sa.func.count()).where(regions.c.id == region_id)):
        await tx.execute(sa.insert(regions).values(id=region_id, description="", parent_region_id=None, extra={}))


async def create_endpoint(ks: Keystone, ctx: Context, *, interface: str, service_id: str, url: str,
                          region_id: str | None, legacy_region: str | None, enabled: bool,
                          extra: dict[str, Any]) -> Record:
    """`legacy_region`: a region by the old name of the attribute, made when it is not there."""
    ks.enforce(ctx, "create_endpoint")
    check_interface(interface)
    check_url(url)
    values = {"id": uuid.uuid4().hex, "interface": interface, "service_id": service_id, "url": url,
              "region_id": region_id or legacy_region, "enabled": enabled, "extra": extra}
    async with ks.changing(ctx) as tx:
        if legacy_region and not region_id:
            await _ensure_region(tx, legacy_region)
        await _references(tx, values)
        return await rows.add(tx, endpoints, values)


async def update_endpoint(ks: Keystone, ctx: Context, endpoint_id: str, patch: dict[str, Any],
                          extra: dict[str, Any]) -> Record:
    row = await get_endpoint(ks, ctx, endpoint_id, "update_endpoint")
    if "interface" in patch:
        check_interface(patch["interface"])
    if "url" in patch:
        check_url(patch["url"])
    legacy_region = patch.get("region")
    if "region" in patch:
        patch.setdefault("region_id", patch.pop("region"))
    rows.add_extra(row, patch, extra)
    async with ks.changing(ctx) as tx:
        if legacy_region and patch["region_id"] == legacy_region:
            await _ensure_region(tx, legacy_region)
        await _references(tx, patch)
        return await rows.change(tx, endpoints, "endpoint", endpoint_id, patch)


async def delete_endpoint(ks: Keystone, ctx: Context, endpoint_id: str) -> None:
    await get_endpoint(ks, ctx, endpoint_id, "delete_endpoint")
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.delete(endpoints).where(endpoints.c.id == endpoint_id))
