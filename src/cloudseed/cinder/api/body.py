"""Bodies of requests, checked as upstream's schemas do, and the forms that many answers share."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from cloudseed.cinder.errors import MetadataNotFound
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.json import describe
from cloudseed.kernel.http.microversion import Version
from cloudseed.kernel.http.request import Request

T = TypeVar("T")
MAX_INT = 2**31 - 1


async def read(req: Request, key: str, type: type[T], *, added: dict[str, Version] | None = None,
               strict_from: Version = (0, 0)) -> T:
    """The object under `key`, the body's only key, as `type` (a Struct).

    `added`: fields that exist from a version on.  From `strict_from` on unknown fields are refused, before it they
    mean nothing.  Raises Invalid that names the field.
    """
    return convert(req, (await read_object(req, key))[key], type, key, added=added, strict_from=strict_from)


async def read_object(req: Request, key: str, beside: Collection[str] = ()) -> dict[str, Any]:
    """The body: an object with `key`, and nothing but it and `beside`."""
    body: Any = await req.json()
    if not isinstance(body, dict):
        raise Invalid("Invalid input for field/attribute body. The request's body must be a JSON object.")
    if key not in body:
        raise Invalid(f"Invalid input for field/attribute body. {key!r} is a required property.")
    for name in body:
        if name != key and name not in beside:
            raise Invalid("Invalid input for field/attribute body. Additional properties are not allowed "
                          f"({shown(name)} was unexpected)")
    return body


async def read_action(req: Request, example: str) -> tuple[str, Any]:
    """The one action of a body and its value.  Raises Invalid, which shows the `example`."""
    body: Any = await req.json()
    if not isinstance(body, dict) or len(body) != 1:
        raise Invalid(f"The body must be an object with one action, such as {example}.")
    return next(iter(body.items()))


def convert(req: Request, value: Any, type: type[T], where: str, *, added: dict[str, Version] | None = None,
            strict_from: Version = (0, 0)) -> T:
    """Decoded JSON as `type`, for this request's version."""
    if isinstance(value, dict):
        names = {field.encode_name for field in msgspec.structs.fields(type)}  # type: ignore[arg-type]
        later = {name for name, version in (added or {}).items() if req.microversion < version}
        for name in [name for name in value if name not in names or name in later]:
            if req.microversion >= strict_from:
                raise Invalid(f"Invalid input for field/attribute {where}. Additional properties are not allowed "
                              f"({shown(name)} was unexpected)")
            value = {key: item for key, item in value.items() if key != name}
    converted: T = as_type(value, type, where)
    return converted


def as_type(value: Any, type: Any, where: str) -> Any:
    """Already decoded JSON as `type`.  As upstream, numbers and booleans may come as strings."""
    try:
        return msgspec.convert(value, type, strict=False)
    except msgspec.ValidationError as exc:
        cause = exc.__cause__
        if isinstance(cause, ValueError) and not isinstance(cause, msgspec.ValidationError):
            raise Invalid(str(cause) + ".") from None
        raise Invalid(describe(exc).replace("field/attribute body.", f"field/attribute {where}.")) from None


def shown(value: Any, limit: int = 80) -> str:
    """A client's value for an error text: short, and printable."""
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."


# ---- checks for Structs' __post_init__: they raise ValueError

def check_text(value: str | None, what: str, maximum: int = 255, minimum: int = 0) -> None:
    if value is None:
        return
    if not minimum <= len(value) <= maximum:
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. It must have {minimum} to "
                         f"{maximum} characters")
    if any(ord(c) < 32 and c not in "\r\n\t" for c in value):
        raise ValueError(f"Invalid input for field/attribute {what}. It holds control characters")


def check_uuid(value: str | None, what: str) -> None:
    if value is not None and not is_uuid(value):
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. {shown(value)} is not a "
                         "'uuid'")


def is_uuid(value: str) -> bool:
    digits = value.replace("-", "").lower()
    return len(digits) == 32 and all(c in "0123456789abcdef" for c in digits)


def check_pairs(value: dict[str, Any] | None, what: str = "metadata") -> None:
    """Keys of 1 to 255 characters, values of up to 255."""
    for key, item in (value or {}).items():
        check_text(key, f"{what}'s key", minimum=1)
        check_text(item, f"{what} {shown(key)}")


def check_range(value: int | None, what: str, minimum: int, maximum: int = MAX_INT) -> None:
    if value is not None and not minimum <= value <= maximum:
        edge = f"less than the minimum of {minimum}" if value < minimum else f"greater than the maximum of {maximum}"
        raise ValueError(f"Invalid input for field/attribute {what}. Value: {value}. {value} is {edge}")


def strip(value: str | None) -> str | None:
    return value.strip() if value is not None else None


# ---- answers

def when(moment: datetime.datetime | None) -> str | None:
    """A time as cinder writes it: UTC, microseconds, no zone."""
    return moment.isoformat("T", "microseconds")[:26] if moment is not None else None


def project_part(req: Request) -> str:
    """What links have between version and resource: the project, if the client's URL has it."""
    project_id = getattr(req.context, "project_id", None)
    return f"/{project_id}" if project_id else ""


def links(req: Request, collection: str, id: str) -> list[dict[str, str]]:
    root, middle = req.base_url, project_part(req)
    return [{"rel": "self", "href": f"{root}/v3{middle}/{collection}/{id}"},
            {"rel": "bookmark", "href": f"{root}{middle}/{collection}/{id}"}]


def is_admin(req: Request) -> bool:
    return "admin" in req.ctx.identity.roles


def read_pairs(value: Any, what: str = "metadata") -> dict[str, str]:
    """Metadata of a body: an object of texts."""
    pairs: dict[str, str] = as_type(value, dict[str, str], what)
    try:
        check_pairs(pairs, what)
    except ValueError as exc:
        raise Invalid(f"{exc}.") from None
    return pairs


def pick(pairs: dict[str, str], key: str) -> str:
    """One item of metadata.  Raises MetadataNotFound."""
    if key not in pairs:
        raise MetadataNotFound()
    return pairs[key]


def etag(value: Any) -> str:
    return f'"{hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:32]}"'
