"""Validating tokens: here, without asking anybody, for keystone's own requests and for the other services'."""

from __future__ import annotations

import time

import msgspec

from cloudseed.kernel import errors
from cloudseed.kernel.context import Context, Identity
from cloudseed.keystone.errors import TokenNotFound
from cloudseed.keystone.meanings import Meaning, describe
from cloudseed.keystone.revocations import EXPIRED_WINDOW_S
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.tokens import unseal


async def validate(ks: Keystone, token: str, *, allow_expired: bool = False) -> Meaning:
    """What a token means now.  Raises TokenNotFound when it is expired, revoked, forged or means nothing any more.

    `allow_expired`: it may have expired within the last two days (a service finishes what a user began).
    """
    digest = ks.memory.digest(token)
    meaning: Meaning | None = ks.memory.token(digest)
    if meaning is None:
        generation = ks.memory.generation
        claims = unseal(ks.token_keys, token)
        try:
            meaning = await describe(ks, claims)
        except errors.Unauthenticated as exc:
            raise TokenNotFound(detail=exc.detail) from None
        ks.memory.remember_token(digest, meaning, generation)
    now = time.time()
    if meaning.ends_at <= now and not (
            allow_expired and meaning.ends_at == meaning.claims.expires_at > now - EXPIRED_WINDOW_S):
        raise TokenNotFound(detail="the token has expired")
    return meaning


class LocalValidator:
    """Implements kernel.http.app.Validator without a request to itself."""

    def __init__(self, ks: Keystone) -> None:
        self._ks = ks

    async def validate(self, ctx: Context, token: str, service_token: str | None = None) -> Identity:
        identity = msgspec.structs.replace(await self._one(token), token=token)
        if service_token:
            identity = msgspec.structs.replace(identity, service_roles=(await self._one(service_token)).roles)
        return identity

    async def _one(self, token: str) -> Identity:
        try:
            meaning = await validate(self._ks, token)
        except TokenNotFound as exc:
            raise errors.Unauthenticated(detail=exc.detail) from None
        if meaning.has_access_rules:
            # they name what the token may be used for; the identity API does not hold requests against them, so
            # it must not take the token for more than it is
            raise errors.Unauthenticated(detail="the token is limited by access rules")
        return meaning.identity
