"""The token itself: what it holds and how it is written.

A token is encrypted and signed (Fernet) and holds ids only; nothing about it is stored.  What it means is in
`meanings.py`.  Its payload is a MessagePack array; ids that are 32 hex digits take 16 bytes, so that a token is
as short as keystone's (about 200 characters).
"""

from __future__ import annotations

import base64
import binascii
import time
import uuid
from typing import Any

import msgspec

from cloudseed.keystone.errors import TokenNotFound
from cloudseed.keystone.keys import BadToken, KeyRing
from cloudseed.keystone.scopes import DOMAIN, PROJECT, SYSTEM, UNSCOPED, Scope

METHODS = ("password", "token", "application_credential", "totp", "ec2credential", "trust")  # a bit each: append only
_KINDS = (UNSCOPED, PROJECT, DOMAIN, SYSTEM)
MAX_TOKEN = 1024  # characters; ours are about 200
_FORM = 1

_Id = Any  # str, or bytes for 32 hex digits


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says.  Times are Unix seconds.  `audit_ids`: its own and, when it was got with another token,
    the one at the root of that chain."""

    user_id: str
    methods: tuple[str, ...]
    scope: Scope
    audit_ids: tuple[str, ...]
    issued_at: float
    expires_at: float
    application_credential_id: str | None = None
    trust_id: str | None = None


class _Payload(msgspec.Struct, array_like=True):
    form: int
    user: _Id
    methods: int
    kind: int
    scope: _Id
    issued_us: int
    expires: int
    audit_ids: list[bytes]
    application_credential: _Id | None = None
    trust: _Id | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Payload).decode


def new_audit_id() -> str:
    """A name for a token that reveals nothing of it."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _pack(value: str) -> _Id:
    try:
        packed = bytes.fromhex(value) if len(value) == 32 else b""
    except ValueError:
        return value
    return packed if packed.hex() == value else value


def _unpack(value: _Id) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def seal(keys: KeyRing, claims: Claims) -> str:
    """The token that carries `claims`."""
    payload = _Payload(
        form=_FORM, user=_pack(claims.user_id), methods=sum(1 << METHODS.index(name) for name in claims.methods),
        kind=_KINDS.index(claims.scope.kind), scope=_pack(claims.scope.id), issued_us=round(claims.issued_at * 1e6),
        expires=int(claims.expires_at),
        audit_ids=[base64.urlsafe_b64decode(audit_id + "==") for audit_id in claims.audit_ids],
        application_credential=_pack(claims.application_credential_id) if claims.application_credential_id else None,
        trust=_pack(claims.trust_id) if claims.trust_id else None)
    return keys.encrypt(_encode(payload)).rstrip(b"=").decode()


def unseal(keys: KeyRing, token: str) -> Claims:
    """The claims of a token that was sealed here, expired or not.  Raises TokenNotFound."""
    if not token or len(token) > MAX_TOKEN or not token.isascii():
        raise TokenNotFound()
    try:
        payload = _decode(keys.decrypt(token.encode() + b"=" * (-len(token) % 4)))
        if payload.form != _FORM:
            raise TokenNotFound()
        return Claims(
            user_id=_unpack(payload.user), scope=Scope(_KINDS[payload.kind], _unpack(payload.scope)),
            methods=tuple(name for bit, name in enumerate(METHODS) if payload.methods >> bit & 1),
            audit_ids=tuple(base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in payload.audit_ids),
            issued_at=payload.issued_us / 1e6, expires_at=float(payload.expires),
            application_credential_id=_unpack(payload.application_credential)
            if payload.application_credential is not None else None,
            trust_id=_unpack(payload.trust) if payload.trust is not None else None)
    except (BadToken, msgspec.DecodeError, binascii.Error, IndexError, UnicodeDecodeError):
        raise TokenNotFound() from None


def claim(*, user_id: str, methods: tuple[str, ...], scope: Scope, lifetime_s: float, root_audit_id: str | None = None,
          expires_at: float | None = None, application_credential_id: str | None = None,
          trust_id: str | None = None) -> Claims:
    """Claims of a new token, issued now.  `expires_at` bounds it when it is derived from something that ends."""
    now = time.time()
    own = new_audit_id()
    return Claims(user_id=user_id, methods=methods, scope=scope,
                  audit_ids=(own,) if root_audit_id is None else (own, root_audit_id), issued_at=now,
                  expires_at=float(int(min(now + lifetime_s, expires_at or float("inf")))),
                  application_credential_id=application_credential_id, trust_id=trust_id)
