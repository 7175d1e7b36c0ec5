"""Credentials: secrets that keystone keeps for users (EC2 keys, certificates, TOTP seeds), encrypted at rest."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Unavailable
from cloudseed.keystone import access as access_of_users
from cloudseed.keystone import checks, directory, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.keystone.keys import BadToken
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import credentials
from cloudseed.keystone.state import Keystone

EC2 = "ec2"
_NOT_ITS_KEY = ("A token from an application credential or a trust can neither see nor change an EC2 key that was "
                "not made with it.")


class Credential(NamedTuple):
    """`blob` in clear."""

    row: Record
    blob: str


def ec2_id(access: str) -> str:
    """An EC2 credential's id follows from its access key, as upstream has it."""
    return hashlib.sha256(access.encode()).hexdigest()


def _open(ks: Keystone, row: Record) -> Credential:
    try:
        return Credential(row, ks.credential_keys.decrypt(row.blob.encode()).decode())
    except BadToken:
        raise Unavailable(f"Credential {row.id} cannot be decrypted: the key that it was stored with is gone.") \
            from None


def _seal(ks: Keystone, blob: str) -> str:
    checks.check_text("blob", blob)
    return ks.credential_keys.encrypt(blob.encode()).decode()


def _target(user_id: str | None) -> dict[str, Any]:
    return {"target.credential.user_id": user_id}


async def find_credential(ks: Keystone, credential_id: str) -> Credential | None:
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(credentials).where(credentials.c.id == credential_id))
    return _open(ks, row) if row is not None else None


async def get_credential(ks: Keystone, ctx: Context, credential_id: str, rule: str = "get_credential") -> Credential:
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(credentials).where(credentials.c.id == credential_id))
    ks.enforce(ctx, rule, _target(row.user_id if row is not None else None))
    if row is None:
        raise NotFound("credential", credential_id)
    found = _open(ks, row)
    if not _shows(ctx, found):
        raise Forbidden(_NOT_ITS_KEY)
    return found


async def list_credentials(ks: Keystone, ctx: Context, filters: Filters) -> list[Credential]:
    """The caller's own; all that the filters let through for those who may see all."""
    if not ks.allows(ctx, "list_credentials", {}):
        wanted = filters.exact.get("user_id")
        if wanted not in (None, ctx.user_id):
            return []
        filters.exact["user_id"] = ctx.user_id
        ks.enforce(ctx, "list_credentials", _target(ctx.user_id))
    async with ks.db.read() as tx:
        found = [_open(ks, row) for row in await fetch(tx, credentials, filters, "credential")]
    return [credential for credential in found if _shows(ctx, credential)]


async def create_credential(ks: Keystone, ctx: Context, *, kind: str, blob: str, user_id: str | None,
                            project_id: str | None, extra: dict[str, Any],
                            rule: str = "create_credential") -> Credential:
    user_id = user_id or ctx.user_id
    ks.enforce(ctx, rule, _target(user_id))
    if await directory.find_user(ks, user_id) is None:
        raise NotFound("user", user_id)
    if project_id is not None and await directory.find_project(ks, project_id) is None:
        raise NotFound("project", project_id)
    credential_id = uuid.uuid4().hex
    if kind == EC2:
        if project_id is None:
            raise Invalid("Invalid input for field/attribute project_id. An ec2 credential needs a project.")
        credential_id = ec2_id(_ec2_blob(blob)["access"])
        blob = _marked(ctx, blob)
    values = {"id": credential_id, "user_id": user_id, "project_id": project_id,
              "type": checks.check_name("type", kind), "blob": _seal(ks, blob), "extra": extra}
    async with ks.changing(ctx, conflict=Conflict("credential", "Duplicate entry"), forget=False) as tx:
        row = await rows.add(tx, credentials, values)
    return Credential(row, blob)


def _ec2_blob(blob: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(blob)
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("access"), str) or not value["access"]:
        raise Invalid("Invalid input for field/attribute blob. An ec2 credential's blob is a JSON object with "
                      "access and secret.")
    return value


def _marked(ctx: Context, blob: str) -> str:
    """An EC2 key that was made with an application credential or a trust gives no more than that."""
    marks = _marks(ctx)
    return msgspec.json.encode({**_ec2_blob(blob), **marks}).decode() if marks else blob


def _marks(ctx: Context) -> dict[str, str]:
    """What an EC2 key that the caller makes must say, so that it is as limited as the caller's token."""
    limits = {"app_cred_id": ctx.identity.application_credential_id, "trust_id": ctx.identity.trust_id}
    return {name: value for name, value in limits.items() if value is not None}


def _shows(ctx: Context, credential: Credential) -> bool:
    """Whether the caller's token may see this secret: a token from an application credential or a trust sees, of
    its own user's EC2 keys, those alone that were made with it; any other would lift its limits (CVE-2020-12689).
    """
    marks = _marks(ctx)
    if not marks or credential.row.type != EC2 or credential.row.user_id != ctx.user_id:
        return True
    blob = _ec2_blob(credential.blob)
    return all(blob.get(name) == value for name, value in marks.items())


async def update_credential(ks: Keystone, ctx: Context, credential_id: str, patch: dict[str, Any],
                            extra: dict[str, Any]) -> Credential:
    current = await get_credential(ks, ctx, credential_id, "update_credential")
    row = current.row
    if patch.get("user_id", row.user_id) != row.user_id:
        ks.enforce(ctx, "update_credential", _target(patch["user_id"]))  # nobody hands a secret to a stranger
        if await directory.find_user(ks, patch["user_id"]) is None:
            raise NotFound("user", patch["user_id"])
    kind = patch.get("type", row.type)
    if kind == EC2 and patch.get("project_id", row.project_id) is None:
        raise Invalid("Invalid input for field/attribute project_id. An ec2 credential needs a project.")
    if patch.get("project_id") and await directory.find_project(ks, patch["project_id"]) is None:
        raise NotFound("project", patch["project_id"])
    if "type" in patch:
        patch["type"] = checks.check_name("type", patch["type"])
    blob = patch.get("blob", current.blob)
    if kind == EC2:
        after = _ec2_blob(blob)
        before = _ec2_blob(current.blob) if row.type == EC2 else {}
        for key in ("app_cred_id", "trust_id", "access_token_id", "access_id"):
            if after.get(key) != before.get(key):
                raise Invalid(f"Invalid input for field/attribute blob. {key} cannot be changed.")
        if row.type != EC2 and _marks(ctx):
            raise Forbidden(_NOT_ITS_KEY)  # it would be a key without marks
    if "blob" in patch:
        patch["blob"] = _seal(ks, patch["blob"])
    rows.add_extra(row, patch, extra)
    async with ks.changing(ctx, forget=False) as tx:
        fresh = await rows.change(tx, credentials, "credential", credential_id, patch)
    return Credential(fresh, blob)


async def delete_credential(ks: Keystone, ctx: Context, credential_id: str, rule: str = "delete_credential") -> None:
    await get_credential(ks, ctx, credential_id, rule)
    async with ks.changing(ctx, forget=False) as tx:
        await tx.execute(sa.delete(credentials).where(credentials.c.id == credential_id))


# --- EC2 keys, by access key


async def list_ec2(ks: Keystone, ctx: Context, user_id: str) -> list[Credential]:
    ks.enforce(ctx, "ec2_list_credentials", {"user_id": user_id})
    if await directory.find_user(ks, user_id) is None:
        raise NotFound("user", user_id)
    async with ks.db.read() as tx:
        rows = await tx.all(sa.select(credentials).where(credentials.c.user_id == user_id, credentials.c.type == EC2)
                            .order_by(credentials.c.id))
    return [credential for credential in (_open(ks, row) for row in rows) if _shows(ctx, credential)]


async def get_ec2(ks: Keystone, ctx: Context, user_id: str, access: str,
                  rule: str = "ec2_get_credential") -> Credential:
    found = await find_credential(ks, ec2_id(access))
    ks.enforce(ctx, rule, _target(found.row.user_id if found is not None else user_id))
    if found is None or found.row.type != EC2 or found.row.user_id != user_id:
        raise NotFound("credential", access)
    if not _shows(ctx, found):
        raise Forbidden(_NOT_ITS_KEY)
    return found


async def create_ec2(ks: Keystone, ctx: Context, user_id: str, project_id: str) -> Credential:
    """A new pair of keys for a project on which the user has a role (an administrator may choose any)."""
    if await directory.find_project(ks, project_id) is None:
        raise NotFound("project", project_id)
    if project_id not in await access_of_users.project_ids(ks, user_id):
        raise Forbidden(f"User {user_id} has no role on project {project_id}.")
    blob = msgspec.json.encode({"access": uuid.uuid4().hex, "secret": uuid.uuid4().hex, "trust_id": None}).decode()
    return await create_credential(ks, ctx, kind=EC2, blob=blob, user_id=user_id, project_id=project_id, extra={},
                                   rule="ec2_create_credential")


async def delete_ec2(ks: Keystone, ctx: Context, user_id: str, access: str) -> None:
    found = await get_ec2(ks, ctx, user_id, access, "ec2_delete_credential")
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.delete(credentials).where(credentials.c.id == found.row.id))
