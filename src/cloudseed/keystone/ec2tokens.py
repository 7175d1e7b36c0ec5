"""Tokens for requests that were signed with an EC2 key, for services that take such requests (S3, EC2).

Only services (and administrators) may ask: who holds a signature alone must not get a token for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.keystone import credentials
from cloudseed.keystone.authentication import Issued
from cloudseed.keystone.errors import Unauthenticated
from cloudseed.keystone.meanings import describe
from cloudseed.keystone.scopes import PROJECT, Scope
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.tokens import claim, seal


async def issue(ks: Keystone, ctx: Context, rule: str, access: str, is_signed: Callable[[str], bool]) -> Issued:
    """A token for the key's user and project when `is_signed(secret)`.  Raises Unauthenticated otherwise."""
    ks.enforce(ctx, rule)
    found = await credentials.find_credential(ks, credentials.ec2_id(access))
    if found is None or found.row.type != credentials.EC2:
        raise Unauthenticated(f"no EC2 key {access}")
    blob: dict[str, Any] = msgspec.json.decode(found.blob)
    secret = blob.get("secret")
    if not isinstance(secret, str) or not is_signed(secret):
        raise Unauthenticated(f"the signature with EC2 key {access} is wrong or too old")
    claims = claim(user_id=found.row.user_id, methods=("ec2credential",), scope=Scope(PROJECT, found.row.project_id),
                   lifetime_s=ks.config.token_expiration_s, application_credential_id=blob.get("app_cred_id"),
                   trust_id=blob.get("trust_id"))
    return Issued(seal(ks.token_keys, claims), await describe(ks, claims))
