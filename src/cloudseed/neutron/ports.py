"""Ports: created, bound to a host, changed and deleted, each in one transaction.

A port's row is the wish; the host's agent makes it true and reports, and then its status changes (`wiring.py`).
After a commit the agents are told to look, and nova is told what concerns its servers (`events.py`).  Killed in
between, nothing is lost: agents look by themselves, and what nova is owed stands in the row.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.operations import declare_points, fault_point, pass_point
from cloudseed.neutron import (
    access,
    agents,
    errors,
    events,
    hints,
    ipam,
    listing,
    macs,
    models,
    networks,
    port_records,
    qos_policies,
    quotas,
    security_groups,
    trunks,
)
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.server import Neutron, now

table = models.ports
_INSERT = sa.insert(table)
_INSERT_MEMBERS = sa.insert(models.port_security_groups)
_GROUPS_OF = sa.select(models.port_security_groups.c.security_group_id).where(
    models.port_security_groups.c.port_id == sa.bindparam("port"))
UNSET: Any = object()  # fixed_ips, security_groups, port_security_enabled, mac_address: not named
SPEC = port_records.SPEC
MAX_PAIRS = 50  # of a port
_PLAIN = ("name", "description", "admin_state_up", "device_id", "device_owner", "dns_name")
for _operation in ("port_create", "port_update", "port_delete"):
    declare_points(_operation, ("commit",), ("before", "after", "hinted"))


async def list_ports(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """The visible ports that the query asks for."""
    async with neutron.db.read() as tx:
        if query.fields == ("id",):  # nova counts a project's ports so, at each boot
            statement = access.seen(neutron, ctx, port_records.select_ids, table)
            return [{"id": row.id} for row in await listing.page(tx, statement, SPEC, query, ctx, reused=True)]
        statement = access.seen(neutron, ctx, port_records.select, table)
        return await port_records.records(tx, await listing.page(tx, statement, SPEC, query, ctx,
                                                                   reused=True))


async def get_port(neutron: Neutron, ctx: Context, port_id: str) -> dict[str, Any]:
    """One visible port; PortNotFound."""
    async with neutron.db.read() as tx:
        return (await port_records.records(tx, [await port_records.load(neutron, ctx, tx, port_id)]))[0]


# ---- creating

async def create_ports(neutron: Neutron, ctx: Context, wishes: list[Wish], attributes: Any) -> list[dict[str, Any]]:
    """Create ports, all or none; statements grow with the networks and ports of the request, not with the cloud.

    Raises NetworkNotFound, OverQuota, PolicyNotAuthorized, MacAddressInUse, the address errors of `ipam`, ...
    """
    made: list[str] = []
    async with neutron.db.write() as tx:
        by_network: dict[str, list[Wish]] = {}
        for wish in wishes:
            by_network.setdefault(wish.values["network_id"], []).append(wish)
        for project_id in {wish.values["project_id"] for wish in wishes}:
            await quotas.check(tx, project_id, "port", sum(w.values["project_id"] == project_id for w in wishes))
        bindable = await agents.can_bind(neutron, tx, hosts) if (hosts := {
            wish.values["binding:host_id"] for wish in wishes} - {""}) else set()
        ids: dict[int, str] = {}
        for network_id, its in by_network.items():
            network = await networks.load(neutron, ctx, tx, network_id)
            for wish in its:
                _authorize_create(neutron, ctx, wish, network, attributes)
            draw = await ipam.Draw.on(tx, network_id)
            wanted = [None if wish.values["mac_address"] is UNSET else wish.values["mac_address"] for wish in its]
            for wish, mac in zip(its, await macs.choose(tx, network_id, wanted), strict=True):
                ids[id(wish)] = await _insert(neutron, ctx, tx, wish.values, network, draw, mac, bindable)
        made = [ids[id(wish)] for wish in wishes]
        rows = await listing.cached(tx, port_records.BY_ID, made)
        found = {record["id"]: record for record in await port_records.records(tx, rows)}
        concerned = await hints.of_ports(neutron, tx, made)
        fault_point("port_create:commit:before")
    await pass_point("port_create:commit:after")
    _tell_nova(neutron, ctx, rows, events.CHANGED)
    await neutron.look_again(ctx, concerned)
    await pass_point("port_create:commit:hinted")
    return [found[port_id] for port_id in made]


def _tell_nova(neutron: Neutron, ctx: Context, rows: list[Any], name: str) -> None:
    events.hint(neutron, ctx, [events.event(name, row.device_id, row.id) for row in rows if events.is_servers(row)])


def _authorize_create(neutron: Neutron, ctx: Context, wish: Wish, network: Any, attributes: Any) -> None:
    shared = bool(network.shared)
    target = {**wish.values, "network:project_id": network.project_id, "network:shared": shared}
    access.authorize(neutron, ctx, "create_port", target, _named(wish, wish.differs(attributes)))
    if network.external and not shared and network.project_id != ctx.project_id \
            and not access.sees_all(neutron, ctx):
        raise errors.PolicyNotAuthorized("Ports on an external network are its owner's: use a floating IP, or a "
                                         "router's gateway")


def _named(wish: Wish, names: list[str]) -> list[str]:
    """The attributes of a wish that need a right: `device_owner` only for the owners that neutron itself uses,
    and the parts of fixed_ips."""
    named = [name for name in names if wish.values[name] is not UNSET
             and (name != "device_owner" or wish.values[name].startswith("network:"))]
    if "fixed_ips" in named:
        for part in ("ip_address", "subnet_id"):
            if any(part in ip for ip in wish.values["fixed_ips"]):
                named.append(f"fixed_ips:{part}")
    return named


async def _insert(neutron: Neutron, ctx: Context, tx: Tx, values: dict[str, Any], network: Any, draw: ipam.Draw,
                  mac: str, bindable: set[str]) -> str:
    port_id, moment = str(uuid.uuid4()), now()
    secure = _port_security(values, network)
    groups = await _groups(neutron, ctx, tx, values, secure)
    fixed = None if values["fixed_ips"] is UNSET else values["fixed_ips"]
    addresses = await draw.addresses(tx, fixed, mac, values["device_owner"])
    host = values["binding:host_id"]
    if values["qos_policy_id"]:
        await qos_policies.check_use(neutron, ctx, tx, "port", port_id, values["qos_policy_id"])
    await tx.execute(_INSERT, {
        "id": port_id, "mac_address": mac, "status": "DOWN", "status_since": time.time(), "host": host,
        "vif_type": _vif_type(host, bindable), "vnic_type": values["binding:vnic_type"],
        "profile": values["binding:profile"], "port_security_enabled": secure,
        "allowed_address_pairs": _pairs(values["allowed_address_pairs"], mac), "created_at": moment,
        "updated_at": moment, "revision_number": 1, "plug_event": None, **{name: values[name] for name in (
            "project_id", "name", "description", "tags", "network_id", "admin_state_up", "device_id", "device_owner",
            "extra_dhcp_opts", "dns_name", "qos_policy_id")}})
    await ipam.assign(tx, network.id, port_id, addresses)
    await _join(tx, port_id, groups)
    return port_id


def _port_security(values: dict[str, Any], network: Any) -> bool:
    """Whether a port is guarded: as asked, else as its network says; neutron's own ports never are."""
    trusted = values["device_owner"].startswith("network:")
    asked = values["port_security_enabled"]
    secure = bool(network.port_security_enabled and not trusted) if asked is UNSET else asked
    if not secure and values["allowed_address_pairs"]:
        raise errors.AddressPairAndPortSecurityRequired()
    if not secure and values["security_groups"] is not UNSET and values["security_groups"]:
        raise errors.PortSecurityAndIPRequiredForSecurityGroups()
    return secure


async def _groups(neutron: Neutron, ctx: Context, tx: Tx, values: dict[str, Any], secure: bool) -> list[str]:
    """The groups of a new port: those asked for, else the project's default."""
    asked: Any = values["security_groups"]
    if asked is not UNSET:
        if asked:
            await security_groups.check_groups(neutron, ctx, tx, asked, values["project_id"])
        return list(dict.fromkeys(asked))
    if not secure or not values["project_id"]:
        return []
    return [await security_groups.ensure_default(tx, values["project_id"])]


async def _join(tx: Tx, port_id: str, groups: list[str]) -> None:
    if groups:
        await tx.execute(_INSERT_MEMBERS,
                         [{"port_id": port_id, "security_group_id": group_id} for group_id in groups])


def _vif_type(host: str, bindable: set[str]) -> str:
    return "unbound" if not host else "bridge" if host in bindable else "binding_failed"


def _pairs(pairs: list[dict[str, str]], mac: str) -> list[dict[str, str]]:
    return [{"mac_address": pair.get("mac_address") or mac, "ip_address": pair["ip_address"]} for pair in pairs]


# ---- changing

async def update_port(neutron: Neutron, ctx: Context, port_id: str, wish: Wish) -> dict[str, Any]:
    """Change or bind a port.  Raises PortNotFound, PolicyNotAuthorized, the errors of a creation."""
    values = wish.values
    async with neutron.db.write() as tx:
        row = await port_records.load(neutron, ctx, tx, port_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_port", port_records.target(row), _named(wish, list(values)))
        concerned = await hints.of_ports(neutron, tx, [port_id])
        changes: dict[str, Any] = {name: values[name] for name in _PLAIN if name in values}
        moved = await _readdress(tx, row, values, changes)
        moved |= await _rebind(neutron, tx, row, values, changes)
        await _resecure(neutron, ctx, tx, row, values, changes)
        if "qos_policy_id" in values:
            await qos_policies.check_use(neutron, ctx, tx, "port", port_id, values["qos_policy_id"], row.qos_policy_id)
            changes["qos_policy_id"] = values["qos_policy_id"]
        if "extra_dhcp_opts" in values:
            changes["extra_dhcp_opts"] = merge_dhcp_opts(row.extra_dhcp_opts, values["extra_dhcp_opts"])
        await networks.touch(tx, table, port_id, **changes)
        new = await port_records.load(neutron, ctx, tx, port_id)
        record = (await port_records.records(tx, [new]))[0]
        concerned = hints.both(concerned, await hints.of_ports(neutron, tx, [port_id]))
        fault_point("port_update:commit:before")
    await pass_point("port_update:commit:after")
    if moved or new.device_id != row.device_id:
        _tell_nova(neutron, ctx, [new], events.CHANGED)
    await neutron.look_again(ctx, concerned)
    await pass_point("port_update:commit:hinted")
    return record


async def change_pairs(neutron: Neutron, ctx: Context, port_id: str, pairs: list[dict[str, str]],
                       add: bool) -> dict[str, Any]:
    """Add address pairs that are not there yet, or remove those that are; the others stay, whoever changes them."""
    async with neutron.db.write() as tx:
        row = await port_records.load(neutron, ctx, tx, port_id)
        access.authorize(neutron, ctx, "update_port", port_records.target(row), ["allowed_address_pairs"])
        named = _pairs(pairs, row.mac_address)
        then = [pair for pair in row.allowed_address_pairs if pair not in named] + (named if add else [])
        if then and not row.port_security_enabled:
            raise errors.AddressPairAndPortSecurityRequired()
        if len(then) > MAX_PAIRS:
            raise errors.AllowedAddressPairExhausted(quota=MAX_PAIRS)
        await networks.touch(tx, table, port_id, allowed_address_pairs=then)
        record = (await port_records.records(tx, [await port_records.load(neutron, ctx, tx, port_id)]))[0]
    await neutron.look_again(ctx)
    return record


async def _readdress(tx: Tx, row: Any, values: dict[str, Any], changes: dict[str, Any]) -> bool:
    """New MAC or addresses; whether any changed."""
    moved = False
    mac = values.get("mac_address", UNSET)
    if mac is not UNSET and mac != row.mac_address:
        if row.host and row.vif_type == "bridge":
            raise errors.PortBound(id=row.id, vif_type=row.vif_type, old_mac=row.mac_address,
                                   new_mac=mac)
        changes["mac_address"] = (await macs.choose(tx, row.network_id, [mac]))[0]
        moved = True
    if values.get("fixed_ips", UNSET) is not UNSET:
        held = await port_records.held(tx, row.id)
        draw = await ipam.Draw.on(tx, row.network_id)
        mac = changes.get("mac_address", row.mac_address)
        wanted = await draw.addresses(tx, values["fixed_ips"], mac, row.device_owner, held)
        if wanted != held:
            await ipam.reassign(tx, row.network_id, row.id, wanted)
            moved = True
    return moved


async def _rebind(neutron: Neutron, tx: Tx, row: Any, values: dict[str, Any], changes: dict[str, Any]) -> bool:
    """A new host, or another try on the same one; whether the binding changed."""
    if "binding:vnic_type" in values:
        changes["vnic_type"] = values["binding:vnic_type"]
    if "binding:profile" in values:
        changes["profile"] = values["binding:profile"]
    if "binding:host_id" not in values:
        return False
    host = values["binding:host_id"]
    vif_type = _vif_type(host, await agents.can_bind(neutron, tx, {host}) if host else set())
    if (host, vif_type) == (row.host, row.vif_type):
        return False
    changes |= {"host": host, "vif_type": vif_type, "plug_event": None}
    if row.status != "DOWN":
        changes |= {"status": "DOWN", "status_since": time.time()}
    return True


async def _resecure(neutron: Neutron, ctx: Context, tx: Tx, row: Any, values: dict[str, Any],
                    changes: dict[str, Any]) -> None:
    """New groups, address pairs, or port security on or off."""
    members = models.port_security_groups
    had = list(await tx.scalars(_GROUPS_OF, {"port": row.id}))
    asked = values.get("port_security_enabled", UNSET)
    secure = row.port_security_enabled if asked is UNSET else asked
    groups: list[str] = had
    if values.get("security_groups", UNSET) is not UNSET:
        groups = list(dict.fromkeys(values["security_groups"]))
        await security_groups.check_groups(neutron, ctx, tx, [g for g in groups if g not in had], row.project_id)
    mac = changes.get("mac_address", row.mac_address)
    pairs = _pairs(values.get("allowed_address_pairs", row.allowed_address_pairs), mac)
    if not secure and groups:
        if "security_groups" in values:
            raise errors.PortSecurityAndIPRequiredForSecurityGroups()
        raise errors.PortSecurityPortHasSecurityGroup()
    if not secure and pairs:
        raise errors.AddressPairAndPortSecurityRequired()
    if secure != row.port_security_enabled:
        changes["port_security_enabled"] = secure
    if "allowed_address_pairs" in values:
        changes["allowed_address_pairs"] = pairs
    if set(groups) != set(had):
        await tx.execute(sa.delete(members).where(members.c.port_id == row.id))
        await _join(tx, row.id, groups)


def merge_dhcp_opts(have: list[dict[str, Any]], wish: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Options by name and version; a null value takes one away."""
    merged = {(opt["opt_name"], opt["ip_version"]): opt for opt in [*have, *wish]}
    return [opt for opt in merged.values() if opt["opt_value"] is not None]


# ---- deleting

async def delete_port(neutron: Neutron, ctx: Context, port_id: str, expected: int | None = None) -> None:
    """Remove a port and free its addresses; ServicePortInUse for ports that a router or floating IP holds."""
    async with neutron.db.write() as tx:
        row = await port_records.load(neutron, ctx, tx, port_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_port", port_records.target(row))
        await trunks.check_deletable(tx, port_id)
        if await _is_held(tx, port_id):
            raise errors.ServicePortInUse(id=port_id, reason=f"has device owner {row.device_owner}")
        concerned = await hints.of_ports(neutron, tx, [port_id])
        await remove(tx, port_id)
        fault_point("port_delete:commit:before")
    await pass_point("port_delete:commit:after")
    _tell_nova(neutron, ctx, [row], events.DELETED)
    await neutron.look_again(ctx, concerned)
    await pass_point("port_delete:commit:hinted")


async def _is_held(tx: Tx, port_id: str) -> bool:
    """Whether a router or a floating address has the port: it goes with them."""
    inner, routers, fips = models.router_ports.c, models.routers.c, models.floatingips.c
    held = sa.union_all(sa.select(inner.port_id).where(inner.port_id == port_id),
                        sa.select(routers.gateway_port_id).where(routers.gateway_port_id == port_id),
                        sa.select(fips.floating_port_id).where(fips.floating_port_id == port_id))
    return await tx.scalar(held) is not None


async def remove(tx: Tx, port_id: str) -> None:
    """Take a port away within a transaction; a floating IP that pointed at it points nowhere."""
    fips, led = models.floatingips, models.port_forwardings
    await tx.execute(sa.update(fips).where(fips.c.fixed_port_id == port_id).values(
        fixed_port_id=None, fixed_ip_address=None, router_id=None, status="DOWN"))
    # what led to it goes, and an address of which nothing else leads anywhere is its router's no more
    last = sa.select(led.c.floatingip_id).where(led.c.internal_port_id == port_id, led.c.floatingip_id.not_in(
        sa.select(led.c.floatingip_id).where(led.c.internal_port_id != port_id)))
    await tx.execute(sa.update(fips).where(fips.c.id.in_(last)).values(router_id=None, status="DOWN"))
    await tx.execute(sa.delete(table).where(table.c.id == port_id))
