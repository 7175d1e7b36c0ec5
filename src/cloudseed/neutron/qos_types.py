"""What the rules of QoS policies can be, what is shown of them, and what hosts must do about them.

`minimum_bandwidth` may be written down, as everywhere, but nothing here can guarantee it (that takes inventories of
bandwidth in placement): a policy that has such a rule cannot be used, and one in use cannot get it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import errors, listing, models

table = models.qos_rules


class RuleType(NamedTuple):
    """What upstream calls the columns `rate` and `burst` of a type; `enforced`: it has an effect here."""

    rate: str
    burst: str = ""
    directed: bool = True
    enforced: bool = True


TYPES = {"bandwidth_limit": RuleType("max_kbps", "max_burst_kbps"),
         "dscp_marking": RuleType("dscp_mark", directed=False),
         "minimum_bandwidth": RuleType("min_kbps", enforced=False),
         "packet_rate_limit": RuleType("max_kpps", "max_burst_kpps")}
# what a floating address can be held to
_OF_FLOATING = ("bandwidth_limit",)


def record(row: Any) -> dict[str, Any]:
    kind = TYPES[row.type]
    found = {"id": row.id, kind.rate: row.rate}
    if kind.burst:
        found[kind.burst] = row.burst
    if kind.directed:
        found["direction"] = row.direction
    return found


def wish(row: Any) -> dict[str, Any]:
    """What a host must do about the rule: a field of QosWish.  A rate of zero limits nothing."""
    if row.type == "dscp_marking":
        return {"dscp_mark": row.rate}
    if row.rate and row.type == "bandwidth_limit":
        return {row.direction: {"kbps": row.rate, "burst_kbit": row.burst}}
    if row.rate and row.type == "packet_rate_limit":
        return {f"{row.direction}_packets": {"pps": row.rate * 1000, "burst": row.burst * 1000}}
    return {}


async def of_policies(tx: Tx, policy_ids: Sequence[str]) -> list[Any]:
    """The rules of these policies."""
    return await listing.by_ids(tx, sa.select(table).order_by(table.c.id), table.c.qos_policy_id, policy_ids)


def check_supported(kind: str, user_id: str, types: set[str]) -> None:
    """Whether a network, port or floating IP (`kind`) can be held to rules of these types."""
    for name in sorted(types):
        if TYPES[name].enforced and (kind != "floatingip" or name in _OF_FLOATING):
            continue
        if kind == "network":
            raise errors.QosRuleNotSupportedByNetwork(type=name, network=user_id)
        if kind == "port":
            raise errors.QosRuleNotSupported(type=name, port=user_id)
        # upstream takes them and does nothing
        raise errors.BadRequest(resource="floatingip", reason=f"Rule {name} is not supported by floating IPs")


async def wishes(tx: Tx, policy_ids: Iterable[str | None]) -> dict[str, dict[str, Any]]:
    """QosWish records (as plain objects) by policy; one statement, or none."""
    ids = sorted({policy_id for policy_id in policy_ids if policy_id is not None})
    found: dict[str, dict[str, Any]] = {}
    for rule in await of_policies(tx, ids) if ids else ():
        found.setdefault(rule.qos_policy_id, {}).update(wish(rule))
    return found
