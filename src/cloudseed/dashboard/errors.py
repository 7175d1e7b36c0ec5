"""Errors as pages: what happened, in the words of whichever service refused."""

from __future__ import annotations

from cloudseed.dashboard.html import el
from cloudseed.dashboard.layout import PREFIX, document
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError


def page(error: CloudseedError, ctx: Context) -> str:
    """The page of an error."""
    return document(error.title, el(
        "main", el("h1", error.title), el("p", error.message),
        el("p", el("a", "Back to the overview", href=f"{PREFIX}/"), f" (request {ctx.request_id})"),
        class_="alone"))
