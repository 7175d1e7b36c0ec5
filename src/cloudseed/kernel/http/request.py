"""A request as handlers see it: falcon's, with our context and with bodies that have limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import falcon.asgi

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import BodyTooLarge, Invalid
from cloudseed.kernel.http import json

T = TypeVar("T")
DEFAULT_BODY_LIMIT = 114_688  # bytes; upstream's oslo.middleware limit


class RequestState:
    """What the edge and the app know of one request beside the ASGI scope; lives in `scope["cloudseed"]`."""

    __slots__ = ("authenticated_as", "base_url", "caller", "context", "issued_audit_id", "truncated", "wrote")

    def __init__(self, context: Context, caller: str | None, base_url: str) -> None:
        self.context = context
        self.caller = caller  # the service part that calls, None for a client outside
        self.base_url = base_url  # scheme://host:port/prefix, without a slash at the end
        self.wrote = False  # a database was changed before the answer began
        self.truncated = False  # the client went away before its body ended
        self.issued_audit_id: str | None = None  # keystone: the token just issued
        self.authenticated_as: str | None = None  # audit id of the validated token


class ClientGone(Invalid):
    template = "The client closed the connection before the body ended."


class Request(falcon.asgi.Request):
    """`ctx` says who asks; `body`, `json` and `chunks` read the body; `microversion` is (major, minor)."""

    microversion: tuple[int, int] = (0, 0)

    @property
    def state(self) -> RequestState:
        state: RequestState = self.scope["cloudseed"]
        return state

    @property
    def ctx(self) -> Context:
        return self.state.context

    @property
    def base_url(self) -> str:
        """The service's own address as the client sees it: scheme, host, port and prefix."""
        return self.state.base_url

    async def chunks(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """The body piece by piece.  Raises BodyTooLarge past `limit` bytes, ClientGone when it is cut short."""
        total = 0
        if limit is not None and (self.content_length or 0) > limit:
            raise BodyTooLarge(limit=limit)
        async for chunk in self.stream:
            total += len(chunk)
            if limit is not None and total > limit:
                raise BodyTooLarge(limit=limit)
            if chunk:
                yield chunk
        if self.state.truncated or (self.content_length is not None and total < self.content_length):
            raise ClientGone()

    async def body(self, limit: int = DEFAULT_BODY_LIMIT) -> bytes:
        return b"".join([chunk async for chunk in self.chunks(limit)])

    async def json(self, type: type[T] | Any = Any, limit: int = DEFAULT_BODY_LIMIT) -> T:
        """The body decoded and checked as `type` (a msgspec Struct or any type).  Raises Invalid."""
        value: T = json.decode(await self.body(limit), type)
        return value

    def text_param(self, name: str) -> str | None:
        """A query parameter's last value, or None.  NUL and other control characters are refused."""
        value = self.params.get(name)
        if isinstance(value, list):
            value = value[-1]
        if value is not None and any(ord(c) < 32 for c in value):
            raise Invalid(f"The query parameter {name} holds control characters.")
        return value

    def bool_param(self, name: str, default: bool = False) -> bool:
        value = self.text_param(name)
        if value is None:
            return default
        if value.lower() in ("1", "true", "yes", "on", "t", "y", ""):
            return True
        if value.lower() in ("0", "false", "no", "off", "f", "n"):
            return False
        raise Invalid(f"Invalid value {value!r} for the query parameter {name}: it must be true or false.")

    def int_param(
        self, name: str, default: int | None = None, minimum: int = 0, maximum: int = 2**31 - 1
    ) -> int | None:
        value = self.text_param(name)
        if value is None:
            return default
        try:
            number = int(value)
        except ValueError:
            raise Invalid(f"Invalid value {value!r} for the query parameter {name}: it must be an integer.") from None
        if not minimum <= number <= maximum:
            raise Invalid(
                f"Invalid value {value!r} for the query parameter {name}: it must be between {minimum} and {maximum}."
            )
        return number
