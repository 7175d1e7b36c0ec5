"""Lists of servers: filters, order and pages, all in SQL.  The API turns a query into `Filters`."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.paging import Page
from cloudseed.nova.models import aggregate_hosts, aggregates, server_tags, servers
from cloudseed.nova.paging import Sort, page_of
from cloudseed.nova.servers import DEFAULT_ZONE, Extras, Server, load_extras

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

SORT_KEYS: dict[str, sa.Column[Any]] = {
    "access_ip_v4": servers.c.access_ip_v4, "access_ip_v6": servers.c.access_ip_v6,
    "auto_disk_config": servers.c.created_at, "availability_zone": servers.c.availability_zone,
    "config_drive": servers.c.config_drive, "created_at": servers.c.created_at,
    "display_description": servers.c.description, "display_name": servers.c.name, "host": servers.c.host,
    "hostname": servers.c.hostname, "image_ref": servers.c.image_id, "instance_type_id": servers.c.flavor_id,
    "kernel_id": servers.c.created_at, "key_name": servers.c.key_name, "launch_index": servers.c.launch_index,
    "launched_at": servers.c.launched_at, "locked": servers.c.locked_by, "locked_by": servers.c.locked_by,
    "node": servers.c.node, "power_state": servers.c.power_state, "progress": servers.c.progress,
    "project_id": servers.c.project_id, "ramdisk_id": servers.c.created_at,
    "root_device_name": servers.c.root_device_name, "task_state": servers.c.task_state,
    "terminated_at": servers.c.terminated_at, "updated_at": servers.c.updated_at, "user_id": servers.c.user_id,
    "uuid": servers.c.id, "vm_state": servers.c.vm_state}

# filters that compare one column for equality
EQUAL: dict[str, sa.Column[Any]] = {
    "image": servers.c.image_id, "flavor": servers.c.flavor_id, "host": servers.c.host, "node": servers.c.node,
    "uuid": servers.c.id, "reservation_id": servers.c.reservation_id, "user_id": servers.c.user_id,
    "key_name": servers.c.key_name, "vm_state": servers.c.vm_state, "task_state": servers.c.task_state,
    "power_state": servers.c.power_state, "launch_index": servers.c.launch_index, "hostname": servers.c.hostname,
    "locked_by": servers.c.locked_by, "progress": servers.c.progress, "config_drive": servers.c.config_drive,
    "root_device_name": servers.c.root_device_name, "description": servers.c.description,
    "access_ip_v4": servers.c.access_ip_v4, "access_ip_v6": servers.c.access_ip_v6}


class Filters(msgspec.Struct, kw_only=True):
    """What is listed.  A null filters nothing; `equal` holds values by the names of EQUAL."""

    project_id: str | None = None  # null: every project's
    name: str | None = None  # a regular expression, or plain text found anywhere
    states: list[tuple[list[str], list[str]]] | None = None  # (vm_states, task_states or any) alternatives
    equal: dict[str, Any] = {}
    changed_since: datetime.datetime | None = None
    changed_before: datetime.datetime | None = None
    deleted: bool | None = False  # null: both
    addresses: list[str] = []
    locked: bool | None = None
    tags: list[str] = []
    tags_any: list[str] = []
    not_tags: list[str] = []
    not_tags_any: list[str] = []
    availability_zone: str | None = None


async def list_servers(nova: Nova, ctx: Context, filters: Filters, page: Page, sort: Sort, *,
                       extras: bool) -> tuple[list[Server], bool, Extras]:
    """A page of servers, whether more follow, and (for details) what belongs to them."""
    query = sa.select(servers).where(*conditions(filters))
    # the marker may have been filtered out meanwhile (a server that became ACTIVE): only its owner counts
    owner = [servers.c.project_id == filters.project_id] if filters.project_id is not None else []
    async with nova.db.read() as tx:
        rows, more = await page_of(tx, query, servers.c.id, page, sort, Invalid(f"marker [{page.marker}] not found"),
                                   marker_query=sa.select(servers).where(*owner))
        return rows, more, await load_extras(nova, tx, rows) if extras else Extras()


def conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    """The WHERE of a list."""
    where: list[sa.ColumnElement[bool]] = []
    if filters.project_id is not None:
        where.append(servers.c.project_id == filters.project_id)
    if filters.deleted is not None:
        where.append(servers.c.deleted_at.is_not(None) if filters.deleted else servers.c.deleted_at.is_(None))
    if filters.name is not None:
        where.append(matches(servers.c.name, filters.name))
    if filters.states is not None:
        where.append(sa.or_(sa.false(), *(
            sa.and_(servers.c.vm_state.in_(vm_states), servers.c.task_state.in_(task_states) if task_states
                    else sa.true()) for vm_states, task_states in filters.states)))
    for name, value in filters.equal.items():
        column = EQUAL[name]
        where.append(column.in_(value) if isinstance(value, list) else column == value)
    if filters.changed_since is not None:
        where.append(servers.c.updated_at >= filters.changed_since)
    if filters.changed_before is not None:
        where.append(servers.c.updated_at <= filters.changed_before)
    if filters.locked is not None:
        where.append(servers.c.locked_by.is_not(None) if filters.locked else servers.c.locked_by.is_(None))
    where += [servers.c.network_info.cast(sa.Text).regexp_match(address_pattern(text)) for text in filters.addresses]
    where += _tags(filters)
    if filters.availability_zone is not None:
        where.append(_in_zone(filters.availability_zone))
    return where


def _tags(filters: Filters) -> list[sa.ColumnElement[bool]]:
    def with_any(tags: list[str]) -> sa.ColumnElement[bool]:
        return servers.c.id.in_(sa.select(server_tags.c.server_id).where(server_tags.c.tag.in_(tags)))

    where = [with_any([tag]) for tag in filters.tags]
    if filters.tags_any:
        where.append(with_any(filters.tags_any))
    if filters.not_tags:
        where.append(sa.not_(sa.and_(*(with_any([tag]) for tag in filters.not_tags))))
    if filters.not_tags_any:
        where.append(sa.not_(with_any(filters.not_tags_any)))
    return where


def _in_zone(zone: str) -> sa.ColumnElement[bool]:
    """Servers on hosts of the zone, or that asked for it and are on none yet."""
    zoned = sa.select(aggregate_hosts.c.host).select_from(
        aggregate_hosts.join(aggregates, aggregates.c.id == aggregate_hosts.c.aggregate_id))
    of_zone = zoned.where(aggregates.c.metadata.cast(sa.Text).regexp_match(
        '"availability_zone":' + re.escape(msgspec.json.encode(zone).decode())))
    there: sa.ColumnElement[bool] = servers.c.host.in_(of_zone)
    if zone == DEFAULT_ZONE:
        there = sa.or_(there, servers.c.host.not_in(zoned.where(
            aggregates.c.metadata.cast(sa.Text).regexp_match('"availability_zone":'))))
    return sa.or_(there, sa.and_(servers.c.host.is_(None), servers.c.availability_zone == zone))


_PLAIN = re.compile(r"^[^\\.^$*+?{}\[\]|()]*$")
_QUANTIFIER = re.compile(r"(?<!\\)[*+{]")
_CHOICE = re.compile(r"(?<!\\)[?|]")
_MAX_BITS = 18  # of steps for each place of a value: a repeat may take 255 = 2**8 lengths, each choice doubles
_AFTER_GROUP = re.compile(r"(?<!\\)\)[*+{?]|(?<!\\)\\[1-9]")


def matches(column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    """`column` holds `text`, which is a regular expression as upstream's databases take it.

    Plain text is looked for anywhere, in either case.  What could take for ever (repeats of repeats) is refused,
    since every row would be matched in our own process.
    """
    if _PLAIN.match(text):
        return column.icontains(text, autoescape=True)
    # without a group, alternatives are tried one after the other and do not multiply
    choices = len(_CHOICE.findall(text)) if "(" in text else text.count("?")
    if len(text) > 255 or 8 * len(_QUANTIFIER.findall(text)) + choices > _MAX_BITS or _AFTER_GROUP.search(text):
        raise Invalid("The filter's regular expression is too complex: at most two repeats, none of them of a group, "
                      "and few choices.")
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as exc:
        raise Invalid(f"The filter's regular expression is not valid: {exc}.") from None
    return column.regexp_match(f"(?i){text}")  # at the start: that way both databases have it


def address_pattern(text: str) -> str:
    """What to look for in `network_info` for a filter such as 10.0.0., ^10.0.0.5$ or fd00::."""
    body = text.removeprefix("^").removesuffix("$").replace("\\.", ".")
    if not body or not re.fullmatch(r"[0-9a-fA-F.:]{1,45}", body):
        raise Invalid(f"The address filter {text[:60]!r} is not valid: it must be an address or a part of one.")
    before = '"' if text.startswith("^") else '"[0-9a-f.:]*'
    after = '"' if text.endswith("$") else ""
    # "type":"fixed" comes after an address of the server: gateways and name servers have other types
    return f'"address":{before}{re.escape(body.lower())}{after or "[0-9a-f.:]*" + chr(34)},"type":"fixed"'
