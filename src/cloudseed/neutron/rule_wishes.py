"""Security groups as a host needs them: rules on addresses, for each port the union of its groups' rules.

Remote groups become the addresses of their members (fixed ones and allowed pairs, on whatever network), address
groups their content.  Four statements, however many ports and groups.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import listing, models
from cloudseed.neutron.rule_records import normalized

rules = models.security_group_rules
members = models.port_security_groups
Wish = dict[str, Any]


async def resolve(tx: Tx, port_ids: Sequence[str]) -> dict[str, list[Wish]]:
    """RuleWish records (as plain objects) by port id."""
    groups_of: dict[str, list[str]] = {}
    for row in await listing.by_ids(tx, sa.select(members), members.c.port_id, list(port_ids)):
        groups_of.setdefault(row.port_id, []).append(row.security_group_id)
    group_ids = sorted({group_id for groups in groups_of.values() for group_id in groups})
    if not group_ids:
        return {}
    found = await listing.by_ids(tx, sa.select(rules).order_by(rules.c.id), rules.c.security_group_id, group_ids)
    addresses = await _members(tx, sorted({rule.remote_group_id for rule in found if rule.remote_group_id}))
    contents = await _contents(tx, sorted({r.remote_address_group_id for r in found if r.remote_address_group_id}))
    by_group: dict[str, list[Wish]] = {}
    for rule in found:
        by_group.setdefault(rule.security_group_id, []).append(_wish(rule, addresses, contents))
    return {port_id: _unique(wish for group_id in groups for wish in by_group.get(group_id, ()))
            for port_id, groups in groups_of.items()}


async def stateless(tx: Tx, port_ids: Sequence[str]) -> set[str]:
    """Those of the ports whose groups do not track connections; a port has groups of one kind."""
    groups = models.security_groups
    rows = await listing.by_ids(
        tx, sa.select(members.c.port_id).join(groups, groups.c.id == members.c.security_group_id)
        .where(sa.not_(groups.c.stateful)), members.c.port_id, list(port_ids))
    return {row.port_id for row in rows}


async def _members(tx: Tx, group_ids: list[str]) -> dict[str, list[str]]:
    """Addresses of the ports in each of these groups."""
    if not group_ids:
        return {}
    ports, allocations = models.ports, models.ip_allocations
    found: dict[str, set[str]] = {group_id: set() for group_id in group_ids}
    for row in await listing.by_ids(
            tx, sa.select(members.c.security_group_id, allocations.c.ip_address)
            .join(allocations, allocations.c.port_id == members.c.port_id), members.c.security_group_id, group_ids):
        found[row.security_group_id].add(row.ip_address)
    for row in await listing.by_ids(
            tx, sa.select(members.c.security_group_id, ports.c.allowed_address_pairs)
            .join(ports, ports.c.id == members.c.port_id).where(ports.c.allowed_address_pairs.cast(sa.Text) != "[]"),
            members.c.security_group_id, group_ids):
        found[row.security_group_id].update(pair["ip_address"] for pair in row.allowed_address_pairs)
    return {group_id: sorted(addresses) for group_id, addresses in found.items()}


async def _contents(tx: Tx, ids: list[str]) -> dict[str, list[str]]:
    groups = models.address_groups
    rows = await listing.by_ids(tx, sa.select(groups.c.id, groups.c.addresses), groups.c.id, ids) if ids else []
    return {row.id: row.addresses for row in rows}


def _wish(rule: Any, addresses: dict[str, list[str]], contents: dict[str, list[str]]) -> Wish:
    remote: list[str] | None = None
    if rule.remote_ip_prefix is not None:
        remote = [normalized(rule.remote_ip_prefix) or ""]
    elif rule.remote_group_id is not None:
        remote = _of_version(addresses.get(rule.remote_group_id, ()), rule.ethertype)
    elif rule.remote_address_group_id is not None:
        remote = _of_version(contents.get(rule.remote_address_group_id, ()), rule.ethertype)
    return {"direction": rule.direction, "ethertype": rule.ethertype, "protocol": rule.protocol,
            "port_range_min": rule.port_range_min, "port_range_max": rule.port_range_max, "remote_cidrs": remote}


def _of_version(texts: Iterable[str], ethertype: str) -> list[str]:
    networks = [ipaddress.ip_network(text, strict=False) for text in texts]
    return [str(network) for network in networks if f"IPv{network.version}" == ethertype]


def _unique(wishes: Iterable[Wish]) -> list[Wish]:
    kept: dict[str, Wish] = {}
    for wish in wishes:
        kept.setdefault(repr(sorted(wish.items())), wish)
    return list(kept.values())
