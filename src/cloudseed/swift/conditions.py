"""Conditional requests and ranges (RFC 9110, sections 13 and 14), as pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import Literal

MAX_RANGES = 50
_SPEC = re.compile(r"^(\d*)-(\d*)$")

Outcome = Literal["ok", "not modified", "failed"]


def http_date(timestamp: float) -> str:
    """Last-Modified: whole seconds, rounded up so that it is never before the change."""
    return formatdate(math.ceil(timestamp), usegmt=True)


def _seconds(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _tags(value: str) -> set[str]:
    return {tag.strip().removeprefix("W/").strip('"') for tag in value.split(",")}


def evaluate(headers: Mapping[str, str], etag: str, modified: float) -> Outcome:
    """What a GET or HEAD with these headers (lower-case names) gets; `modified` in Unix seconds."""
    when = math.ceil(modified)
    if (wanted := headers.get("if-match")) is not None:
        tags = _tags(wanted)
        if "*" not in tags and etag not in tags:
            return "failed"
    elif (limit := _seconds(headers.get("if-unmodified-since"))) is not None and when > limit:
        return "failed"
    if (unwanted := headers.get("if-none-match")) is not None:
        tags = _tags(unwanted)
        if "*" in tags or etag in tags:
            return "not modified"
    elif (limit := _seconds(headers.get("if-modified-since"))) is not None and when <= limit:
        return "not modified"
    return "ok"


def parse_ranges(value: str | None, size: int) -> list[tuple[int, int]] | None:
    """`Range` as (start, end exclusive) pairs within `size`; None: no usable range, send everything;
    []: none can be satisfied."""
    if not value or not value.lower().startswith("bytes="):
        return None
    found: list[tuple[int, int]] = []
    specs = value[6:].split(",")
    if len(specs) > MAX_RANGES:
        return []
    for spec in specs:
        match = _SPEC.match(spec.strip())
        if match is None or spec.strip() == "-" or len(spec) > 42:
            return None
        first, last = match.groups()
        if not first:
            length = min(int(last), size)
            if length:
                found.append((size - length, size))
            continue
        start, end = int(first), int(last) + 1 if last else size
        if last and end <= start:
            return None
        if start < size:
            found.append((start, min(end, size)))
    return found


def range_applies(headers: Mapping[str, str], etag: str, modified: float) -> bool:
    """If-Range: whether the client's copy is still of this object, so that a part of it is of use."""
    value = headers.get("if-range")
    if not value:
        return True
    since = _seconds(value)
    return math.ceil(modified) <= since if since is not None else value.strip().strip('"') == etag
