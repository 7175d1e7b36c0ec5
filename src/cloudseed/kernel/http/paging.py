"""Lists in pages: `limit` and `marker`, and links to the next page, as every service's list has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.request import Request

T = TypeVar("T")


class Page(NamedTuple):
    """What a client asked for: at most `limit` items after the one with id `marker`."""

    limit: int
    marker: str | None
    explicit: bool  # the client gave a limit


def parse(req: Request, maximum: int = 1000) -> Page:
    """`limit` and `marker` of a request.  Above `maximum` means `maximum`, 0 asks for nothing; raises Invalid."""
    raw = req.text_param("limit")
    if raw is None:
        return Page(maximum, req.text_param("marker"), False)
    try:
        limit = int(raw)
    except ValueError:
        raise Invalid(f"Invalid input for field/attribute limit. Value: {raw}. It must be an integer.") from None
    if limit < 0:
        raise Invalid(f"Invalid input for field/attribute limit. Value: {raw}. It must not be negative.")
    return Page(min(limit, maximum), req.text_param("marker"), True)


def cut(items: Sequence[T], page: Page, id_of: Callable[[T], str], missing: Exception) -> tuple[list[T], bool]:
    """The page of an already sorted sequence, and whether more follow.  Raises `missing` for an unknown marker."""
    start = 0
    if page.marker is not None:
        start = next((i + 1 for i, item in enumerate(items) if id_of(item) == page.marker), -1)
        if start < 0:
            raise missing
    window = list(items[start : start + page.limit])
    return window, bool(window) and start + page.limit < len(items)


def next_url(req: Request, marker: str, limit: int | None = None) -> str:
    """This request's URL with another marker."""
    query: list[tuple[str, Any]] = []
    for name, value in req.params.items():
        if name != "marker" and not (name == "limit" and limit is not None):
            query.extend((name, v) for v in (value if isinstance(value, list) else [value]))
    if limit is not None:
        query.append(("limit", limit))
    query.append(("marker", marker))
    return f"{req.base_url}{req.path}?{urlencode(query)}"
