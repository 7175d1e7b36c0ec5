"""Quotas: how much a project, and a user in it, may have.  Usage is always counted, never stored.

A limit is the user's, else the project's, else the default class's, else the one below; -1 is no limit.  Checks
run inside the transaction that writes, so two orders cannot both take the last place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Invalid, OverQuota
from cloudseed.nova.models import key_pairs, quota_limits, server_group_members, server_groups, servers

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

DEFAULTS: dict[str, int] = {
    "instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "injected_files": 5,
    "injected_file_content_bytes": 10240, "injected_file_path_bytes": 255, "key_pairs": 100, "server_groups": 10,
    "server_group_members": 10}
# what nova once limited and neutron does now: kept for old microversions, and limits nothing
NETWORK_RESOURCES = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")
CLASS = "class:default"


def project_scope(project_id: str) -> str:
    return f"project:{project_id}"


def user_scope(project_id: str, user_id: str) -> str:
    return f"user:{project_id}:{user_id}"


class Usage(NamedTuple):
    """Servers of a project (or of one user in it) that are not deleted."""

    instances: int
    cores: int
    ram: int


# made once: building these expressions costs more than running them
_LIMITS = sa.select(quota_limits).where(quota_limits.c.scope.in_(sa.bindparam("scopes", expanding=True)))
_USAGE = sa.select(
    sa.func.count(), sa.func.coalesce(sa.func.sum(servers.c.vcpus), 0),
    sa.func.coalesce(sa.func.sum(servers.c.memory_mb), 0)).select_from(servers).where(
        servers.c.project_id == sa.bindparam("project_id"), servers.c.deleted_at.is_(None))
_USER_USAGE = _USAGE.where(servers.c.user_id == sa.bindparam("user_id"))


async def get_limits(tx: Tx, project_id: str | None, user_id: str | None = None) -> dict[str, int]:
    """Every limit in force; `project_id` None: the defaults."""
    of_project, of_user = await _limits(tx, project_id, user_id)
    return {**of_project, **of_user}


async def _limits(tx: Tx, project_id: str | None, user_id: str | None) -> tuple[dict[str, int], dict[str, int]]:
    """A project's limits, and those that a user in it has for himself.  One statement."""
    scopes = [CLASS]
    if project_id is not None:
        scopes.append(project_scope(project_id))
        if user_id is not None:
            scopes.append(user_scope(project_id, user_id))
    limits = dict(DEFAULTS)
    own: dict[str, int] = {}
    rows = (await tx.execute(_LIMITS, {"scopes": scopes})).all()
    for row in sorted(rows, key=lambda row: scopes.index(row.scope)):
        (own if row.scope.startswith("user:") else limits)[row.resource] = row.hard_limit
    return limits, own


async def set_limits(tx: Tx, scope: str, limits: dict[str, int]) -> None:
    for resource, limit in limits.items():
        changed = await tx.execute(sa.update(quota_limits).where(
            quota_limits.c.scope == scope, quota_limits.c.resource == resource).values(hard_limit=limit))
        if changed.rowcount == 0:
            await tx.execute(sa.insert(quota_limits).values(scope=scope, resource=resource, hard_limit=limit))


async def update_quota(nova: Nova, project_id: str, user_id: str | None, limits: dict[str, int], *,
                       force: bool) -> dict[str, int]:
    """Set limits; without `force` none below what is used.  Returns all limits in force.  Raises Invalid."""
    async with nova.db.write() as tx:
        if not force:
            used = await get_usage_by_resource(tx, project_id, user_id)
            for resource, limit in limits.items():
                if 0 <= limit < used.get(resource, 0):
                    raise Invalid(f"Quota limit {limit} for {resource} must be greater than or equal to already used "
                                  f"and reserved {used[resource]}.")
        if user_id is not None:
            whole = await get_limits(tx, project_id)
            for resource, limit in limits.items():
                top = whole.get(resource, -1)
                if 0 <= top < limit or (limit == -1 and top != -1):
                    raise Invalid(f"Quota limit {limit} for {resource} must be less than or equal to {top}.")
        scope = project_scope(project_id) if user_id is None else user_scope(project_id, user_id)
        await set_limits(tx, scope, limits)
        return await get_limits(tx, project_id, user_id)


async def delete_quota(nova: Nova, project_id: str, user_id: str | None) -> None:
    """Back to the defaults: the project's limits with all its users', or one user's."""
    async with nova.db.write() as tx:
        if user_id is not None:
            await tx.execute(sa.delete(quota_limits).where(quota_limits.c.scope == user_scope(project_id, user_id)))
        else:
            await tx.execute(sa.delete(quota_limits).where(sa.or_(
                quota_limits.c.scope == project_scope(project_id),
                quota_limits.c.scope.startswith(f"user:{project_id}:", autoescape=True))))


# ---- counting

async def get_usage(tx: Tx, project_id: str, user_id: str | None = None) -> Usage:
    query = _USAGE if user_id is None else _USER_USAGE
    parameters = {"project_id": project_id} | ({} if user_id is None else {"user_id": user_id})
    return Usage(*(await tx.execute(query, parameters)).one())


async def get_usage_by_resource(tx: Tx, project_id: str, user_id: str | None = None) -> dict[str, int]:
    """What is used of each resource that is counted by project.  Keys and group members are counted elsewhere."""
    groups = sa.select(sa.func.count()).select_from(server_groups).where(server_groups.c.project_id == project_id)
    if user_id is not None:
        groups = groups.where(server_groups.c.user_id == user_id)
    usage = await get_usage(tx, project_id, user_id)
    return {**usage._asdict(), "server_groups": await tx.scalar(groups)}


async def check_servers(nova: Nova, tx: Tx, ctx: Context, minimum: int, maximum: int, vcpus: int, ram: int) -> int:
    """How many servers of this size may be made, between `minimum` and `maximum`.  Raises OverQuota.

    At most two statements; a third for a user with limits of his own.
    """
    return await _rooms(tx, ctx.project_id, ctx.user_id, {"instances": 1, "cores": vcpus, "ram": ram}, minimum, maximum)


async def check_growth(tx: Tx, project_id: str, user_id: str, cores: int, ram: int) -> None:
    """Whether a server of this project and user may grow by so much; what shrinks is always allowed.  OverQuota."""
    each = {name: more for name, more in (("cores", cores), ("ram", ram)) if more > 0}
    if not each:
        return
    await _rooms(tx, project_id, user_id, each, 1, 1)


async def _rooms(tx: Tx, project_id: str, user_id: str | None, each: dict[str, int], minimum: int, maximum: int) -> int:
    """`_room` below the project's limits and the user's own.  Nothing is counted that nothing limits: what a project
    has is read whole for it, and whoever has thousands of servers often has no limit."""
    limits, own = await _limits(tx, project_id, user_id)
    if _limited(limits, each):
        maximum = _room(limits, (await get_usage(tx, project_id))._asdict(), each, minimum, maximum)
    if own and _limited(limits | own, each):
        maximum = _room(limits | own, (await get_usage(tx, project_id, user_id))._asdict(), each, minimum, maximum)
    return maximum


def _limited(limits: dict[str, int], each: dict[str, int]) -> bool:
    return any(limits[name] >= 0 for name in each)


def _room(limits: dict[str, int], used: dict[str, int], each: dict[str, int], minimum: int, maximum: int) -> int:
    """How many things of the sizes `each` fit below `limits`, at most `maximum`.  Pure; raises OverQuota."""
    count = maximum
    for resource, size in each.items():
        if limits[resource] >= 0 and size > 0:
            count = min(count, max(0, limits[resource] - used[resource]) // size)
    if count < minimum:
        over = [name for name, size in sorted(each.items())
                if limits[name] >= 0 and used[name] + size * minimum > limits[name]]
        raise OverQuota("Quota exceeded for {0}: Requested {1}, but already used {2} of {3} {0}".format(
            ", ".join(over), ", ".join(str(each[n] * minimum) for n in over),
            ", ".join(str(used[n]) for n in over), ", ".join(str(limits[n]) for n in over)))
    return count


async def check_request(nova: Nova, ctx: Context, metadata: dict[str, str],
                        personality: list[dict[str, str]]) -> None:
    """Limits that one request can break by itself.  Raises OverQuota."""
    if not metadata and not personality:
        return
    async with nova.db.read() as tx:
        limits = await get_limits(tx, ctx.project_id)
    check_metadata(limits, metadata)
    if 0 <= limits["injected_files"] < len(personality):
        raise OverQuota("Maximum number of injected files exceeded")
    for file in personality:
        if 0 <= limits["injected_file_path_bytes"] < len(file["path"]):
            raise OverQuota("Maximum path length of injected files exceeded")
        if 0 <= limits["injected_file_content_bytes"] < len(file["contents"]):
            raise OverQuota("Maximum content length of injected files exceeded")


def check_metadata(limits: dict[str, int], metadata: dict[str, str]) -> None:
    if 0 <= limits["metadata_items"] < len(metadata):
        raise OverQuota(f"Maximum number of metadata items exceeds {limits['metadata_items']}")


async def count_key_pairs(tx: Tx, user_id: str) -> int:
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(key_pairs)
                               .where(key_pairs.c.user_id == user_id)))


async def count_group_members(tx: Tx, group_id: str, user_id: str | None = None) -> int:
    """Servers of a group that are not deleted."""
    joined = server_group_members.join(servers, servers.c.id == server_group_members.c.server_id)
    where: list[Any] = [server_group_members.c.group_id == group_id, servers.c.deleted_at.is_(None)]
    if user_id is not None:
        where.append(servers.c.user_id == user_id)
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(joined).where(*where)))
