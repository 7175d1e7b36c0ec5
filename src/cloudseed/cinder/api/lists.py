"""Queries of lists, the same for every resource: paging and sorting apart, then filters, then the next link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import sqlalchemy as sa

from cloudseed.cinder.api.body import is_admin, project_part, shown
from cloudseed.cinder.listing import Condition, Page, parse_page
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.microversion import Version
from cloudseed.kernel.http.request import Request

_CONTROL = ("limit", "marker", "offset", "sort", "sort_key", "sort_dir", "with_count", "all_tenants", "all_projects")
# what clients send along for everybody, and that only an administrator's request heeds
_IGNORED = ("project_id", "user_id", "tenant_id", "bootable~")
STRICT_FROM: Version = (3, 31)  # from then on filters that a user may not use are refused
COUNT_FROM: Version = (3, 45)


class Query(NamedTuple):
    """A list's query.  `where`: SQL conditions; `everybody`: the things of all projects."""

    page: Page
    where: list[Any]
    everybody: bool
    with_count: bool


def params(req: Request) -> dict[str, str]:
    """Every query parameter, its last value.  Raises Invalid for control characters."""
    return {name: req.text_param(name) or "" for name in req.params}


def parse(req: Request, filters: Mapping[str, Condition], admin_filters: Mapping[str, Condition] | None = None,
          added: Mapping[str, Version] | None = None) -> Query:
    """`filters`: those that everybody may use -> condition.  `added`: filters that exist from a version on."""
    given = params(req)
    admin = is_admin(req)
    everybody = admin and req.bool_param("all_tenants", req.bool_param("all_projects"))
    with_count = req.microversion >= COUNT_FROM and req.bool_param("with_count")
    where = []
    for name, value in given.items():
        if name in _CONTROL or (added and req.microversion < added.get(name, (0, 0))):
            continue
        if name.endswith("~") and req.microversion < (3, 34):
            continue
        condition = filters.get(name) or (admin_filters or {}).get(name) if admin else filters.get(name)
        if condition is not None:
            where.append(condition(value))
        elif name in _IGNORED or req.microversion < STRICT_FROM:
            if admin and name not in _IGNORED:
                where.append(sa.false())  # no thing has such a field, so none has this value of it
        else:
            raise Invalid(f"Invalid filters {shown(name)} are found in query options.")
    return Query(parse_page(given), where, everybody, with_count)


def next_links(req: Request, page: Page, items: Sequence[Any]) -> list[dict[str, str]]:
    """A link to the next page where this one is full."""
    if not items or len(items) < page.size:
        return []
    query: list[tuple[str, Any]] = []
    for name, value in req.params.items():
        if name not in ("marker", "offset"):
            query.extend((name, item) for item in (value if isinstance(value, list) else [value]))
    query.append(("marker", items[-1].id))
    path = f"/v3{project_part(req)}{req.path.removeprefix('/v3')}"
    return [{"rel": "next", "href": f"{req.base_url}{path}?{urlencode(query)}"}]


def answer(req: Request, name: str, query: Query, items: Sequence[Any], views: list[Any], count: int | None = None
           ) -> dict[str, Any]:
    """{"volumes": [...], "volumes_links": [...], "count": n}"""
    body: dict[str, Any] = {name: views}
    if found := next_links(req, query.page, items):
        body[f"{name}_links"] = found
    if count is not None:
        body["count"] = count
    return body
