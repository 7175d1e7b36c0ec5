"""Passwords: bcrypt in worker threads, and a short memory of what was just verified.

Hashes are bcrypt's own format, keystone's default.  bcrypt sees 72 bytes; keystone cuts longer passwords there,
so that two passwords with the same beginning are one.  Here a longer one (or one with a NUL) is first reduced by
SHA-256 and base64, and its hash carries the prefix `$bcrypt-sha256$`; shorter ones stay exchangeable with
keystone's.

A hash costs a quarter of a second by design.  A login with the same password moments later need not pay it
again: a digest of (user's hash, password) under a random key that exists only in this process's memory is kept
for a few minutes.  It proves nothing without that key, and a changed password has another hash, so it is dropped
by itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

T = TypeVar("T")
MAX_LENGTH = 4096  # characters, keystone's max_password_length
_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LONG = "$bcrypt-sha256$"
REMEMBER_SECONDS = 300.0
REMEMBER_ENTRIES = 10_000


def _material(password: bytes) -> bytes:
    return base64.b64encode(hashlib.sha256(password).digest())


def _is_long(password: bytes) -> bool:
    return len(password) > 72 or b"\0" in password


def hash_password(password: str, rounds: int) -> str:
    """Blocks for a long time: see `Passwords.hash`."""
    data = password.encode("utf-8", "surrogatepass")
    if _is_long(data):
        return _LONG + bcrypt.hashpw(_material(data), bcrypt.gensalt(rounds)).decode()
    return bcrypt.hashpw(data, bcrypt.gensalt(rounds)).decode()


def check_password(password: str, hashed: str) -> bool:
    """Blocks for a long time: see `Passwords.verify`."""
    data = password.encode("utf-8", "surrogatepass")
    if hashed.startswith(_LONG):
        return bcrypt.checkpw(_material(data), hashed.removeprefix(_LONG).encode())
    if _is_long(data):
        bcrypt.checkpw(_material(data), hashed.encode())  # as long as any other wrong password
        return False
    return bcrypt.checkpw(data, hashed.encode())


class Passwords:
    """Hashes and verifies without stopping the loop."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        # threads of its own, no more than processors: a flood of logins must not keep others from the default pool
        self._threads = ThreadPoolExecutor(max_workers=max(1, os.cpu_count() or 1), thread_name_prefix="password")
        # what a password for nobody is held against: well-formed, made by no password, as dear as any other
        filler = "".join(secrets.choice(_ALPHABET) for _ in range(31))
        self._nobody = bcrypt.gensalt(rounds).decode() + filler

    async def hash(self, password: str) -> str:
        return await self._run(hash_password, password, self._rounds)

    async def hash_random(self, secret: str) -> str:
        """For secrets that we made ourselves from 128 bits or more: nobody can guess them, so the lowest cost
        is as safe as the highest, and a start with seven service users does not wait for seconds."""
        return await self._run(hash_password, secret, 4)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether `password` made `hashed`.  With None (no such user, or no password) it costs the same, and
        is False."""
        if hashed is None:
            await self._run(check_password, password, self._nobody)
            return False
        digest = hashlib.blake2b(hashed.encode() + b"\0" + password.encode("utf-8", "surrogatepass"),
                                 key=self._key, digest_size=32).digest()
        until = self._verified.get(digest)
        now = time.monotonic()
        if until is not None and until > now:
            return True
        if not await self._run(check_password, password, hashed):
            if f"${self._rounds:02d}$" not in hashed[:22]:  # a cheaper hash must not tell that this user exists
                await self._run(check_password, password, self._nobody)
            return False
        self._verified[digest] = now + REMEMBER_SECONDS
        self._verified.move_to_end(digest)
        if len(self._verified) > REMEMBER_ENTRIES:
            self._verified.popitem(last=False)
        return True

    async def _run(self, work: Callable[..., T], *arguments: str | int) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
