"""Ports as rows and as API records: how they are selected, filtered and rendered.  Four statements for any list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, listing, models, trunk_details
from cloudseed.neutron.errors import HTTPBadRequest, PortNotFound
from cloudseed.neutron.ipam import Address
from cloudseed.neutron.server import Neutron

table = models.ports
allocations = models.ip_allocations
members = models.port_security_groups
DNS_DOMAIN = "openstacklocal."
VIF_DETAILS = {"port_filter": True, "connectivity": "l2"}


_ADDRESSES = sa.select(allocations.c.port_id, allocations.c.subnet_id, allocations.c.ip_address).where(
    listing.among(allocations.c.port_id)).order_by(allocations.c.position)
_GROUPS = sa.select(members).where(listing.among(members.c.port_id))
BY_ID = sa.select(table).where(listing.among(table.c.id))


def _fixed_ips(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    """`fixed_ips=ip_address=A`, `=subnet_id=S`, `=ip_address_substr=T`: of one kind alternatives, kinds combined."""
    wanted: dict[str, list[str]] = {}
    for value in values:
        for part in value.split(","):
            kind, equals, text = part.partition("=")
            if not equals or kind not in ("ip_address", "subnet_id", "ip_address_substr"):
                raise HTTPBadRequest(f"Invalid filter fixed_ips={part[:255]}: say ip_address=, subnet_id= or "
                                     "ip_address_substr=")
            wanted.setdefault(kind, []).append(text)
    conditions: list[sa.ColumnElement[bool]] = []
    for kind, texts in wanted.items():
        conditions.append(sa.or_(*[allocations.c.ip_address.contains(text, autoescape=True) for text in texts])
                          if kind == "ip_address_substr" else allocations.c[kind].in_(texts))
    return table.c.id.in_(sa.select(allocations.c.port_id).where(*conditions))


def _security_groups(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    return table.c.id.in_(sa.select(members.c.port_id).where(members.c.security_group_id.in_(values)))


SPEC = listing.spec(table, PortNotFound, names={
    "host": "binding:host_id", "vif_type": "binding:vif_type", "vnic_type": "binding:vnic_type"},
    omit=("status_since", "plug_event"), special={"fixed_ips": _fixed_ips, "security_groups": _security_groups})


async def records(tx: Tx, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows as API records, in their order."""
    if not rows:
        return []
    ids = [row.id for row in rows]
    addresses: dict[str, list[dict[str, str]]] = {port_id: [] for port_id in ids}
    for port_id, subnet_id, ip_address in await listing.cached(tx, _ADDRESSES, ids):
        addresses[port_id].append({"subnet_id": subnet_id, "ip_address": ip_address})
    groups: dict[str, list[str]] = {port_id: [] for port_id in ids}
    for port_id, group_id in await listing.cached(tx, _GROUPS, ids):
        groups[port_id].append(group_id)
    found = [record(row, addresses[row.id], groups[row.id]) for row in rows]
    await trunk_details.describe(tx, found)
    return found


def record(row: Any, fixed_ips: list[dict[str, str]], groups: list[str]) -> dict[str, Any]:
    """One port."""
    return {
        "id": row.id, "name": row.name, "network_id": row.network_id, "tenant_id": row.project_id,
        "project_id": row.project_id, "mac_address": row.mac_address, "admin_state_up": row.admin_state_up,
        "status": row.status, "device_id": row.device_id, "device_owner": row.device_owner, "fixed_ips": fixed_ips,
        "allowed_address_pairs": row.allowed_address_pairs, "extra_dhcp_opts": row.extra_dhcp_opts,
        "security_groups": groups, "description": row.description or "",
        "port_security_enabled": row.port_security_enabled, "binding:vnic_type": row.vnic_type,
        "binding:profile": row.profile, "binding:host_id": row.host, "binding:vif_type": row.vif_type,
        "binding:vif_details": VIF_DETAILS if row.vif_type == "bridge" else {}, "dns_name": row.dns_name,
        "qos_policy_id": row.qos_policy_id,
        "dns_assignment": [_dns(row.dns_name, ip["ip_address"]) for ip in fixed_ips], "tags": row.tags,
        "created_at": row.created_at, "updated_at": row.updated_at, "revision_number": row.revision_number}


def _dns(name: str, ip_address: str) -> dict[str, str]:
    hostname = name or generated_hostname(ip_address)
    fqdn = name if name.endswith(".") else f"{hostname}.{DNS_DOMAIN}"
    return {"hostname": hostname.split(".")[0] if name.endswith(".") else hostname, "ip_address": ip_address,
            "fqdn": fqdn}


def generated_hostname(ip_address: str) -> str:
    """The name that DHCP gives to a port without one."""
    return "host-" + ip_address.replace(".", "-").replace(":", "-")


def select(ctx: Context) -> sa.Select[Any]:
    """Ports; with `access.seen`."""
    return sa.select(table)


def select_ids(ctx: Context) -> sa.Select[Any]:
    """Their ids alone; with `access.seen`."""
    return sa.select(table.c.id)


def _with_network(ctx: Context) -> sa.Select[Any]:
    networks = models.networks
    return sa.select(table, networks.c.project_id.label("network:project_id"),
                     access.shared_column(ctx, networks, "network").label("network:shared")).join(
        networks, networks.c.id == table.c.network_id)


async def load(neutron: Neutron, ctx: Context, tx: Tx, port_id: str) -> Any:
    """A visible port's row with its network's owner (`network:project_id`); PortNotFound otherwise."""
    row = await tx.first(access.by_id(access.seen(neutron, ctx, _with_network, table), table), {"this": port_id})
    if row is None:
        raise PortNotFound(id=port_id)
    return row


def target(row: Any) -> dict[str, Any]:
    """What the policy sees of a port."""
    return {**row._mapping, "network:shared": bool(row._mapping["network:shared"])}


async def held(tx: Tx, port_id: str) -> list[Address]:
    """A port's addresses."""
    return [Address(*row) for row in await tx.all(
        sa.select(allocations.c.subnet_id, allocations.c.ip_address).where(allocations.c.port_id == port_id)
        .order_by(allocations.c.position))]
