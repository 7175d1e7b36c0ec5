"""Listings on the wire: which format was asked for, and the entries as plain text, JSON or XML."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from cloudseed.kernel.http import json
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.swift.errors import BadRequest
from cloudseed.swift.listings import Query, Subdir, parse_limit

Entry = dict[str, Any]
_TYPES = {"plain": "text/plain; charset=utf-8", "json": "application/json; charset=utf-8",
          "xml": "application/xml; charset=utf-8"}


def read_query(req: Request) -> Query:
    """The listing parameters of a request.  Raises BadRequest, PreconditionFailed."""
    def param(name: str) -> str:
        value = req.params.get(name, "")
        value = value[-1] if isinstance(value, list) else value
        if "\x00" in value or len(value) > 4096:
            raise BadRequest(f"The query parameter {name} cannot be.")
        return value

    path = param("path") if "path" in req.params else None
    if path is not None:
        # names directly in a pseudo folder, without its subfolders
        return Query(parse_limit(param("limit")), param("marker"), param("end_marker"),
                     path.rstrip("/") + "/" if path else "", "/", False)
    reverse = param("reverse").lower() in ("true", "1", "yes", "on", "t", "y")
    return Query(parse_limit(param("limit")), param("marker"), param("end_marker"), param("prefix"),
                 param("delimiter"), reverse)


def wanted_format(req: Request) -> str:
    """`format=` wins over Accept; plain text otherwise."""
    value = req.params.get("format", "")
    value = (value[-1] if isinstance(value, list) else value).lower()
    if value in _TYPES:
        return value
    accept = req.get_header("Accept") or ""
    for part in accept.split(","):
        kind = part.split(";")[0].strip().lower()
        if kind == "application/json":
            return "json"
        if kind in ("application/xml", "text/xml"):
            return "xml"
        if kind in ("text/plain", "text/*", "*/*"):
            return "plain"
    return "plain"


def iso(timestamp: float) -> str:
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def render(resp: Response, form: str, page: Sequence[Any], root: str, name: str, element: str,
           view: Callable[[Any], Entry]) -> None:
    """Write a page: `view` makes an entry's JSON; `root`, `element`: names of XML elements."""
    resp.content_type = _TYPES[form]
    if form == "json":
        resp.data = json.encode([{"subdir": e.name} if isinstance(e, Subdir) else view(e) for e in page])
    elif form == "plain":
        if not page:
            resp.status = 204
        resp.data = "".join(f"{entry.name}\n" for entry in page).encode()
    else:
        resp.data = _xml(page, root, name, element, view).encode()


def _xml(page: Sequence[Any], root: str, name: str, element: str, view: Callable[[Any], Entry]) -> str:
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n', f"<{root} name={_attribute(name)}>"]
    for entry in page:
        if isinstance(entry, Subdir):
            parts.append(f"<subdir name={_attribute(entry.name)}><name>{_text(entry.name)}</name></subdir>")
        else:
            fields = "".join(f"<{k}>{_text(str(v))}</{k}>" for k, v in view(entry).items())
            parts.append(f"<{element}>{fields}</{element}>")
    parts.append(f"</{root}>")
    return "".join(parts)


def _clean(value: str) -> str:
    """Control characters cannot be in XML 1.0 at all."""
    return "".join(c if c >= " " or c in "\t\n\r" else "\ufffd" for c in value)


def _text(value: str) -> str:
    return escape(_clean(value))


def _attribute(value: str) -> str:
    return quoteattr(_clean(value))
