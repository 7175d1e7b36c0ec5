"""Tokens to identities, with a cache that the services of a process share.

As keystonemiddleware does, a service asks keystone about a token that it has not seen (GET /v3/auth/tokens
with its own token), and remembers the answer for a while.  Revocations reach the cache over the bus at once.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import time
from collections import OrderedDict
from typing import Any

import msgspec

from cloudseed.kernel.context import Context, Identity
from cloudseed.kernel.errors import CloudseedError, NotFound, Unauthenticated, Unavailable
from cloudseed.kernel.http.client import ServiceSession

CACHE_SECONDS = 300.0
CACHE_SIZE = 10_000
MAX_TOKEN = 16_384


class TokenCache:
    """Validated tokens by digest.  Holds no token in clear."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[float, Identity | None]] = OrderedDict()  # until when, by no wall clock
        self.pending: dict[bytes, asyncio.Future[Identity]] = {}
        self.generation = 0

    @staticmethod
    def key(token: str) -> bytes:
        return hashlib.blake2b(token.encode(), digest_size=20).digest()

    def get(self, key: bytes) -> Identity | None:
        """The identity, or None when the cache does not know.  Raises Unauthenticated for a known bad token."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        until, identity = entry
        if until <= time.monotonic() or (identity is not None and _is_over(identity)):
            del self._entries[key]
            return None
        if identity is None:
            raise Unauthenticated()
        return identity

    def put(self, key: bytes, identity: Identity | None) -> None:
        self._entries[key] = (time.monotonic() + (CACHE_SECONDS if identity else 10.0), identity)
        if len(self._entries) > CACHE_SIZE:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget all: something was revoked."""
        self.generation += 1
        self._entries.clear()


def _is_over(identity: Identity) -> bool:
    return bool(identity.expires_at) and identity.expires_at <= time.time()


class TokenValidator:
    """Validates for one service part, through the shared cache."""

    def __init__(self, session: ServiceSession, cache: TokenCache) -> None:
        self._session = session
        self._cache = cache

    async def validate(self, ctx: Context, token: str, service_token: str | None = None) -> Identity:
        """The identity behind `token`; Unauthenticated when it is expired, revoked, forged or malformed."""
        identity = await self._one(ctx, token)
        if service_token:
            service = await self._one(ctx, service_token)
            identity = msgspec.structs.replace(identity, service_roles=service.roles)
        return identity

    async def _one(self, ctx: Context, token: str) -> Identity:
        if len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable():
            raise Unauthenticated()
        key = self._cache.key(token)
        known = self._cache.get(key)
        if known is not None:
            return msgspec.structs.replace(known, token=token)
        pending = self._cache.pending.get(key)
        if pending is not None:
            return await asyncio.shield(pending)
        future: asyncio.Future[Identity] = asyncio.get_running_loop().create_future()
        self._cache.pending[key] = future
        try:
            identity = await self._ask(ctx, token, key)
        except BaseException as exc:
            # cancelled waiters would cancel everybody else's; they get an error that says to try again
            failure = exc if isinstance(exc, CloudseedError) else Unavailable("The token could not be validated.")
            future.set_exception(failure)
            future.exception()
            raise
        else:
            future.set_result(identity)
            return identity
        finally:
            del self._cache.pending[key]

    async def _ask(self, ctx: Context, token: str, key: bytes) -> Identity:
        generation = self._cache.generation
        try:
            answer = await self._session.request(
                ctx, "identity", "GET", "/v3/auth/tokens", headers={"X-Subject-Token": token}
            )
        except NotFound:
            self._cache.put(key, None)
            raise Unauthenticated() from None
        except Unauthenticated as exc:
            raise Unavailable("This service cannot authenticate to keystone.", detail=exc.message) from exc
        identity = identity_from_token(answer.json()["token"], token)
        if generation == self._cache.generation:  # nothing was revoked while we asked
            self._cache.put(key, msgspec.structs.replace(identity, token=""))
        return identity


def identity_from_token(body: dict[str, Any], token: str) -> Identity:
    """Keystone's token body (GET /v3/auth/tokens) as an Identity."""
    user = body.get("user", {})
    project = body.get("project") or {}
    return Identity(
        user_id=user.get("id", ""),
        user_name=user.get("name", ""),
        user_domain_id=(user.get("domain") or {}).get("id", ""),
        project_id=project.get("id"),
        project_name=project.get("name"),
        project_domain_id=(project.get("domain") or {}).get("id"),
        domain_id=(body.get("domain") or {}).get("id"),
        system=bool((body.get("system") or {}).get("all")),
        roles=frozenset(role["name"].lower() for role in body.get("roles", ())),
        token=token,
        audit_id=(body.get("audit_ids") or [""])[-1],
        expires_at=datetime.datetime.fromisoformat(body["expires_at"].replace("Z", "+00:00")).timestamp(),
        auth_methods=tuple(body.get("methods", ())),
        application_credential_id=(body.get("application_credential") or {}).get("id"),
    )
