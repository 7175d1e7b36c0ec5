"""Bodies and queries of requests, checked as upstream's schemas do: unknown fields refused, versions respected."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.json import describe
from cloudseed.kernel.http.microversion import Version
from cloudseed.kernel.http.request import Request

T = TypeVar("T")
MAX_INT = 2**31 - 1


async def read(req: Request, key: str, type: type[T], *, added: Mapping[str, Version] | None = None,
               removed: Mapping[str, Version] | None = None, beside: Collection[str] = ()) -> T:
    """The object under `key` of the body as `type` (a Struct that forbids unknown fields).

    `added`, `removed`: fields that exist from, or until before, a microversion.  `beside`: other keys of the body
    that are allowed.  Raises Invalid.
    """
    return convert(req, await read_whole(req, key, beside), key, type, added=added, removed=removed)


async def read_whole(req: Request, key: str, beside: Collection[str] = (), limit: int = 114_688) -> dict[str, Any]:
    """The body: an object with `key`, and nothing but it and `beside`."""
    return only(await req.json(limit=limit), key, beside)


def only(body: Any, key: str, beside: Collection[str] = ()) -> dict[str, Any]:
    """A decoded body, if it is an object with `key`, and nothing but it and `beside`."""
    if not isinstance(body, dict):
        raise Invalid("Invalid input for field/attribute body. The request's body must be a JSON object.")
    if key not in body:
        raise Invalid(f"Invalid input for field/attribute body. {key!r} is a required property.")
    for name in body:
        if name != key and name not in beside:
            raise Invalid("Invalid input for field/attribute body. Additional properties are not allowed "
                          f"({shown(name)} was unexpected)")
    return body


def convert(req: Request, body: dict[str, Any], key: str, type: type[T], *,
            added: Mapping[str, Version] | None = None, removed: Mapping[str, Version] | None = None) -> T:
    """`body[key]` as `type`, with the fields of this request's microversion."""
    value = body[key]
    if isinstance(value, dict):
        for name in value:
            if (added and req.microversion < added.get(name, (0, 0))) or \
                    (removed and name in removed and req.microversion >= removed[name]):
                raise Invalid(f"Invalid input for field/attribute {key}. Additional properties are not allowed "
                              f"({shown(name)} was unexpected)")
    return as_type(value, type, key)


def as_type(value: Any, type: type[T], where: str) -> T:
    """Already decoded JSON as `type`.  As upstream, numbers and booleans may come as strings."""
    try:
        return msgspec.convert(value, type, strict=False)
    except msgspec.ValidationError as exc:
        if _is_ours(exc):  # our own check in a __post_init__, which says all
            raise Invalid(str(exc.__cause__) + ".") from None
        text = describe(exc)
        raise Invalid(text.replace("field/attribute body.", f"field/attribute {where}.")) from None


def _is_ours(error: BaseException) -> bool:
    return isinstance(error.__cause__, ValueError) and not isinstance(error.__cause__, msgspec.ValidationError)


def shown(value: Any, limit: int = 80) -> str:
    """A client's value for an error text: short, and printable."""
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."


def check_query(req: Request, allowed: Collection[str], since: Version = (2, 102)) -> None:
    """Refuse unknown query parameters, which old versions ignored.

    Upstream does so for servers, flavors' specs and the like since 2.75, everywhere since 2.102.
    """
    if req.microversion >= since:
        for name in req.params:
            if name not in allowed:
                raise Invalid("Invalid input for query parameters. Additional properties are not allowed "
                              f"({shown(name)} was unexpected)")


def check_name(value: str, what: str = "name", maximum: int = 255) -> None:
    """A name: 1 to `maximum` printable characters, no white space at its ends.  Raises ValueError, as Structs do."""
    if not 1 <= len(value) <= maximum:
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. It must have 1 to "
                         f"{maximum} characters")
    if not is_printable(value) or value != value.strip():
        raise ValueError(f"An invalid '{what}' value was provided. The {what} must be: printable characters. "
                         "Can not start or end with whitespace.")


def is_printable(value: str) -> bool:
    """No control, unassigned, private or surrogate characters, no line separators."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in value)


def check_text(value: str | None, what: str, maximum: int = 255) -> None:
    """A description and its like: at most `maximum` characters, lines allowed, other control characters not."""
    if value is None:
        return
    if len(value) > maximum:
        raise ValueError(f"Invalid input for field/attribute {what}. The text is longer than {maximum} characters")
    if not all(is_printable(c) or c in "\r\n\t" for c in value):
        raise ValueError(f"Invalid input for field/attribute {what}. It holds control characters")


def check_range(value: int | None, what: str, minimum: int = 0, maximum: int = MAX_INT) -> None:
    if value is None:
        return
    if value < minimum:
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {value}. {value} is less than the "
                         f"minimum of {minimum}")
    if value > maximum:
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {value}. {value} is greater than the "
                         f"maximum of {maximum}")


def is_uuid(value: str) -> bool:
    """Whether upstream takes `value` for a uuid: 32 hex digits, dashes anywhere among them do not matter."""
    digits = value.replace("-", "").lower()
    return len(digits) == 32 and all(c in "0123456789abcdef" for c in digits)
