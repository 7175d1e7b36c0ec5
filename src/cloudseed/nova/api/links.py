"""Links of resources, and of the next page."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.paging import Page, next_url
from cloudseed.kernel.http.request import Request


def links_of(req: Request, collection: str, id: str) -> list[dict[str, str]]:
    """`self` and `bookmark` links, as upstream writes them."""
    return [{"rel": "self", "href": f"{req.base_url}/v2.1/{collection}/{id}"},
            {"rel": "bookmark", "href": f"{req.base_url}/{collection}/{id}"}]


def add_next(req: Request, body: dict[str, Any], name: str, page: Page, last: str, more: bool) -> None:
    """Add `<name>_links` when more items follow after the one with id `last`."""
    if more:
        limit = None if page.explicit else page.limit
        body[f"{name}_links"] = [{"rel": "next", "href": next_url(req, last, limit)}]
