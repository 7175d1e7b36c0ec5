"""Temporary URLs: a signature, made with a key that the owner set, instead of a token.

    GET /v1/AUTH_x/c/o?temp_url_sig=<hex hmac>&temp_url_expires=<Unix time or ISO 8601>[&temp_url_prefix=p]
    hmac over "METHOD\\nexpires\\npath", path as the client sees it or from /v1 on

Keys are `X-Account-Meta-Temp-URL-Key[-2]` and the container's own.  A signature for GET, PUT or POST allows HEAD.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Identity
from cloudseed.kernel.errors import Unauthenticated
from cloudseed.swift.access import RESELLER_PREFIX
from cloudseed.swift.containers import find_container
from cloudseed.swift.models import accounts
from cloudseed.swift.store import Swift, Target

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
_DIGESTS = {40: hashlib.sha1, 64: hashlib.sha256, 128: hashlib.sha512}
_ALSO = {"HEAD": ("HEAD", "GET", "PUT", "POST")}
_KEYS = ("-meta-temp-url-key", "-meta-temp-url-key-2")


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"Temp URL invalid: {why}.", headers={"WWW-Authenticate": 'Swift realm="unknown"'})


def _expires(text: str) -> float:
    try:
        if text.isascii() and text.isdigit() and len(text) < 12:
            return float(text)
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
    except (ValueError, OverflowError):
        raise _refused("temp_url_expires is not a time") from None


async def authorize(swift: Swift, method: str, prefix: str, target: Target,
                    params: Mapping[str, Any]) -> Identity | None:
    """The identity that a request's signature stands for: the account's owner, for this object alone; None
    when it has no signature.  Raises Unauthenticated for one that is wrong or over.  `prefix`: where swift is
    mounted in the URL that the client sees."""
    signature, expires = params.get("temp_url_sig"), params.get("temp_url_expires")
    if signature is None and expires is None:
        return None
    if not isinstance(signature, str) or not isinstance(expires, str) or not target.name or method not in METHODS:
        raise _refused("it needs a signature and an expiry, for an object")
    moment = _expires(expires)
    if moment < time.time():
        raise _refused("it has expired")
    digest = _DIGESTS.get(len(signature))
    if digest is None or not signature.isascii():
        raise _refused("the signature is not a hex digest")
    name = target.name
    wanted_prefix = params.get("temp_url_prefix")
    scope = ""
    if isinstance(wanted_prefix, str):
        if not name.startswith(wanted_prefix):
            raise _refused("the object is not below its prefix")
        name, scope = wanted_prefix, "prefix:"
    path = f"/v1/{target.account}/{target.container}/{name}"
    # `expires` is signed as a number, in whichever form it was sent
    for key in await _keys(swift, target):
        for verb in _ALSO.get(method, (method,)):
            for base in ("", prefix):
                text = f"{verb}\n{int(moment)}\n{scope}{base}{path}"
                if hmac.compare_digest(hmac.new(key.encode(), text.encode(), digest).hexdigest(), signature.lower()):
                    project = target.account.removeprefix(RESELLER_PREFIX)
                    return Identity(user_id="temp-url", project_id=project, roles=frozenset({"swiftoperator"}))
    raise _refused("the signature does not fit")


async def _keys(swift: Swift, target: Target) -> list[str]:
    async with swift.db.read() as tx:
        account = await tx.scalar(sa.select(accounts.c.metadata).where(accounts.c.name == target.account)) or {}
        container = await find_container(tx, target)
    found = [account.get(f"x-account{name}") for name in _KEYS]
    if container is not None:
        found += [container.metadata.get(f"x-container{name}") for name in _KEYS]
    return [key for key in found if key]
