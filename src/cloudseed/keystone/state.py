"""Keystone's own object: what every domain function works on."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.config import Config
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Database, Tx
from cloudseed.kernel.errors import CloudseedError, Conflict
from cloudseed.kernel.policy import Policy
from cloudseed.keystone import shared
from cloudseed.keystone.keys import KeyRepository, KeyRing
from cloudseed.keystone.passwords import Passwords

T = TypeVar("T")
MEMORY_ENTRIES = 10_000
TOKEN_ENTRIES = 8_000  # about 1.5 KiB each


class Memory:
    """What was read from the database and still holds: dropped as a whole by any change of identity data.

    `generation` counts the drops: what was read under an older one must not be remembered.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._values: dict[Any, Any] = {}
        self._tokens: OrderedDict[bytes, Any] = OrderedDict()

    async def recall(self, key: Any, load: Callable[[], Awaitable[T]]) -> T:
        """The value under `key`, loaded when it is not known.  What is not there (None) is not remembered: strangers
        could fill the memory with names that they invent."""
        try:
            known: T = self._values[key]
        except KeyError:
            generation = self.generation
            known = await load()
            if generation == self.generation and known is not None:
                if len(self._values) >= MEMORY_ENTRIES:
                    self._values.clear()
                self._values[key] = known
        return known

    @staticmethod
    def digest(token: str) -> bytes:
        """Under what a token is remembered: never the token itself."""
        return hashlib.blake2b(token.encode(), digest_size=20).digest()

    def token(self, digest: bytes) -> Any:
        return self._tokens.get(digest)

    def remember_token(self, digest: bytes, value: Any, generation: int) -> None:
        if generation == self.generation:
            self._tokens[digest] = value
            if len(self._tokens) > TOKEN_ENTRIES:
                self._tokens.popitem(last=False)

    def clear(self) -> None:
        self.generation += 1
        self._values.clear()
        self._tokens.clear()


class Keystone:
    """The service's parts, handed to every function."""

    def __init__(self, *, config: Config, db: Database, policy: Policy, bus: Bus, passwords: Passwords,
                 token_keys: KeyRing, credential_keys: KeyRing, alone: bool) -> None:
        self.config = config
        self.db = db
        self.policy = policy
        self.bus = bus
        self.passwords = passwords
        self.token_keys = token_keys
        self.credential_keys = credential_keys
        self.memory = Memory()
        self._alone = alone  # no other process serves keystone
        self._seen = -1  # the latest change that we know of, with others

    @asynccontextmanager
    async def changing(self, ctx: Context, *, forget: bool = True,
                       conflict: CloudseedError | None = None) -> AsyncIterator[Tx]:
        """A write transaction after which nothing that was remembered is believed.

        `forget`: the change may end tokens or change what they say, so other services must ask again too.
        `conflict`: raised when the database refuses a duplicate, or a reference to what is not there (or no more).
        """
        try:
            async with self.db.write() as tx:
                yield tx
                if not self._alone:
                    await shared.note_change(tx)
        except sa.exc.IntegrityError as exc:
            if conflict is None:
                raise Conflict("The request conflicts with a change that was made at the same time; try again.",
                               detail=str(exc)) from exc
            raise conflict from exc
        self.memory.clear()
        if forget:
            await self.bus.fanout(ctx, "token-cache", "forget")

    async def load_keys(self) -> None:
        """Read the keys again: another process may have made or replaced them."""
        for keys in (self.token_keys, self.credential_keys):
            if isinstance(keys, shared.SharedKeys):
                await keys.load()
            elif isinstance(keys, KeyRepository):
                keys.load()

    async def look(self) -> bool:
        """Believe nothing that was remembered before another process's change; whether there was one."""
        latest = await shared.last_change(self.db)
        if latest == self._seen:
            return False
        self.memory.clear()
        await self.load_keys()
        self._seen = latest
        return True

    async def rotate_keys(self, ctx: Context) -> int:
        """Replace the key that signs tokens (bus call "rotate_keys" on the topic "keystone").  Tokens live on:
        the old keys are kept for as long as one could still be alive, if rotations are an expiry apart."""
        match self.token_keys:
            case shared.SharedKeys() as keys:
                return await keys.rotate()
            case KeyRepository() as keys:
                return keys.rotate()
        raise AssertionError("keys of neither kind")

    def enforce(self, ctx: Context, rule: str, target: Mapping[str, Any] | None = None) -> None:
        """Raises Forbidden unless the caller may do `identity:<rule>` to `target`."""
        self.policy.enforce(f"identity:{rule}", ctx.identity, target)

    def allows(self, ctx: Context, rule: str, target: Mapping[str, Any] | None = None) -> bool:
        return self.policy.check(f"identity:{rule}", ctx.identity, target)
