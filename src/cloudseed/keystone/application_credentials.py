"""Application credentials: a user's password for one program, for one project, with some of the user's roles.

The secret is shown once.  A credential may be limited further by access rules (service, method, path), and, unless
it is `unrestricted`, a token got with it cannot make or delete other credentials or trusts.
"""

from __future__ import annotations

import datetime
import secrets
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.keystone import checks, directory, scopes
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import (
    access_rules,
    application_credential_roles,
    application_credential_rules,
    application_credentials,
)
from cloudseed.keystone.passwords import MAX_LENGTH
from cloudseed.keystone.scopes import PROJECT, Scope
from cloudseed.keystone.state import Keystone

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "COPY", "OPTIONS")


class RoleRef(NamedTuple):
    id: str | None
    name: str | None


class RuleRef(NamedTuple):
    """An access rule that exists (`id`), or what a new one allows."""

    id: str | None
    service: str | None
    path: str | None
    method: str | None


class Shown(NamedTuple):
    """A credential with its roles and rules, for views."""

    row: Record
    roles: list[Record]
    rules: list[Record]


async def check_unrestricted(ks: Keystone, ctx: Context) -> None:
    """A token from a restricted application credential must not make more of its kind.  Raises Forbidden."""
    credential_id = ctx.identity.application_credential_id
    if credential_id is None:
        return
    async with ks.db.read() as tx:
        free = await tx.scalar(sa.select(application_credentials.c.unrestricted)
                               .where(application_credentials.c.id == credential_id))
    if not free:
        raise Forbidden("Using method 'application_credential' is not allowed for managing application credentials "
                        "and trusts: this one was not made unrestricted.")


def check_no_trust(ctx: Context) -> None:
    """A trust's token may name the trustor as its user, and must not make in that name what gives more roles than
    the trust, or lives longer.  Raises Forbidden."""
    if ctx.identity.trust_id is not None:
        raise Forbidden("A token from a trust cannot make application credentials or other trusts.")


async def _shown(ks: Keystone, tx: Tx, rows: Sequence[Record]) -> list[Shown]:
    """With roles and rules, in two statements however many there are."""
    ids = [row.id for row in rows]
    known = await directory.all_roles(ks)
    roles_of: dict[str, list[Record]] = {}
    for link in await tx.all(sa.select(application_credential_roles).where(
            application_credential_roles.c.application_credential_id.in_(ids))):
        roles_of.setdefault(link.application_credential_id, []).append(known[link.role_id])
    rules_of: dict[str, list[Record]] = {}
    for rule in await tx.all(
            sa.select(access_rules, application_credential_rules.c.application_credential_id)
            .join(application_credential_rules, application_credential_rules.c.access_rule_id == access_rules.c.id)
            .where(application_credential_rules.c.application_credential_id.in_(ids))
            .order_by(application_credential_rules.c.position)):
        rules_of.setdefault(rule.application_credential_id, []).append(rule)
    return [Shown(row, roles_of.get(row.id, []), rules_of.get(row.id, [])) for row in rows]


async def list_credentials(ks: Keystone, ctx: Context, user_id: str, filters: Filters) -> list[Shown]:
    ks.enforce(ctx, "list_application_credentials", {"user_id": user_id})
    statement = sa.select(application_credentials).where(application_credentials.c.user_id == user_id)
    async with ks.db.read() as tx:
        rows = await fetch(tx, application_credentials, filters, "application credential", statement)
        return await _shown(ks, tx, rows)


async def get_credential(ks: Keystone, ctx: Context, user_id: str, credential_id: str,
                         rule: str = "get_application_credential") -> Shown:
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(application_credentials).where(
            application_credentials.c.id == credential_id, application_credentials.c.user_id == user_id))
        # the owner in the database decides; for what is not there, the user in the URL can be asked about it
        ks.enforce(ctx, rule, {"user_id": row.user_id if row is not None else user_id})
        if row is None:
            raise NotFound("application credential", credential_id)
        return (await _shown(ks, tx, [row]))[0]


async def create_credential(ks: Keystone, ctx: Context, user_id: str, *, name: str, secret: str | None,
                            description: str | None, expires_at: str | None, roles: list[RoleRef] | None,
                            unrestricted: bool, rules: list[RuleRef] | None) -> tuple[Shown, str]:
    """The credential and its secret, which cannot be had again."""
    ks.enforce(ctx, "create_application_credential", {"user_id": user_id})
    check_no_trust(ctx)
    await check_unrestricted(ks, ctx)
    project_id = ctx.identity.project_id
    if project_id is None:
        raise Invalid("An application credential is for a project: use a token that is scoped to one.")
    if secret is not None and not 1 <= len(secret) <= MAX_LENGTH:
        raise Invalid(f"Invalid input for field/attribute secret. It must have 1 to {MAX_LENGTH} characters.")
    checks.check_text("description", description)
    name = checks.check_name("name", name)
    expires = parse_time("expires_at", expires_at)
    role_ids = await _role_ids(ks, ctx, user_id, project_id, roles)
    for rule in rules or ():
        _check_rule(rule)
    if secret is not None:
        hashed = await ks.passwords.hash(secret)
    else:
        secret = secrets.token_urlsafe(64)[:72]
        hashed = await ks.passwords.hash_random(secret)  # 432 random bits need no costly hash
    credential_id = uuid.uuid4().hex
    conflict = Conflict("application_credential", f"Duplicate entry found with name {name}")
    async with ks.changing(ctx, conflict=conflict, forget=False) as tx:
        await tx.execute(sa.insert(application_credentials).values(
            id=credential_id, name=name, user_id=user_id, project_id=project_id, description=description,
            secret_hash=hashed, expires_at=expires, unrestricted=unrestricted, restricted_paths=rules is not None))
        await tx.execute(sa.insert(application_credential_roles),
                         [{"application_credential_id": credential_id, "role_id": role_id} for role_id in role_ids])
        rule_ids = [await _rule_id(tx, user_id, rule) for rule in rules or ()]
        if rule_ids:
            await tx.execute(sa.insert(application_credential_rules), [
                {"application_credential_id": credential_id, "access_rule_id": rule_id, "position": position}
                for position, rule_id in enumerate(dict.fromkeys(rule_ids))])
        row = await tx.first(sa.select(application_credentials).where(application_credentials.c.id == credential_id))
        assert row is not None
        shown = (await _shown(ks, tx, [row]))[0]
    return shown, secret


def parse_time(field: str, text: str | None) -> datetime.datetime | None:
    """A moment that lies ahead.  Raises Invalid."""
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        moment = moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid input for field/attribute {field}. {text!r} is not a time such as "
                      "2030-01-31T12:00:00Z.") from None
    if moment <= utcnow():
        raise Invalid(f"Invalid input for field/attribute {field}. {text} is not in the future.")
    return moment


async def _role_ids(ks: Keystone, ctx: Context, user_id: str, project_id: str,
                    wanted: list[RoleRef] | None) -> list[str]:
    """The roles to hand on: those of the token unless some are named; the user must have them."""
    has = await scopes.roles_on(ks, user_id, Scope(PROJECT, project_id))
    usable = [row for row in has if row.name.lower() in ctx.identity.roles]
    if not wanted:
        return [row.id for row in usable]
    known = await directory.all_roles(ks)
    ids = []
    for ref in wanted:
        found = known.get(ref.id) if ref.id is not None else next(
            (row for row in known.values() if row.name == ref.name and row.domain_id is None), None)
        if found is None:
            raise NotFound("role", str(ref.id or ref.name))
        if found.id not in {row.id for row in usable}:
            raise Invalid(f"Could not create the application credential: the token does not have the role "
                          f"{found.name} on project {project_id}.")
        ids.append(found.id)
    return list(dict.fromkeys(ids))


def _check_rule(rule: RuleRef) -> None:
    if rule.id is not None:
        if rule.service or rule.path or rule.method:
            raise Invalid("Invalid input for field/attribute access_rules. Name a rule by its id, or say service, "
                          "path and method.")
        return
    if not (rule.service and rule.path and rule.method):
        raise Invalid("Invalid input for field/attribute access_rules. A rule needs service, path and method.")
    if rule.method not in METHODS:
        raise Invalid(f"Invalid input for field/attribute access_rules. {rule.method!r} is not a method.")
    checks.check_name("access_rules", rule.service)
    checks.check_name("access_rules", rule.path, 128)
    if not rule.path.startswith("/"):
        raise Invalid("Invalid input for field/attribute access_rules. A path begins with a slash.")


async def _rule_id(tx: Tx, user_id: str, rule: RuleRef) -> str:
    """A rule of the user that says the same is used again."""
    table = access_rules.c
    where = table.id == rule.id if rule.id is not None else sa.and_(
        table.service == rule.service, table.path == rule.path, table.method == rule.method)
    known: str | None = await tx.scalar(sa.select(table.id).where(table.user_id == user_id, where))
    if known is None:
        if rule.id is not None:
            raise NotFound("access rule", rule.id)
        known = uuid.uuid4().hex
        await tx.execute(sa.insert(access_rules).values(id=known, user_id=user_id, service=rule.service,
                                                        path=rule.path, method=rule.method))
    return known


async def delete_credential(ks: Keystone, ctx: Context, user_id: str, credential_id: str) -> None:
    """Its tokens die with it."""
    await get_credential(ks, ctx, user_id, credential_id, "delete_application_credential")
    await check_unrestricted(ks, ctx)
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.delete(application_credentials).where(application_credentials.c.id == credential_id))


# --- access rules


async def list_rules(ks: Keystone, ctx: Context, user_id: str, filters: Filters) -> list[Record]:
    ks.enforce(ctx, "list_access_rules", {"target.user.id": user_id})
    async with ks.db.read() as tx:
        return await fetch(tx, access_rules, filters, "access rule",
                           sa.select(access_rules).where(access_rules.c.user_id == user_id))


async def get_rule(ks: Keystone, ctx: Context, user_id: str, rule_id: str, rule: str = "get_access_rule") -> Record:
    ks.enforce(ctx, rule, {"target.user.id": user_id})
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(access_rules).where(access_rules.c.id == rule_id,
                                                           access_rules.c.user_id == user_id))
    if row is None:
        raise NotFound("access rule", rule_id)
    return row


async def delete_rule(ks: Keystone, ctx: Context, user_id: str, rule_id: str) -> None:
    await get_rule(ks, ctx, user_id, rule_id, "delete_access_rule")
    in_use = Forbidden("May not delete access rule in use")
    async with ks.changing(ctx, conflict=in_use, forget=False) as tx:
        await tx.execute(sa.delete(access_rules).where(access_rules.c.id == rule_id))
