"""What a token means now: its user, scope, roles and catalogue, as the database has them.

`describe` refuses claims that no longer hold: a user, project or domain that is gone or disabled, a scope on
which no role is left, an application credential or trust that has ended, an event that revokes it.  So issuing
and validating ask the same questions.
"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Identity
from cloudseed.keystone import catalog, directory, revocations, scopes
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Unauthenticated
from cloudseed.keystone.models import (
    access_rules,
    application_credential_roles,
    application_credential_rules,
    application_credentials,
    trusts,
)
from cloudseed.keystone.scopes import DOMAIN, PROJECT, SYSTEM, UNSCOPED, Scope
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.tokens import Claims

_encode = msgspec.json.encode


class Meaning(NamedTuple):
    """`bare`: the token's JSON body without its catalogue (`nocatalog`), which all tokens of a scope share."""

    claims: Claims
    identity: Identity
    bare: bytes
    catalog: bytes | None
    ends_at: float  # when the token expires, or what it rests on
    has_access_rules: bool = False  # only who enforces them may accept the token

    @property
    def body(self) -> bytes:
        """The token's JSON body."""
        return self.bare if self.catalog is None else self.bare[:-2] + b',"catalog":' + self.catalog + b"}}"


class _Static(NamedTuple):
    """The part that is the same for all tokens of one user, scope and credential."""

    identity: Identity
    role_ids: set[str]
    project_id: str | None
    domain_id: str | None
    fields: dict[str, Any]  # name -> JSON, already encoded
    catalog: bytes | None
    expires_at: float  # when what the token rests on ends
    has_access_rules: bool


def iso(seconds: float) -> str:
    """keystone's format of a time."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def describe(ks: Keystone, claims: Claims) -> Meaning:
    """What these claims mean now.  Raises Unauthenticated when they do not hold."""
    key = ("meaning", claims.user_id, claims.scope, claims.application_credential_id, claims.trust_id)
    static = await ks.memory.recall(key, lambda: _static(ks, claims))
    if isinstance(static, str):
        raise Unauthenticated(static)
    if static.expires_at <= claims.issued_at:
        raise Unauthenticated("what the token rests on has expired")
    if await revocations.is_revoked(ks, audit_ids=claims.audit_ids, user_id=claims.user_id,
                                    project_id=static.project_id, domain_id=static.domain_id,
                                    trust_id=claims.trust_id, role_ids=static.role_ids, issued_at=claims.issued_at):
        raise Unauthenticated("the token was revoked")
    fields = {"methods": claims.methods, "audit_ids": claims.audit_ids, "expires_at": iso(claims.expires_at),
              "issued_at": iso(claims.issued_at), **static.fields}
    bare = _encode({"token": fields})
    ends_at = min(claims.expires_at, static.expires_at)
    identity = msgspec.structs.replace(static.identity, audit_id=claims.audit_ids[-1], expires_at=ends_at,
                                       auth_methods=claims.methods)
    return Meaning(claims, identity, bare, static.catalog, ends_at, static.has_access_rules)


async def _static(ks: Keystone, claims: Claims) -> _Static | str:
    """The static part, or the reason why the claims do not hold."""
    user = await directory.find_user(ks, claims.user_id)
    if user is None or not user.enabled:
        return f"user {claims.user_id} is gone or disabled"
    home = await directory.find_domain(ks, user.domain_id)
    if home is None or not home.enabled:
        return f"domain {user.domain_id} of user {user.id} is gone or disabled"
    fields: dict[str, Any] = {"user": _raw({
        "domain": _ref(home), "id": user.id, "name": user.name,
        "password_expires_at": iso(user.password_expires_at.timestamp()) if user.password_expires_at else None})}
    project = domain = None
    scope = claims.scope
    if scope.kind == PROJECT:
        project = await directory.find_project(ks, scope.id)
        if project is None or not project.enabled:
            return f"project {scope.id} is gone or disabled"
        owner = project if project.is_domain else await directory.find_domain(ks, project.domain_id)
        if owner is None or not owner.enabled:
            return f"the domain of project {scope.id} is disabled"
        fields["project"] = _raw({"domain": _ref(owner), "id": project.id, "name": project.name})
        fields["is_domain"] = project.is_domain
    elif scope.kind == DOMAIN:
        domain = await directory.find_domain(ks, scope.id)
        if domain is None or not domain.enabled:
            return f"domain {scope.id} is gone or disabled"
        fields["domain"] = _raw(_ref(domain))
    elif scope.kind == SYSTEM:
        fields["system"] = {"all": True}
    roles, expires_at, has_access_rules = await scopes.roles_on(ks, user.id, scope), float("inf"), False
    if claims.application_credential_id:
        limited = await _application_credential(ks, claims, roles, fields)
        if isinstance(limited, str):
            return limited
        roles, expires_at, has_access_rules = limited
    if claims.trust_id:
        limited = await _trust(ks, claims, fields)
        if isinstance(limited, str):
            return limited
        roles, expires_at, _ = limited
        if fields["OS-TRUST:trust"]["impersonation"]:
            trustor = await directory.find_user(ks, fields["OS-TRUST:trust"]["trustor_user"]["id"])
            trustor_home = await directory.find_domain(ks, trustor.domain_id) if trustor is not None else None
            assert trustor is not None and trustor_home is not None
            user, home = trustor, trustor_home
            fields["user"] = _raw({"domain": _ref(home), "id": user.id, "name": user.name,
                                   "password_expires_at": None})
    if scope.kind != UNSCOPED:
        if not roles:
            return f"user {user.id} has no role on {scope.kind} {scope.id}"
        fields["roles"] = _raw([{"id": role.id, "name": role.name} for role in roles])
    identity = Identity(
        user_id=user.id, user_name=user.name, user_domain_id=user.domain_id,
        project_id=project.id if project is not None else None,
        project_name=project.name if project is not None else None,
        project_domain_id=(project.domain_id or project.id) if project is not None else None,
        domain_id=domain.id if domain is not None else None, system=scope.kind == SYSTEM,
        roles=frozenset(role.name.lower() for role in roles) if scope.kind != UNSCOPED else frozenset(),
        application_credential_id=claims.application_credential_id, trust_id=claims.trust_id)
    listed = None if scope.kind == UNSCOPED else _encode(
        await catalog.catalog_for(ks, identity.project_id, user.id))
    return _Static(identity, {role.id for role in roles}, identity.project_id, identity.domain_id, fields, listed,
                   expires_at, has_access_rules)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _ref(row: Record) -> dict[str, str]:
    return {"id": row.id, "name": row.name}


Limited = tuple[list[Record], float, bool] | str


async def _application_credential(ks: Keystone, claims: Claims, roles: list[Record],
                                  fields: dict[str, Any]) -> Limited:
    """Only the roles that the credential was given, as far as the user still has them."""
    async with ks.db.read() as tx:
        found = await tx.first(sa.select(application_credentials).where(
            application_credentials.c.id == claims.application_credential_id))
        given = set(await tx.scalars(sa.select(application_credential_roles.c.role_id).where(
            application_credential_roles.c.application_credential_id == claims.application_credential_id)))
        rules = await tx.all(
            sa.select(access_rules).join(application_credential_rules,
                                         application_credential_rules.c.access_rule_id == access_rules.c.id)
            .where(application_credential_rules.c.application_credential_id == claims.application_credential_id))
    if found is None or found.user_id != claims.user_id or Scope(PROJECT, found.project_id) != claims.scope:
        return f"application credential {claims.application_credential_id} is gone"
    if not given <= {role.id for role in roles}:
        return f"application credential {found.id} has roles that its user has no longer"
    shown: dict[str, Any] = {"id": found.id, "name": found.name, "restricted": not found.unrestricted}
    if found.restricted_paths:
        shown["access_rules"] = [{"id": rule.id, "service": rule.service, "path": rule.path, "method": rule.method}
                                 for rule in rules]
    fields["application_credential"] = _raw(shown)
    return await scopes.name_roles(ks, given), _end(found), found.restricted_paths


async def _trust(ks: Keystone, claims: Claims, fields: dict[str, Any]) -> Limited:
    """The trustor's roles that the trust hands on, as far as the trustor still has them."""
    async with ks.db.read() as tx:
        found = await tx.first(sa.select(trusts).where(trusts.c.id == claims.trust_id))
    if found is None or found.deleted_at is not None or found.trustee_user_id != claims.user_id:
        return f"trust {claims.trust_id} is gone"
    trustor = await directory.find_user(ks, found.trustor_user_id)
    if trustor is None or not trustor.enabled:
        return f"the trustor of trust {found.id} is gone or disabled"
    has = {role.id for role in await scopes.roles_on(ks, trustor.id, claims.scope)} if found.project_id else set()
    if not set(found.roles) <= has:
        return f"trust {found.id} hands on roles that its trustor has no longer"
    fields["OS-TRUST:trust"] = {"id": found.id, "impersonation": found.impersonation,
                                "trustor_user": {"id": found.trustor_user_id},
                                "trustee_user": {"id": found.trustee_user_id}}
    return await scopes.name_roles(ks, set(found.roles)), _end(found), False


def _end(row: Record) -> float:
    return row.expires_at.timestamp() if row.expires_at is not None else float("inf")
