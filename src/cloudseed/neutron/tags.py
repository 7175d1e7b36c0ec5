"""Tags: words that a user puts on a resource."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import NotFound
from cloudseed.neutron import access, errors, models
from cloudseed.neutron.revisions import touch
from cloudseed.neutron.server import Neutron
from cloudseed.neutron.trunks import TrunkNotFound

MAX_TAGS = 50
# the resource's path -> (table, its name in policies, the object type of RBAC policies, its 404)
TAGGED: dict[str, tuple[sa.Table, str, str | None, type[NotFound]]] = {
    "networks": (models.networks, "network", "network", errors.NetworkNotFound),
    "subnets": (models.subnets, "subnet", None, errors.SubnetNotFound),
    "ports": (models.ports, "port", None, errors.PortNotFound),
    "security-groups": (models.security_groups, "security_group", "security_group", errors.SecurityGroupNotFound),
    "security-group-rules": (models.security_group_rules, "security_group_rule", None,
                             errors.SecurityGroupRuleNotFound),
    "subnetpools": (models.subnetpools, "subnetpool", "subnetpool", errors.SubnetPoolNotFound),
    "routers": (models.routers, "router", None, errors.RouterNotFound),
    "floatingips": (models.floatingips, "floatingip", None, errors.FloatingIPNotFound),
    "trunks": (models.trunks, "trunk", None, TrunkNotFound),
    "qos/policies": (models.qos_policies, "policy", "qos_policy", errors.QosPolicyNotFound)}


async def _load(neutron: Neutron, ctx: Context, tx: Tx, path: str, id: str) -> Any:
    table, _, object_type, not_found = TAGGED[path]
    row = await tx.first(sa.select(table.c.id, table.c.project_id, table.c.tags).where(
        table.c.id == id, *access.visible(neutron, ctx, table, object_type)))
    if row is None:
        raise not_found(id=id)
    return row


async def get_tags(neutron: Neutron, ctx: Context, path: str, id: str) -> list[str]:
    """A visible resource's tags."""
    async with neutron.db.read() as tx:
        tags: list[str] = (await _load(neutron, ctx, tx, path, id)).tags
        return tags


async def change_tags(neutron: Neutron, ctx: Context, path: str, id: str, *, add: list[str] | None = None,
                      remove: str | None = None, replace: list[str] | None = None) -> list[str]:
    """Add, remove (TagNotFound when it is not there) or replace tags; returns what is there then."""
    table = TAGGED[path][0]
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, path, id)
        # tags are a member's to change where he may see the thing and it is his project's
        access.authorize(neutron, ctx, "update_tags", {"project_id": row.project_id})
        tags = set(row.tags if replace is None else replace) | set(add or ())
        if remove is not None:
            if remove not in tags:
                raise errors.TagNotFound(tag=remove)
            tags.discard(remove)
        if len(tags) > MAX_TAGS:
            raise errors.InvalidInput(reason=f"The number of tags exceeds the maximum of {MAX_TAGS}")
        if tags != set(row.tags):
            await touch(tx, table, id, tags=sorted(tags))
        return sorted(tags)
