"""Who asks, and in which flow: one object travels with each request, bus message and durable operation.

Identity comes only from a validated token, never from headers that a client sent.  The trace follows W3C
Trace Context (https://www.w3.org/TR/trace-context/): `trace_id` names the flow, `span_id` the exchange.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Any

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a validated token says.  Field names are keystone's; `roles` are names in lower case."""

    user_id: str = ""
    user_name: str = ""
    user_domain_id: str = ""
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None
    system: bool = False  # system-scoped ("all")
    roles: frozenset[str] = frozenset()
    is_admin_project: bool = True
    service_roles: frozenset[str] = frozenset()  # roles of an accompanying X-Service-Token
    token: str = ""
    audit_id: str = ""
    expires_at: float = 0.0  # Unix time
    auth_methods: tuple[str, ...] = ()
    application_credential_id: str | None = None
    trust_id: str | None = None

    @property
    def is_anonymous(self) -> bool:
        return not self.user_id


ANONYMOUS = Identity()


class Trace(msgspec.Struct, frozen=True):
    """Position in a flow."""

    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"

    def child(self) -> Trace:
        return Trace(self.trace_id, new_span_id())


def new_span_id() -> str:
    return secrets.token_hex(8)


def new_trace() -> Trace:
    return Trace(secrets.token_hex(16), new_span_id())


def trace_for_audit_id(audit_id: str) -> str:
    """The flow of a client's run: all requests with one token belong together, in every process."""
    return hashlib.blake2b(audit_id.encode(), digest_size=16).hexdigest()


def parse_traceparent(value: str | None) -> Trace | None:
    """A `traceparent` header, or None when absent or malformed (then it must be ignored, as W3C says)."""
    if not value or len(value) != 55:
        return None
    parts = value.split("-")
    if len(parts) != 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        if int(parts[1], 16) == 0:
            return None
        int(parts[2], 16)
    except ValueError:
        return None
    return Trace(parts[1].lower(), parts[2].lower())


def new_request_id() -> str:
    return "req-" + str(uuid.uuid4())


class Context(msgspec.Struct, kw_only=True):
    """What travels with a piece of work.  Mutable only while its HTTP request is being received."""

    request_id: str = msgspec.field(default_factory=new_request_id)
    global_request_id: str | None = None
    identity: Identity = ANONYMOUS
    trace: Trace = msgspec.field(default_factory=new_trace)

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = msgspec.to_builtins(self)
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Context:
        return msgspec.convert(wire, cls)

    @property
    def project_id(self) -> str:
        """The project of the token; empty for other scopes."""
        return self.identity.project_id or ""

    @property
    def user_id(self) -> str:
        return self.identity.user_id
