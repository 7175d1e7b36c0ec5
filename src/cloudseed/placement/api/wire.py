"""What placement's resources share: bodies, queries, permission, and headers that came with a microversion."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from email.utils import format_datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import (
    CloudseedError,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
)
from cloudseed.kernel.http import faults, json
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Microversions, Version, render
from cloudseed.kernel.http.request import Request

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

T = TypeVar("T")
BODY_LIMIT = 4 * 2**20  # bytes; a reshape of a large tree, or the allocations of many consumers
NAME = r"^[A-Z0-9_]+\Z"  # not $, which lets a newline pass
ClassName = Annotated[str, msgspec.Meta(pattern=NAME, max_length=255)]
Uuid36 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F-]{36}\Z")]
Amount = Annotated[int, msgspec.Meta(ge=1)]
Owner = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


def normal_uuid(value: str) -> str | None:
    """A uuid in any of its spellings as 8-4-4-4-12 in lower case; None when it is none."""
    plain = value.replace("urn:", "").replace("uuid:", "").strip("{}").replace("-", "").lower()
    if len(plain) != 32 or not all(c in "0123456789abcdef" for c in plain):
        return None
    return str(uuid.UUID(plain))


def require_uuid(value: str, field: str) -> str:
    """`value` normalized.  Raises Invalid that names the field."""
    normal = normal_uuid(value)
    if normal is None:
        raise Invalid(f"JSON does not validate: {value[:100]!r} is not a 'uuid' (field {field}).")
    return normal


async def read_json(req: Request, type: type[T] | Any) -> T:
    """The body as `type`.  Raises UnsupportedMediaType, Invalid, BodyTooLarge."""
    kind = (req.content_type or "").partition(";")[0].strip().lower()
    if not kind and (req.content_length or 0) > 0:
        raise Invalid("content-type header required when content-length > 0")
    if kind != "application/json":
        raise UnsupportedMediaType(f"The media type {kind or None} is not supported, use application/json")
    body = await req.body(BODY_LIMIT)
    json.check_depth(body)
    try:
        value: T = msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as exc:
        raise Invalid(f"JSON does not validate: {exc}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(f"Malformed JSON: {exc}") from None
    return value


def authorize(placement: Placement, ctx: Context, rule: str, target: Mapping[str, Any] | None = None) -> None:
    """Raises Forbidden.  As upstream, placement works with tokens for a project only."""
    if ctx.identity.project_id is None:
        raise Forbidden(f"Policy does not allow {rule} to be performed. It needs a token scoped to a project.")
    placement.policy.enforce(rule, ctx.identity, target)


def require_method(req: Request, minimum: Version) -> None:
    """A method that came later answers 405 before, where its URL existed already."""
    if req.microversion < minimum:
        raise MethodNotAllowed("The method specified is not allowed for this resource.")


def accept_json(req: Request) -> None:
    """Raises NotAcceptable when the client wants anything but JSON."""
    accept = req.get_header("Accept")
    if accept and not req.client_accepts("application/json"):
        raise NotAcceptable("Only application/json is provided")


class Query(NamedTuple):
    """A query string: each parameter's values in order.  Of several values, the last one counts."""

    values: Mapping[str, list[str]]

    def all(self, name: str) -> list[str]:
        return self.values.get(name, [])

    def last(self, name: str) -> str | None:
        values = self.values.get(name)
        return values[-1] if values else None

    def only(self, known: Collection[str] | Callable[[str], bool]) -> Query:
        """Itself; raises Invalid for a parameter that is not known in this microversion."""
        is_known = known if callable(known) else known.__contains__
        unknown = sorted(name for name in self.values if not is_known(name))
        if unknown:
            raise Invalid("Invalid query string parameters: Additional properties are not allowed "
                          f"({', '.join(repr(name[:100]) for name in unknown)} unexpected in this microversion)")
        return self


def query_of(req: Request) -> Query:
    """Raises Invalid for control characters."""
    values = {name: value if isinstance(value, list) else [value] for name, value in req.params.items()}
    for name, texts in values.items():
        if any(ord(c) < 32 for text in (name, *texts) for c in text):
            raise Invalid(f"Invalid query string parameters: {name[:100]!r} holds control characters.")
    return Query(values)


def prefix_of(req: Request) -> str:
    """The path under which the service is mounted, as links have it."""
    return urlsplit(req.base_url).path


def say_modified(req: Request, resp: Response, times: Iterable[datetime.datetime | None] = ()) -> None:
    """From 1.15 on: when this last changed (now, for what has no such time), and that caches must ask."""
    if req.microversion >= (1, 15):
        known = [time for time in times if time is not None]
        resp.set_header("Last-Modified", format_datetime(max(known) if known else utcnow(), usegmt=True))
        resp.set_header("Cache-Control", "no-cache")


def error_for_version(versions: Microversions) -> Callable[[Request, Response, CloudseedError], Awaitable[None]]:
    """The last word on an error: error codes came with 1.23; who missed the microversions gets their range."""
    async def adapt(req: Request, resp: Response, error: CloudseedError) -> None:
        if error.status == 401:
            resp.media = faults.keystone(error, req.ctx)  # what keystonemiddleware answers for every service
            return
        entry = resp.media["errors"][0]
        if req.microversion < (1, 23):
            del entry["code"]
        if error.status == 406 and req.microversion == (0, 0):
            entry["max_version"], entry["min_version"] = render(versions.maximum), render(versions.minimum)

    return adapt
