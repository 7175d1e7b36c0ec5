"""What a cloud must have before anybody can log in; made at start, whatever of it is missing.

As `keystone-manage bootstrap` and an installation guide would leave it: the domain `default`, the projects
`admin` and `service`, the roles admin -> manager -> member -> reader (each implies the next) and service, the
administrator, a user for each service, the region, and the services with their endpoints.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.config import SERVICE_USERS
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.keystone.models import (
    assignments,
    endpoints,
    implied_roles,
    projects,
    regions,
    roles,
    services,
    users,
)
from cloudseed.keystone.state import Keystone

DEFAULT_DOMAIN = "default"
RESELLER = "ResellerAdmin"  # owns every account of the object store; cinder's, for backups in their owners' accounts
ROLES = ("admin", "manager", "member", "reader", "service", RESELLER)
IMPLIED = (("admin", "manager"), ("manager", "member"), ("member", "reader"))
# service type of our runtime -> (type and name in the catalogue, what follows the prefix)
CATALOG: Mapping[str, tuple[str, str, str]] = {
    "identity": ("identity", "keystone", ""),
    "image": ("image", "glance", ""),
    "compute": ("compute", "nova", "/v2.1"),
    "placement": ("placement", "placement", ""),
    "network": ("network", "neutron", ""),
    "volume": ("block-storage", "cinder", "/v3"),
    "object-store": ("object-store", "swift", "/v1/AUTH_%(project_id)s"),
}
# a second entry for clients that know a service under its older type only
OLD_NAMES: Mapping[str, tuple[str, str, str]] = {"volume": ("volumev3", "cinderv3", "/v3/%(project_id)s")}
DEPLOYED = tuple(CATALOG)


async def bootstrap(ks: Keystone, passwords: Mapping[str, str], addresses: Mapping[str, str], region: str,
                    deployed: Collection[str] = DEPLOYED) -> None:
    """Make what is missing.  `addresses`: service type -> base URL, which the endpoints follow at every start."""
    async with ks.db.read() as tx:
        known = set(await tx.scalars(sa.select(users.c.name).where(users.c.domain_id == DEFAULT_DOMAIN)))
    missing = [name for name in ("admin", *SERVICE_USERS) if name not in known]
    hashes = dict(zip(missing, await asyncio.gather(*(ks.passwords.hash_random(passwords[n]) for n in missing)),
                      strict=True))
    async with ks.changing(Context()) as tx:
        await _domain(tx)
        project_ids = {name: await _project(tx, name, description) for name, description in (
            ("admin", "Bootstrap project for initializing the cloud."), ("service", "The services' own users."))}
        role_ids = await _roles(tx)
        user_ids = {name: await _user(tx, name, hashed) for name, hashed in hashes.items()}
        for name, user_id in user_ids.items():
            if name == "admin":
                await _assign(tx, user_id, "project", project_ids["admin"], role_ids["admin"])
                await _assign(tx, user_id, "system", "all", role_ids["admin"])
            else:
                await _assign(tx, user_id, "project", project_ids["service"], role_ids["admin"])
                await _assign(tx, user_id, "project", project_ids["service"], role_ids["service"])
            if name == "cinder":
                await _assign(tx, user_id, "project", project_ids["service"], role_ids[RESELLER])
        await _catalog(tx, addresses, region, deployed)


async def _get_or_insert(tx: Tx, table: sa.Table, where: sa.ColumnElement[bool], **values: Any) -> str:
    known: str | None = await tx.scalar(sa.select(table.c.id).where(where))
    if known is None:
        known = values.setdefault("id", uuid.uuid4().hex)
        await tx.execute(sa.insert(table).values(**values))
    return known


async def _domain(tx: Tx) -> None:
    await _get_or_insert(tx, projects, projects.c.id == DEFAULT_DOMAIN, id=DEFAULT_DOMAIN, name="Default",
                         domain_id=None, parent_id=None, description="The default domain", enabled=True,
                         is_domain=True, options={}, extra={})


async def _project(tx: Tx, name: str, description: str) -> str:
    return await _get_or_insert(tx, projects, sa.and_(projects.c.domain_id == DEFAULT_DOMAIN, projects.c.name == name,
                                                      projects.c.is_domain.is_(False)),
                                name=name, domain_id=DEFAULT_DOMAIN, parent_id=DEFAULT_DOMAIN,
                                description=description, enabled=True, is_domain=False, options={}, extra={})


async def _user(tx: Tx, name: str, hashed: str) -> str:
    return await _get_or_insert(tx, users, sa.and_(users.c.domain_id == DEFAULT_DOMAIN, users.c.name == name),
                                name=name, domain_id=DEFAULT_DOMAIN, enabled=True, password_hash=hashed,
                                password_created_at=utcnow(), options={}, extra={})


async def _roles(tx: Tx) -> dict[str, str]:
    found: dict[str, str] = {row.name: row.id for row in await tx.all(
        sa.select(roles.c.id, roles.c.name).where(roles.c.domain_id.is_(None), roles.c.name.in_(ROLES)))}
    new = {name: uuid.uuid4().hex for name in ROLES if name not in found}
    for name, role_id in new.items():
        await tx.execute(sa.insert(roles).values(id=role_id, name=name, domain_id=None, description=None,
                                                 options={"immutable": True}, extra={}))
    for prior, implied in IMPLIED:
        if prior in new or implied in new:
            await tx.execute(sa.insert(implied_roles).values(
                prior_role_id={**found, **new}[prior], implied_role_id={**found, **new}[implied]))
    return {**found, **new}


async def _assign(tx: Tx, user_id: str, kind: str, target_id: str, role_id: str) -> None:
    await tx.execute(sa.insert(assignments).values(actor_kind="user", actor_id=user_id, target_kind=kind,
                                                   target_id=target_id, role_id=role_id, inherited=False))


async def _catalog(tx: Tx, addresses: Mapping[str, str], region: str, deployed: Collection[str]) -> None:
    await _get_or_insert(tx, regions, regions.c.id == region, id=region, description="", parent_region_id=None,
                         extra={})
    old_names = [(kind, entry) for kind, entry in OLD_NAMES.items() if kind in deployed]
    wanted = {service_type: (name, addresses[kind] + path) for kind, (service_type, name, path) in [
        *((kind, CATALOG[kind]) for kind in deployed), *old_names]}
    known: dict[str, str] = {}
    for row in await tx.all(sa.select(services.c.type, services.c.id).where(services.c.type.in_(wanted))):
        known.setdefault(row.type, row.id)
    new = {service_type: uuid.uuid4().hex for service_type in wanted if service_type not in known}
    if new:
        await tx.execute(sa.insert(services), [
            {"id": service_id, "type": service_type, "name": wanted[service_type][0], "enabled": True, "extra": {}}
            for service_type, service_id in new.items()])
    urls = {service_id: wanted[service_type][1] for service_type, service_id in {**known, **new}.items()}
    there: dict[tuple[str, str], str] = {}
    for row in await tx.all(sa.select(endpoints).where(endpoints.c.region_id == region,
                                                       endpoints.c.service_id.in_(urls))):
        if there.setdefault((row.service_id, row.interface), row.id) == row.id and row.url != urls[row.service_id]:
            await tx.execute(sa.update(endpoints).where(endpoints.c.id == row.id).values(url=urls[row.service_id]))
    absent: list[dict[str, Any]] = [
        {"id": uuid.uuid4().hex, "service_id": service_id, "interface": interface, "region_id": region, "url": url,
         "enabled": True, "extra": {}}
        for service_id, url in urls.items() for interface in ("public", "internal", "admin")
        if (service_id, interface) not in there]
    if absent:
        await tx.execute(sa.insert(endpoints), absent)
