"""What a value in a request must be: converters that return it in its one form, or say why not.

A converter raises `Reason`; `attributes.py` puts the attribute's name before it, as upstream words it.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Collection
from typing import Any

from cloudseed.neutron.errors import InvalidInput

Converter = Callable[[Any], Any]
_MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_DNS_LABEL = re.compile(r"^(?!-)[A-Za-z0-9-]{1,63}(?<!-)\Z")


class Reason(ValueError):
    """Why a value is refused."""


def string(maximum: int | None = 255, *, none: bool = False) -> Converter:
    """Text of at most `maximum` characters without control characters; null only when `none`."""

    def convert(value: Any) -> Any:
        if value is None and none:
            return None
        if not isinstance(value, str) or any(ord(c) < 32 and c not in "\t\n\r" for c in value) \
                or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise Reason(f"'{value}' is not a valid string")
        if maximum is not None and len(value) > maximum:
            raise Reason(f"'{value}' exceeds maximum length of {maximum}")
        return value

    return convert


def boolean(value: Any) -> bool:
    """True and false in the spellings that upstream accepts."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise InvalidInput(reason=f"'{str(value)[:255]}' cannot be converted to boolean")


def optional_boolean(value: Any) -> bool | None:
    return None if value is None else boolean(value)


def integer(minimum: int, maximum: int, *, none: bool = False) -> Converter:
    def convert(value: Any) -> Any:
        if value is None and none:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > 20:
            raise Reason(f"'{str(value)[:64]}' is not an integer")
        try:
            number = int(value)
        except ValueError:
            raise Reason(f"'{value}' is not an integer") from None
        if number < minimum:
            raise Reason(f"'{number}' is too small - must be at least '{minimum}'")
        if number > maximum:
            raise Reason(f"'{number}' is too large - must be no larger than '{maximum}'")
        return number

    return convert


def one_of(values: Collection[Any], *, none: bool = False) -> Converter:
    def convert(value: Any) -> Any:
        if (value is None and none) or (isinstance(value, str | int | None) and value in values):
            return value
        raise Reason(f"{str(value)[:255]} is not in valid_values")

    return convert


def ip_version(value: Any) -> Any:
    """4 or 6, as a number or as a digit."""
    return one_of((4, 6))(int(value) if isinstance(value, str) and value.isascii() and value.isdigit()
                          and len(value) < 10 else value)


def is_uuid(value: Any) -> bool:
    if not isinstance(value, str) or len(value) not in (32, 36):
        return False
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


def identifier(*, none: bool = False) -> Converter:
    """A UUID."""

    def convert(value: Any) -> Any:
        if value is None and none:
            return None
        if not is_uuid(value):
            raise Reason(f"'{str(value)[:255]}' is not a valid UUID")
        return value

    return convert


def mac_address(value: Any) -> str:
    text = value.lower().replace("-", ":") if isinstance(value, str) else ""
    if not _MAC.match(text) or text == "00:00:00:00:00:00" or int(text[:2], 16) & 1:
        raise Reason(f"'{str(value)[:255]}' is not a valid MAC address")
    return text


def ip(value: Any) -> str:
    """An address in its one spelling."""
    try:
        if not isinstance(value, str) or "%" in value or "/" in value:
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise Reason(f"'{str(value)[:255]}' is not a valid IP address") from None


def optional_ip(value: Any) -> str | None:
    return None if value is None else ip(value)


def cidr(value: Any) -> str:
    """A network; bits below the prefix are cleared, as upstream does for subnets."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise Reason(f"'{str(value)[:255]}' is not a valid IP subnet") from None


def optional_cidr(value: Any) -> str | None:
    return None if value is None else cidr(value)


def ip_or_cidr(value: Any) -> str:
    """An address or a network, as given."""
    return ip(value) if isinstance(value, str) and "/" not in value else cidr(value)


def list_of(convert: Converter, *, what: str = "list", unique: str = "", limit: int = 1000,
            none_is_empty: bool = True) -> Converter:
    """A list whose items `convert` accepts; `unique` words the complaint about a duplicate."""

    def items(value: Any) -> list[Any]:
        if value is None and none_is_empty:
            return []
        if not isinstance(value, list):
            raise Reason(f"'{str(value)[:255]}' is not a {what}")
        if len(value) > limit:
            raise Reason(f"it holds more than {limit} items")
        converted = [convert(item) for item in value]
        if unique:
            for index, item in enumerate(converted):
                if item in converted[:index]:
                    raise Reason(unique.format(item))
        return converted

    return items


def record(fields: dict[str, tuple[Converter, bool]], what: str) -> Converter:
    """An object with these fields: name -> (converter, required).  Others are refused."""

    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Reason(f"Invalid data format for {what}: '{str(value)[:255]}'")
        unknown = set(value) - set(fields)
        missing = {name for name, (_, required) in fields.items() if required} - set(value)
        if unknown or missing:
            raise Reason(f"Invalid data format for {what}: '{str(value)[:255]}'")
        return {name: fields[name][0](item) for name, item in value.items()}

    return convert


def json_object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Reason(f"'{str(value)[:255]}' is not a dictionary")
    return value


def nameserver(value: Any) -> str:
    try:
        return ip(value)
    except Reason as exc:
        raise Reason(f"'{str(value)[:255]}' is not a valid nameserver. {exc}") from None


def dns_name(value: Any) -> str:
    """A host name (RFC 1123 labels), with or without a domain; empty for none."""
    if value is None or value == "":
        return ""
    text = value.rstrip(".") if isinstance(value, str) else ""
    if len(text) > 253 or not text or not all(_DNS_LABEL.match(label) for label in text.split(".")):
        raise Reason(f"'{str(value)[:255]}' is not a valid DNS name: labels are letters, digits and inner hyphens, "
                     "at most 63 characters each")
    return str(value).lower()


def dns_domain(value: Any) -> str:
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or not value.endswith("."):
        raise Reason(f"'{str(value)[:255]}' is not a FQDN")
    dns_name(value)
    return value
