"""Networks: what a project's ports share.  Deleting one takes its subnets and its DHCP ports along.

Both happen in one transaction; wiring and unwiring follow from the agents' next look.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.operations import declare_points, fault_point, pass_point
from cloudseed.neutron import access, listing, models, qos_policies, quotas, segments
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.converters import boolean
from cloudseed.neutron.errors import (
    DefaultExternalNetworkExists,
    InvalidInput,
    InvalidSharedSetting,
    NetworkInUse,
    NetworkNotFound,
)
from cloudseed.neutron.revisions import touch as touch  # others find it here
from cloudseed.neutron.server import Neutron, now

table = models.networks
_CHILDREN = sa.select(
    models.subnets.c.network_id, models.subnets.c.id, models.subnets.c.ip_version, models.subnets.c.enable_dhcp,
    models.subnetpools.c.address_scope_id).select_from(models.subnets.outerjoin(
        models.subnetpools, models.subnets.c.subnetpool_id == models.subnetpools.c.id)).where(
            listing.among(models.subnets.c.network_id)).order_by(models.subnets.c.created_at)
AUTO_DELETED = ("network:dhcp", "network:distributed")
_NAMES = {"external": "router:external", "network_type": "provider:network_type",
          "physical_network": "provider:physical_network", "segmentation_id": "provider:segmentation_id"}
_PLAIN = ("name", "description", "admin_state_up", "port_security_enabled", "is_default", "dns_domain")
for _operation in ("network_create", "network_delete"):
    declare_points(_operation, ("commit",), ("before", "after", "hinted"))


def _shared_filter(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    wanted = {boolean(value) for value in values}
    shared = table.c.id.in_(access.shared_ids(ctx, "network"))
    return sa.true() if len(wanted) == 2 else shared if True in wanted else sa.not_(shared)


def _status_filter(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    return sa.true() if "ACTIVE" in values else sa.false()


SPEC = listing.spec(table, NetworkNotFound, names=_NAMES, special={"shared": _shared_filter, "status": _status_filter})


def _select(ctx: Context) -> sa.Select[Any]:
    return sa.select(table, access.shared_column(ctx, table, "network"))


async def _records(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    """Rows as API records, with their subnets and address scopes: one more statement, however many rows."""
    children = await listing.cached(tx, _CHILDREN, [row.id for row in rows]) if rows else []
    found: dict[str, list[Any]] = {}
    for child in children:
        found.setdefault(child.network_id, []).append(child)
    return [_record(row, found.get(row.id, [])) for row in rows]


def _record(row: Any, subnets: list[Any]) -> dict[str, Any]:
    scopes = {subnet.ip_version: subnet.address_scope_id for subnet in subnets if subnet.address_scope_id}
    return {
        "id": row.id, "name": row.name, "tenant_id": row.project_id, "project_id": row.project_id,
        "admin_state_up": row.admin_state_up, "mtu": row.mtu, "status": "ACTIVE",
        "subnets": [subnet.id for subnet in subnets], "shared": bool(row.shared),
        "availability_zone_hints": row.availability_zone_hints,
        "availability_zones": ["nova"] if any(subnet.enable_dhcp for subnet in subnets) else [],
        "ipv4_address_scope": scopes.get(4), "ipv6_address_scope": scopes.get(6), "router:external": row.external,
        "is_default": row.is_default, "description": row.description or "",
        "port_security_enabled": row.port_security_enabled, "dns_domain": row.dns_domain, "tags": row.tags,
        "created_at": row.created_at, "updated_at": row.updated_at, "revision_number": row.revision_number,
        "provider:network_type": row.network_type, "provider:physical_network": row.physical_network,
        "provider:segmentation_id": row.segmentation_id, "qos_policy_id": row.qos_policy_id}


async def list_networks(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """The visible networks that the query asks for."""
    async with neutron.db.read() as tx:
        rows = await listing.page(tx, access.seen(neutron, ctx, _select, table), SPEC, query, ctx, reused=True)
        return await _records(tx, rows)


async def load(neutron: Neutron, ctx: Context, tx: Tx, network_id: str) -> Any:
    """A visible network's row (with `shared`); NetworkNotFound otherwise."""
    row = await tx.first(access.by_id(access.seen(neutron, ctx, _select, table), table), {"this": network_id})
    if row is None:
        raise NetworkNotFound(id=network_id)
    return row


async def get_network(neutron: Neutron, ctx: Context, network_id: str) -> dict[str, Any]:
    """One visible network; NetworkNotFound."""
    async with neutron.db.read() as tx:
        return (await _records(tx, [await load(neutron, ctx, tx, network_id)]))[0]


def _check_mtu(mtu: int | None, network_type: str) -> int:
    largest = segments.largest_mtu(network_type)
    if mtu and mtu > largest:
        raise InvalidInput(reason=f"Requested MTU is too big, maximum is {largest}")
    return mtu or largest


async def create_networks(neutron: Neutron, ctx: Context, wishes: list[Wish],
                          attributes: Any) -> list[dict[str, Any]]:
    """Create networks, all or none.  Raises OverQuota, InvalidInput, FlatNetworkInUse, ..."""
    for wish in wishes:
        access.authorize(neutron, ctx, "create_network", wish.values, wish.differs(attributes))
        segments.check(wish.values)
        wish.values["mtu"] = _check_mtu(wish.values["mtu"], wish.values["provider:network_type"])
    made = [str(uuid.uuid4()) for _ in wishes]
    async with neutron.db.write() as tx:
        for project_id in {wish.values["project_id"] for wish in wishes}:
            await quotas.check(tx, project_id, "network", sum(w.values["project_id"] == project_id for w in wishes))
        for network_id, wish in zip(made, wishes, strict=True):
            policy_id = wish.values["qos_policy_id"] or await qos_policies.default_of(tx, wish.values["project_id"])
            await qos_policies.check_use(neutron, ctx, tx, "network", network_id, policy_id)
            if wish.values["is_default"] and wish.values["router:external"]:
                await _check_default(tx, network_id)
            await _insert(tx, network_id, {**wish.values, "qos_policy_id": policy_id})
        rows = await listing.by_ids(tx, _select(ctx), table.c.id, made)
        records = {record["id"]: record for record in await _records(tx, rows)}
        fault_point("network_create:commit:before")
    await pass_point("network_create:commit:after")
    await neutron.look_again(ctx)
    await pass_point("network_create:commit:hinted")
    return [records[network_id] for network_id in made]


async def _insert(tx: Tx, network_id: str, values: dict[str, Any]) -> None:
    moment = now()
    row = {"id": network_id, "external": values["router:external"], "created_at": moment, "updated_at": moment,
           "network_type": values["provider:network_type"], "physical_network": values["provider:physical_network"],
           "segmentation_id": None, "revision_number": 1, "is_default": bool(values["is_default"]),
           **{name: values[name] for name in (
               "project_id", "name", "description", "tags", "admin_state_up", "mtu", "port_security_enabled",
               "dns_domain", "availability_zone_hints", "qos_policy_id")}}
    await tx.execute(sa.insert(table).values(**row))
    taken = await segments.take(tx, network_id, values)
    if taken.number is not None:
        await tx.execute(sa.update(table).where(table.c.id == network_id).values(segmentation_id=taken.number))
    if values["shared"]:
        await share(tx, network_id, values["project_id"], access.SHARED)
    if values["router:external"]:
        await share(tx, network_id, values["project_id"], access.EXTERNAL)


async def share(tx: Tx, network_id: str, project_id: str, action: str) -> None:
    """Open a network to everybody; already open is fine."""
    rbac = models.rbac_policies
    there = await tx.scalar(sa.select(rbac.c.id).where(rbac.c.object_id == network_id, rbac.c.action == action,
                                                       rbac.c.target_project == "*"))
    if there is None:
        await tx.execute(sa.insert(rbac).values(
            id=str(uuid.uuid4()), project_id=project_id, object_type="network", object_id=network_id,
            action=action, target_project="*"))


async def unshare(tx: Tx, network: Any) -> None:
    """Close a network to everybody else; InvalidSharedSetting while others have ports on it."""
    rbac, ports = models.rbac_policies, models.ports
    named = sa.select(rbac.c.target_project).where(rbac.c.object_id == network.id, rbac.c.action == access.SHARED)
    foreign = await tx.scalar(sa.select(ports.c.id).where(
        ports.c.network_id == network.id, ports.c.project_id.not_in([network.project_id, ""]),
        ports.c.project_id.not_in(named), ports.c.device_owner.not_like("network:%")).limit(1))
    if foreign is not None:
        raise InvalidSharedSetting(network=network.name or network.id)
    await tx.execute(sa.delete(rbac).where(rbac.c.object_id == network.id, rbac.c.action == access.SHARED,
                                           rbac.c.target_project == "*"))


async def update_network(neutron: Neutron, ctx: Context, network_id: str, wish: Wish) -> dict[str, Any]:
    """Change a network.  Raises NetworkNotFound, PolicyNotAuthorized, InvalidInput, InvalidSharedSetting."""
    values = wish.values
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, network_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_network", dict(row._mapping), values)
        provider = [name for name in values if name.startswith("provider:")]
        if any(values[name] != row._mapping[name.removeprefix("provider:")] for name in provider):
            raise InvalidInput(reason="Plugin does not support updating the following provider network attributes: "
                                      f"{', '.join(sorted(provider))}")
        changes: dict[str, Any] = {name: values[name] for name in _PLAIN if name in values}
        if "qos_policy_id" in values:
            await qos_policies.check_use(neutron, ctx, tx, "network", network_id, values["qos_policy_id"],
                                         row.qos_policy_id)
            changes["qos_policy_id"] = values["qos_policy_id"]
        if "mtu" in values:
            changes["mtu"] = _check_mtu(values["mtu"], row.network_type)
        if values.get("shared") is True:
            await share(tx, network_id, row.project_id, access.SHARED)
        elif values.get("shared") is False and row.shared:
            await unshare(tx, row)
        if values.get("is_default", row.is_default) and values.get("router:external", row.external):
            await _check_default(tx, network_id)
        if "router:external" in values:
            await _set_external(tx, row, values["router:external"])
            changes["external"] = values["router:external"]
        await touch(tx, table, network_id, **changes)
        record = (await _records(tx, [await load(neutron, ctx, tx, network_id)]))[0]
    await neutron.look_again(ctx)
    return record


async def _check_default(tx: Tx, network_id: str) -> None:
    """One external network is the default one."""
    other = await tx.scalar(sa.select(table.c.id).where(table.c.external, table.c.is_default,
                                                        table.c.id != network_id).limit(1))
    if other is not None:
        raise DefaultExternalNetworkExists(id=other)


async def _set_external(tx: Tx, row: Any, external: bool) -> None:
    if external and not row.external:
        await share(tx, row.id, row.project_id, access.EXTERNAL)
    elif not external and row.external:
        ports, rbac = models.ports, models.rbac_policies
        used = await tx.scalars(sa.select(ports.c.id).where(ports.c.network_id == row.id, ports.c.device_owner.in_(
            ("network:router_gateway", "network:floatingip"))).limit(10))
        if used:
            raise NetworkInUse(id=row.id, ports=",".join(used))
        await tx.execute(sa.delete(rbac).where(rbac.c.object_id == row.id, rbac.c.action == access.EXTERNAL))


async def delete_network(neutron: Neutron, ctx: Context, network_id: str, expected: int | None = None) -> None:
    """Remove a network with its subnets; NetworkInUse while ports other than DHCP's are on it."""
    ports, rbac = models.ports, models.rbac_policies
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, network_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_network", dict(row._mapping))
        used = await tx.scalars(sa.select(ports.c.id).where(
            ports.c.network_id == network_id, ports.c.device_owner.not_in(AUTO_DELETED)).order_by(ports.c.id).limit(20))
        if used:
            raise NetworkInUse(id=network_id, ports=",".join(used))
        await tx.execute(sa.delete(ports).where(ports.c.network_id == network_id))
        await tx.execute(sa.delete(models.subnets).where(models.subnets.c.network_id == network_id))
        await tx.execute(sa.delete(rbac).where(rbac.c.object_type == "network", rbac.c.object_id == network_id))
        await tx.execute(sa.delete(table).where(table.c.id == network_id))
        fault_point("network_delete:commit:before")
    await pass_point("network_delete:commit:after")
    await neutron.look_again(ctx)
    await pass_point("network_delete:commit:hinted")
