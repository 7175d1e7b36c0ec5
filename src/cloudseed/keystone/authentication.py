"""Proving who you are: password, token, application credential; and asking for a scope.

Whatever is wrong with a password or a secret, the answer is the same 401 at the same price, so that nobody learns
which users, domains or projects exist.  The reason goes to the log.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.keystone import compliance, directory, scopes
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Forbidden, Invalid, Missing, Unauthenticated
from cloudseed.keystone.meanings import Meaning, describe
from cloudseed.keystone.models import application_credentials, trusts
from cloudseed.keystone.passwords import MAX_LENGTH
from cloudseed.keystone.scopes import DOMAIN, NOTHING, PROJECT, WHOLE_SYSTEM, Scope
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.tokens import claim, seal
from cloudseed.keystone.validation import validate


class DomainRef(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class UserRef(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None
    password: str | None = None


class ProjectRef(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class PasswordProof(msgspec.Struct):
    user: UserRef


class TokenProof(msgspec.Struct):
    id: str


class ApplicationCredentialProof(msgspec.Struct):
    secret: str
    id: str | None = None
    name: str | None = None
    user: UserRef | None = None


class Proofs(msgspec.Struct):
    methods: list[str]
    password: PasswordProof | None = None
    token: TokenProof | None = None
    application_credential: ApplicationCredentialProof | None = None


class IdRef(msgspec.Struct):
    id: str


class ScopeRequest(msgspec.Struct):
    project: ProjectRef | None = None
    domain: DomainRef | None = None
    system: dict[str, Any] | None = None
    unscoped: dict[str, Any] | None = None
    trust: IdRef | None = msgspec.field(default=None, name="OS-TRUST:trust")


class AuthenticationRequest(msgspec.Struct):
    identity: Proofs
    scope: ScopeRequest | str | None = None


class _Proven(NamedTuple):
    """Who it is, and what bounds the new token."""

    user_id: str
    method: str
    earlier: Meaning | None = None  # the token that proved it
    application_credential: Record | None = None


class Issued(NamedTuple):
    token: str
    meaning: Meaning


async def authenticate(ks: Keystone, ctx: Context, request: AuthenticationRequest) -> Issued:
    """A new token.  Raises Unauthenticated, Invalid or Forbidden."""
    proven = [await _prove(ks, ctx, method, request.identity) for method in _methods(request.identity)]
    user_id = proven[0].user_id
    if any(proof.user_id != user_id for proof in proven):
        raise Unauthenticated("the methods prove different users")
    user = await directory.find_user(ks, user_id)
    if user is None:
        raise Unauthenticated(f"user {user_id} is gone")
    earlier = next((proof.earlier for proof in proven if proof.earlier), None)
    credential = next((proof.application_credential for proof in proven if proof.application_credential), None)
    names = [proof.method for proof in proven]
    methods = tuple(dict.fromkeys([*names, *(earlier.claims.methods if earlier else ())]))
    _check_factors(user, set(methods))
    trust_id = None
    credential_id = credential.id if credential is not None else None
    if earlier is not None:
        credential_id = credential_id or earlier.claims.application_credential_id
    if credential_id is not None:
        scope = await _credential_scope(ks, request.scope, credential, earlier)
    elif isinstance(request.scope, ScopeRequest) and request.scope.trust is not None:
        scope, trust_id = await _trust_scope(ks, request.scope, user_id)
    else:
        scope = await _scope(ks, user, request.scope)
    claims = claim(user_id=user_id, methods=methods, scope=scope, lifetime_s=ks.config.token_expiration_s,
                   root_audit_id=earlier.claims.audit_ids[-1] if earlier else None,
                   expires_at=_end(earlier, credential), application_credential_id=credential_id, trust_id=trust_id)
    meaning = await describe(ks, claims)
    if trust_id is not None:
        await _use_trust(ks, ctx, trust_id)
    token = seal(ks.token_keys, claims)
    ks.memory.remember_token(ks.memory.digest(token), meaning, ks.memory.generation)
    return Issued(token, meaning)


def _methods(identity: Proofs) -> list[str]:
    if not identity.methods:
        raise Missing("methods", "identity")
    names = list(dict.fromkeys(identity.methods))
    for name in names:
        if name not in ("password", "token", "application_credential"):
            raise Missing(name, "identity")
        if getattr(identity, name) is None:
            raise Missing(name, "identity")
    return names


async def _prove(ks: Keystone, ctx: Context, method: str, identity: Proofs) -> _Proven:
    if method == "password":
        assert identity.password is not None
        return _Proven(await _by_password(ks, identity.password.user), method)
    if method == "token":
        assert identity.token is not None
        return await _by_token(ks, identity.token.id)
    assert identity.application_credential is not None
    return await _by_application_credential(ks, identity.application_credential)


async def _named_user(ks: Keystone, ref: UserRef) -> Record | None:
    """The user that a request names, by id, or by name and domain.  Raises Missing."""
    if ref.id is not None:
        return await directory.find_user(ks, ref.id)
    if ref.name is None:
        raise Missing("id or name", "user")
    if ref.domain is None:
        raise Missing("domain", "user")
    domain = await _named_domain(ks, ref.domain)
    return await directory.find_user_by_name(ks, domain.id, ref.name) if domain is not None else None


async def _named_domain(ks: Keystone, ref: DomainRef) -> Record | None:
    if ref.id is not None:
        return await directory.find_domain(ks, ref.id)
    if ref.name is None:
        raise Missing("id or name", "domain")
    return await directory.find_domain_by_name(ks, ref.name)


async def _by_password(ks: Keystone, ref: UserRef) -> str:
    if ref.password is None:
        raise Missing("password", "user")
    user = await _named_user(ks, ref)
    # verified before anything else is looked at: every failure costs the same
    right = await ks.passwords.verify(ref.password[:MAX_LENGTH + 1], user.password_hash if user is not None else None)
    right = right and len(ref.password) <= MAX_LENGTH
    await compliance.check_lockout(ks, user, right)
    if user is None or not right:
        raise Unauthenticated(f"wrong password or no such user: {ref.name or ref.id}")
    if not user.enabled:
        raise Unauthenticated(f"user {user.id} is disabled")
    if user.password_expires_at is not None and user.password_expires_at <= utcnow():
        raise Unauthenticated(f"the password of user {user.id} has expired")
    user_id: str = user.id
    return user_id


async def _by_token(ks: Keystone, token: str) -> _Proven:
    meaning = await validate(ks, token)  # 404 for a token that is none, as upstream
    if meaning.claims.trust_id is not None:
        raise Forbidden("A token from a trust cannot be exchanged for another token.")
    return _Proven(meaning.claims.user_id, "token", earlier=meaning)


async def _by_application_credential(ks: Keystone, proof: ApplicationCredentialProof) -> _Proven:
    table = application_credentials.c
    statement = sa.select(application_credentials)
    if proof.id is not None:
        statement = statement.where(table.id == proof.id)
    elif proof.name is None:
        raise Missing("id or name", "application_credential")
    elif proof.user is None:
        raise Missing("user", "application_credential")
    else:
        user = await _named_user(ks, proof.user)
        statement = statement.where(table.user_id == (user.id if user is not None else ""), table.name == proof.name)

    async def load() -> Record | None:
        async with ks.db.read() as tx:
            return await tx.first(statement)

    key = ("application-credential", proof.id or "", proof.name or "", user.id if proof.id is None and user else "")
    found = await ks.memory.recall(key, load)
    right = await ks.passwords.verify(proof.secret[:MAX_LENGTH + 1], found.secret_hash if found is not None else None)
    if found is None or not right or len(proof.secret) > MAX_LENGTH:
        raise Unauthenticated(f"wrong secret or no such application credential: {proof.id or proof.name}")
    if found.expires_at is not None and found.expires_at <= utcnow():
        raise Unauthenticated(f"application credential {found.id} has expired")
    return _Proven(found.user_id, "application_credential", application_credential=found)


def _check_factors(user: Record, methods: set[str]) -> None:
    """A user with `multi_factor_auth_rules` must satisfy one of them; rules that name unknown methods count too,
    since ignoring them would weaken what an administrator asked for."""
    rules = user.options.get("multi_factor_auth_rules")
    if rules and user.options.get("multi_factor_auth_enabled", True) \
            and not any(set(rule) <= methods for rule in rules):
        raise Unauthenticated(f"user {user.id} must authenticate with more methods: {rules}")


def _end(earlier: Meaning | None, credential: Record | None) -> float | None:
    """A token outlives neither the token nor the credential that it was got with."""
    ends = [earlier.claims.expires_at] if earlier is not None else []
    if credential is not None and credential.expires_at is not None:
        ends.append(credential.expires_at.timestamp())
    return min(ends, default=None)


async def _credential_scope(ks: Keystone, requested: ScopeRequest | str | None, credential: Record | None,
                            earlier: Meaning | None) -> Scope:
    """An application credential is for its project and nothing else."""
    if credential is not None:
        if requested is not None:
            raise Unauthenticated("application credentials cannot request a scope")
        return Scope(PROJECT, credential.project_id)
    assert earlier is not None
    if isinstance(requested, ScopeRequest) and requested.project is not None:
        project = await _named_project(ks, requested.project)
        if project is None or project.id != earlier.claims.scope.id:
            raise Unauthenticated("an application credential's token is for its own project only")
    elif requested is not None:
        raise Unauthenticated("an application credential's token is for its own project only")
    return earlier.claims.scope


async def _named_project(ks: Keystone, ref: ProjectRef) -> Record | None:
    if ref.id is not None:
        return await directory.find_project(ks, ref.id)
    if ref.name is None:
        raise Missing("id or name", "project")
    if ref.domain is None:
        raise Missing("domain", "project")
    domain = await _named_domain(ks, ref.domain)
    return await directory.find_project_by_name(ks, domain.id, ref.name) if domain is not None else None


async def _scope(ks: Keystone, user: Record, requested: ScopeRequest | str | None) -> Scope:
    """What the request asks for; without a wish, the user's default project when the user has a role there."""
    if requested is None:
        default = user.default_project_id
        if default is not None:
            project = await directory.find_project(ks, default)
            wish = Scope(PROJECT, default)
            if project is not None and project.enabled and await scopes.roles_on(ks, user.id, wish):
                return wish
        return NOTHING
    if isinstance(requested, str):
        if requested != "unscoped":
            raise Invalid(f"Invalid scope {requested!r}: it must be \"unscoped\" or name a project, a domain "
                          "or the system.")
        return NOTHING
    wishes = [name for name in ("project", "domain", "system", "unscoped", "trust")
              if getattr(requested, name) is not None]
    if len(wishes) != 1:
        raise Missing("exactly one of project, domain, system, OS-TRUST:trust or unscoped", "scope")
    if requested.unscoped is not None:
        return NOTHING
    if requested.system is not None:
        if requested.system.get("all") is not True:
            raise Missing("all", "system")
        return WHOLE_SYSTEM
    found = await _named_project(ks, requested.project) if requested.project is not None \
        else await _named_domain(ks, requested.domain) if requested.domain is not None else None
    if found is None:
        raise Unauthenticated("no such project or domain")
    return Scope(PROJECT if requested.project is not None else DOMAIN, found.id)


async def _trust_scope(ks: Keystone, requested: ScopeRequest, user_id: str) -> tuple[Scope, str]:
    if any(getattr(requested, name) is not None for name in ("project", "domain", "system", "unscoped")):
        raise Missing("exactly one of project, domain, system, OS-TRUST:trust or unscoped", "scope")
    assert requested.trust is not None
    async with ks.db.read() as tx:
        found = await tx.first(sa.select(trusts).where(trusts.c.id == requested.trust.id))
    if (found is None or found.deleted_at is not None or found.trustee_user_id != user_id
            or (found.expires_at is not None and found.expires_at.timestamp() <= time.time())
            or found.remaining_uses == 0 or found.project_id is None):
        raise Unauthenticated(f"trust {requested.trust.id} is gone, used up or not for user {user_id}")
    return Scope(PROJECT, found.project_id), found.id


async def _use_trust(ks: Keystone, ctx: Context, trust_id: str) -> None:
    """Count one use, atomically: two logins at once cannot share the last one."""
    async with ks.db.write() as tx:
        used = await tx.execute(sa.update(trusts).where(
            trusts.c.id == trust_id, sa.or_(trusts.c.remaining_uses.is_(None), trusts.c.remaining_uses > 0))
            .values(remaining_uses=trusts.c.remaining_uses - 1))
    if used.rowcount == 0:
        raise Unauthenticated(f"trust {trust_id} is used up")
