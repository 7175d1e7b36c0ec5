"""Metadata in headers: which are kept, under which limits (upstream's defaults, told by /info)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudseed.swift.errors import BadRequest

MAX_NAME, MAX_VALUE, MAX_COUNT, MAX_OVERALL = 128, 256, 90, 4096
# headers of an object that are kept beside its own metadata
KEPT = ("content-encoding", "content-disposition", "content-language", "cache-control", "expires", "x-robots-tag",
        "x-object-manifest")

# who has one of these can sign URLs for everything in the account or container
_SECRETS = ("-meta-temp-url-key", "-meta-temp-url-key-2")


def visible(metadata: Mapping[str, str], owner: bool) -> Mapping[str, str]:
    """What the owner sees of an account's or container's metadata, or everybody else who may read it."""
    return metadata if owner else {name: value for name, value in metadata.items() if not name.endswith(_SECRETS)}


def text(value: str) -> str:
    """A header's value as text: UTF-8 on the wire.  Raises BadRequest when it is not."""
    try:
        decoded = value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise BadRequest("Metadata must be valid UTF-8.") from None
    if "\x00" in decoded:
        raise BadRequest("Metadata must not contain NUL characters.")
    return decoded


def wire(value: str) -> str:
    """Text as a header's value."""
    return value.encode("utf-8").decode("latin-1")


def collect(headers: Mapping[str, str], kind: str) -> dict[str, str]:
    """The `X-<kind>-Meta-*` headers of a request (lower-case names), an empty value meaning removal
    (`X-Remove-<kind>-Meta-*` too).  Raises BadRequest past a limit."""
    prefix, remove = f"x-{kind}-meta-", f"x-remove-{kind}-meta-"
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name.startswith(prefix):
            found[text(name)] = text(value)
        elif name.startswith(remove) and kind != "object":
            found.setdefault(prefix + text(name[len(remove):]), "")
    if found:
        check(found, prefix)
    return found


def check(metadata: Mapping[str, Any], prefix: str) -> None:
    """Raise BadRequest when `metadata` is past a limit."""
    count = overall = 0
    for name, value in metadata.items():
        if not name.startswith(prefix):
            continue
        key = name[len(prefix):]
        size, length = len(key.encode()), len(value.encode())
        if not key:
            raise BadRequest("Metadata name cannot be empty")
        if size > MAX_NAME:
            raise BadRequest(f"Metadata name too long: {name}")
        if length > MAX_VALUE:
            raise BadRequest(f"Metadata value longer than {MAX_VALUE}: {name}")
        if value:
            count += 1
            overall += size + length
    if count > MAX_COUNT:
        raise BadRequest(f"Too many metadata items; max {MAX_COUNT}")
    if overall > MAX_OVERALL:
        raise BadRequest(f"Total metadata too large; max {MAX_OVERALL}")


def merge(old: Mapping[str, str], changes: Mapping[str, str], kind: str) -> dict[str, str]:
    """`old` with `changes`; empty values remove.  Raises BadRequest when the whole is past a limit."""
    merged = {name: value for name, value in {**old, **changes}.items() if value}
    check(merged, f"x-{kind}-meta-")
    return merged
