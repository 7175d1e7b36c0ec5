"""What keystone's resources have in common: HEAD, links, lists with filters and pages, open schemas.

Upstream's bodies are open: attributes that a client invents are kept (`extra`) and come back at top level.  A
resource's known attributes are a msgspec Struct; `split` checks them and returns the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from cloudseed.kernel.http import json
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone.errors import Invalid
from cloudseed.keystone.lists import Filters
from cloudseed.keystone.state import Keystone

T = TypeVar("T")


class Resource:
    """Base of keystone's falcon resources: HEAD is GET without its body, wherever GET is."""

    def __init__(self, ks: Keystone) -> None:
        self.ks = ks

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "on_get") and "on_head" not in cls.__dict__:
            cls.on_head = cls.on_get  # type: ignore[attr-defined]


def link(req: Request, path: str) -> dict[str, str]:
    return {"self": f"{req.base_url}/v3/{path}"}


def set_list(req: Request, resp: Response, name: str, items: Sequence[dict[str, Any]],
             filters: Filters | None = None) -> None:
    """{"users": [...], "links": {...}}; with `limit`, the link to the next page."""
    own = f"{req.base_url}{req.path}" + (f"?{req.query_string}" if req.query_string else "")
    body: dict[str, Any] = {name: items, "links": {"next": None, "self": own, "previous": None}}
    if filters is not None and filters.limit is not None and len(items) >= filters.limit:
        query: list[tuple[str, Any]] = [(key, value) for key, value in req.params.items()
                                        if key not in ("limit", "marker")]
        query += [("limit", filters.limit), ("marker", items[-1]["id"])]
        body["links"]["next"] = f"{req.base_url}{req.path}?{urlencode(query, doseq=True)}"
        body["truncated"] = True
    resp.media = body


async def read(req: Request, name: str) -> dict[str, Any]:
    """The object under `name` in the body.  Raises Invalid."""
    body: Any = await req.json(dict[str, Any])
    value = body.get(name)
    if not isinstance(value, dict):
        raise Invalid(f"Invalid input for field/attribute {name}. The body must hold an object under {name!r}.")
    return value


def split(value: dict[str, Any], type: type[T]) -> tuple[T, dict[str, Any]]:
    """The known attributes of an open body, checked, and the others.  Raises Invalid."""
    known = {field.encode_name for field in msgspec.structs.fields(type)}  # type: ignore[arg-type]
    extra = {key: item for key, item in value.items() if key not in known and key not in ("id", "links")}
    check_extra(extra)
    return json.convert({key: item for key, item in value.items() if key in known}, type), extra


def check_extra(extra: dict[str, Any]) -> None:
    for key, item in extra.items():
        if not key or len(key) > 255 or any(ord(c) < 32 for c in key):
            raise Invalid("An attribute's name must have 1 to 255 printable characters.")
        if isinstance(item, str) and "\0" in item:
            raise Invalid(f"Invalid input for field/attribute {key}. It must not hold a NUL character.")


def changes(patch: Any) -> dict[str, Any]:
    """What a PATCH struct sets: its fields that are not UNSET."""
    return {field.name: value for field in msgspec.structs.fields(patch)
            if (value := getattr(patch, field.name)) is not msgspec.UNSET}
