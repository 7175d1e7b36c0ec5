"""Lists of images: filters, order and pages, all in SQL; three statements, however many images."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.glance import schemas
from cloudseed.glance.images import Glance, Image, load
from cloudseed.glance.models import images, members, properties, tags
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid

DEFAULT_LIMIT, MAX_LIMIT = 25, 1000
SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
_EQUAL = ("name", "status", "container_format", "disk_format", "id", "owner", "checksum", "os_hash_algo",
          "os_hash_value")
_LISTS = ("name", "status", "container_format", "disk_format", "id")  # these take in:a,b
_NUMBERS = ("min_ram", "min_disk", "size")
_COMPARE = {"eq": "__eq__", "neq": "__ne__", "lt": "__lt__", "lte": "__le__", "gt": "__gt__", "gte": "__ge__"}
_CONTROL = ("limit", "marker", "sort_key", "sort_dir", "sort", "member_status", "tag", "visibility", "os_hidden",
            "protected", "size_min", "size_max", "created_at", "updated_at")


class Query(NamedTuple):
    """A parsed request: `where` is SQL, `order` pairs of key and direction, the id always last."""

    where: list[Any]
    order: list[tuple[str, str]]
    limit: int
    marker: str | None


Params = Mapping[str, str | list[str]]


def parse(ctx: Context, params: Params) -> Query:
    """Query parameters as SQL conditions.  Raises Invalid, in upstream's words."""
    return Query([*_visible(ctx, params), *_filters(params)], _order(params), _limit(_one(params, "limit")),
                 _one(params, "marker"))


def _one(params: Params, name: str) -> str | None:
    value = params.get(name)
    value = value[-1] if isinstance(value, list) else value
    if value is not None and any(ord(c) < 32 for c in value):
        raise Invalid(f"The query parameter {name} holds control characters.")
    return value


def _many(params: Params, name: str) -> list[str]:
    value = params.get(name, [])
    return value if isinstance(value, list) else [value]


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"-?\d{1,10}", text):
        raise Invalid("limit param must be an integer")
    if int(text) < 0:
        raise Invalid("limit param must be positive")
    return min(int(text), MAX_LIMIT)


def _visible(ctx: Context, params: Params) -> list[Any]:
    """What the caller may see in a list, and what of it was asked for."""
    wanted = _one(params, "visibility")
    if wanted is not None and wanted not in (*schemas.VISIBILITIES, "all"):
        raise Invalid(f"Invalid visibility value: {wanted}")
    status = _one(params, "member_status") or "accepted"
    if status not in (*schemas.MEMBER_STATUSES, "all"):
        raise Invalid(f"Invalid status: {status}")
    project = ctx.identity.project_id
    where = [images.c.status != "deleted"]
    own = images.c.owner == project if project else sa.false()
    shared = sa.select(members.c.image_id).where(members.c.member == project)
    if status != "all":
        shared = shared.where(members.c.status == status)
    with_me = sa.and_(images.c.visibility == "shared", images.c.id.in_(shared))
    if "admin" not in ctx.identity.roles:
        where.append(sa.or_(images.c.visibility.in_(("public", "community")), own, with_me))
    if wanted == "shared" and "admin" not in ctx.identity.roles:
        where.append(images.c.visibility == "shared")
    elif wanted in schemas.VISIBILITIES:
        where.append(images.c.visibility == wanted)
    elif wanted is None:
        # community images are found by those who look for them
        where.append(sa.or_(images.c.visibility != "community", own))
    return where


def _boolean(params: Params, name: str) -> bool | None:
    text = _one(params, name)
    if text is None:
        return None
    if text.lower() not in ("true", "false"):
        raise Invalid(f"Invalid value '{text}' for '{name}' filter. Valid values are 'true' or 'false'.")
    return text.lower() == "true"


MAX_WORDS = 128  # as many properties and tags as an image may have


def _filters(params: Params) -> list[Any]:
    where: list[Any] = [images.c.os_hidden == bool(_boolean(params, "os_hidden"))]
    if (protected := _boolean(params, "protected")) is not None:
        where.append(images.c.protected == protected)
    for name in ("size_min", "size_max"):
        if (text := _one(params, name)) is not None:
            if not re.fullmatch(r"\d{1,18}", text):
                raise Invalid("Unable to filter on a range with a non-numeric value.")
            where.append(images.c.size >= int(text) if name == "size_min" else images.c.size <= int(text))
    for name in ("created_at", "updated_at"):
        where.extend(_time_filter(name, text) for text in _many(params, name)[:MAX_WORDS])
    words = dict.fromkeys(_many(params, "tag"))
    if len(params) > MAX_WORDS or len(words) > MAX_WORDS:
        raise Invalid(f"A list may be filtered by {MAX_WORDS} properties and tags at most.")
    for word in words:
        where.append(images.c.id.in_(sa.select(tags.c.image_id).where(tags.c.value == word)))
    for name in params:
        if name in _CONTROL:
            continue
        value = _one(params, name)
        assert value is not None
        if name.startswith("changes-since"):
            raise Invalid('The "changes-since" filter is no longer available on v2.')
        if name in _LISTS and value.startswith("in:"):
            where.append(images.c[name].in_(split_values(value[3:])))
        elif name in _EQUAL:
            where.append(images.c[name] == value)
        elif name in _NUMBERS:
            if not re.fullmatch(r"-?\d{1,18}", value):
                raise Invalid(f"Invalid value '{value}' for the filter {name}: it must be an integer.")
            where.append(images.c[name] == int(value))
        else:
            where.append(images.c.id.in_(sa.select(properties.c.image_id).where(properties.c.name == name,
                                                                               properties.c.value == value)))
    return where


def _time_filter(name: str, text: str) -> Any:
    operator, _, rest = text.partition(":")
    if operator not in _COMPARE:
        operator, rest = "eq", text
    try:
        moment = datetime.datetime.fromisoformat(rest.replace("Z", "+00:00"))
    except ValueError:
        raise Invalid(f'Bad "{name}" query filter format. Use ISO 8601 DateTime notation.') from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    column = images.c[name]
    if operator == "eq":  # the API shows whole seconds
        return sa.and_(column >= moment, column < moment + datetime.timedelta(seconds=1))
    return getattr(column, _COMPARE[operator])(moment)


def split_values(text: str) -> list[str]:
    """`a,"b,c"` as [a, b,c].  Raises Invalid for quotes that do not pair."""
    if text.count('"') % 2:
        raise Invalid(f"Invalid filter value {text}. The quote is not closed.")
    return [(quoted or plain).strip() for quoted, plain in re.findall(r'"([^"]*)"|([^,"]+)', text)]


def _order(params: Params) -> list[tuple[str, str]]:
    keys, directions, combined = _many(params, "sort_key"), _many(params, "sort_dir"), _one(params, "sort")
    if combined is not None:
        if keys or directions:
            raise Invalid("Old and new sorting syntax cannot be combined")
        pairs = [(item.strip().partition(":")[0].strip(), item.strip().partition(":")[2].strip() or "desc")
                 for item in combined.split(",")]
    else:
        keys = keys or ["created_at"]
        if len(directions) > 1 and len(directions) != len(keys):
            raise Invalid("Number of sort dirs does not match the number of sort keys")
        given = directions * len(keys) if len(directions) == 1 else directions or ["desc"] * len(keys)
        pairs = list(zip(keys, given, strict=True))
    seen: dict[str, str] = {}
    for key, direction in pairs:
        if key not in SORT_KEYS:
            raise Invalid(f"Invalid sort key: {key}. It must be one of the following: {', '.join(SORT_KEYS)}.")
        if direction not in ("asc", "desc"):
            raise Invalid(f"Invalid sort direction: {direction}")
        seen.setdefault(key, direction)
    last = pairs[-1][1]
    for key in ("created_at", "id"):
        seen.setdefault(key, last)
    return list(seen.items())


def _sort_column(key: str) -> Any:
    """A column to sort by, without nulls: a page after a null could not be found otherwise."""
    column = images.c[key]
    return sa.func.coalesce(column, -1 if key == "size" else "") if column.nullable else column


async def list_images(glance: Glance, ctx: Context, query: Query) -> list[Image]:
    """One page.  Raises Invalid for a marker that is not the caller's to see."""
    glance.policy.enforce("get_images", ctx.identity, {"project_id": ctx.identity.project_id})
    statement = sa.select(images).where(*query.where)
    async with glance.db.read() as tx:
        if query.marker is not None:
            row = await tx.first(sa.select(images).where(images.c.id == query.marker, images.c.status != "deleted"))
            if row is None:
                raise Invalid(f"No image found with ID {query.marker}")
            statement = statement.where(_after(row, query.order))
        for key, direction in query.order:
            column = _sort_column(key)
            statement = statement.order_by(column.asc() if direction == "asc" else column.desc())
        rows = await tx.all(statement.limit(query.limit))
        return await load(tx, rows)


def _after(row: Any, order: Sequence[tuple[str, str]]) -> Any:
    """Rows after `row` in this order: the first key that differs decides."""
    alternatives: list[Any] = []
    equal: list[Any] = []
    for key, direction in order:
        column, value = _sort_column(key), getattr(row, key)
        if value is None:
            value = -1 if key == "size" else ""
        alternatives.append(sa.and_(*equal, column > value if direction == "asc" else column < value))
        equal.append(column == value)
    return sa.or_(*alternatives)
