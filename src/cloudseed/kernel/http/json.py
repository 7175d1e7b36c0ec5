"""JSON in and out, within limits: depth is bounded before parsing, errors name the field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from cloudseed.kernel.errors import Invalid

T = TypeVar("T")
MAX_DEPTH = 32
_OPEN, _CLOSE, _QUOTE, _BACKSLASH = b"[{", b"]}", 0x22, 0x5C
encode = msgspec.json.encode


def check_depth(body: bytes, limit: int = MAX_DEPTH) -> None:
    """Refuse JSON nested deeper than `limit`.  Cheap for ordinary bodies: few brackets cannot nest deeply."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return
    depth, in_string, skip = 0, False, False
    for byte in body:
        if skip:
            skip = False
        elif in_string:
            if byte == _BACKSLASH:
                skip = True
            elif byte == _QUOTE:
                in_string = False
        elif byte == _QUOTE:
            in_string = True
        elif byte in _OPEN:
            depth += 1
            if depth > limit:
                raise Invalid(f"The JSON body is nested deeper than {limit} levels.")
        elif byte in _CLOSE:
            depth -= 1


def decode(body: bytes, type: type[T] | Any = Any) -> T:
    """`body` as `type` (a msgspec type).  Raises `Invalid` that names the field and what was expected."""
    if not body:
        raise Invalid("The request needs a JSON body.")
    check_depth(body)
    try:
        value: T = msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as exc:
        raise Invalid(describe(exc)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(f"The body is not valid JSON: {exc}") from None
    return value


def decode_text(body: str | bytes) -> Any:
    """Any JSON value from text."""
    return decode(body.encode() if isinstance(body, str) else body)


def convert(value: Any, type: type[T] | Any) -> T:
    """Already decoded JSON as `type`; raises `Invalid` as `decode` does."""
    try:
        converted: T = msgspec.convert(value, type)
    except msgspec.ValidationError as exc:
        raise Invalid(describe(exc)) from None
    return converted


def describe(error: msgspec.ValidationError) -> str:
    """msgspec's complaint in the words that nova's users know: which field, and why."""
    text = str(error)
    reason, _, path = text.partition(" - at `")
    field = path.rstrip("`").removeprefix("$").removeprefix(".")
    return f"Invalid input for field/attribute {field or 'body'}. {reason}."
