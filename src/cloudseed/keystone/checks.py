"""What a client's text must be: lengths, printable characters, words that mean something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudseed.keystone.errors import Immutable, Invalid

MAX_TEXT = 65_535


def check_text(field: str, value: str | None, *, minimum: int = 0, maximum: int = MAX_TEXT) -> None:
    """Raises Invalid for a text that is too short, too long, or holds a NUL."""
    if value is None:
        return
    if not minimum <= len(value) <= maximum:
        raise Invalid(f"Invalid input for field/attribute {field}. It must have {minimum} to {maximum} characters, "
                      f"not {len(value)}.")
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise Invalid(f"Invalid input for field/attribute {field}. It holds characters that cannot be stored.")


def check_name(field: str, value: str, maximum: int = 255) -> str:
    """A name with something in it that can be seen, and without control characters.  Returns it stripped."""
    check_text(field, value, minimum=1, maximum=maximum)
    if not value.strip():
        raise Invalid(f"Invalid input for field/attribute {field}. It must not be blank.")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise Invalid(f"Invalid input for field/attribute {field}. It must not hold control characters.")
    return value.strip()


def check_id(field: str, value: str) -> None:
    """An id that a client chose."""
    check_text(field, value, minimum=1, maximum=64)
    if any(ord(c) < 33 or ord(c) == 127 for c in value):
        raise Invalid(f"Invalid input for field/attribute {field}. It must not hold spaces or control characters.")


def merge_options(current: Mapping[str, Any], patch: Mapping[str, Any] | None,
                  known: Mapping[str, type]) -> dict[str, Any]:
    """Resource options after a change: null removes one.  Raises Invalid for one that does not exist."""
    merged = dict(current)
    for name, value in (patch or {}).items():
        if name not in known:
            raise Invalid(f"Invalid input for field/attribute options. There is no option {name!r}; "
                          f"known are {', '.join(sorted(known))}.")
        if value is None:
            merged.pop(name, None)
        elif not isinstance(value, known[name]):
            raise Invalid(f"Invalid input for field/attribute options. {name!r} must be of type "
                          f"{known[name].__name__}.")
        else:
            merged[name] = value
    return merged


RESOURCE_OPTIONS: Mapping[str, type] = {"immutable": bool}


def check_immutable(noun: str, row: Any, options: Mapping[str, Any] | None = None) -> None:
    """Refuse to change what is immutable, unless the change itself lifts that."""
    if row.options.get("immutable") and (options is None or options.get("immutable", True)):
        raise Immutable(noun, row.id)
