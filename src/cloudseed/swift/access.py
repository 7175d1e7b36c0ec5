"""Who may do what: swift's keystoneauth.

A token of project P owns the account `AUTH_P` when it has an operator role (admin, swiftoperator, member); a
reader of P may read it; `ResellerAdmin` owns every account.  Everybody else needs a container's ACL:

    X-Container-Read:  .r:*  .r:.example.com  .r:-bad.example.com  .rlistings  PROJECT:USER  *:USER  PROJECT:*  ROLE
    X-Container-Write: PROJECT:USER  *:USER  PROJECT:*  ROLE

PROJECT and USER are ids, or names of the default domain.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from cloudseed.kernel.context import Identity
from cloudseed.kernel.errors import CloudseedError, Unauthenticated
from cloudseed.swift.errors import AccessDenied, BadRequest

RESELLER_PREFIX = "AUTH_"
OPERATOR_ROLES = frozenset({"admin", "swiftoperator", "member"})
READER_ROLES = frozenset({"reader"})
RESELLER_ROLE = "reselleradmin"

Action = Literal["read", "write"]


class Acl(NamedTuple):
    """A parsed ACL."""

    referrers: tuple[str, ...]  # what follows ".r:", in order: later ones win
    listings: bool
    grants: frozenset[str]  # project:user pairs, and names of roles


def clean_acl(header: str, value: str) -> str:
    """A normalised ACL for storage.  Raises BadRequest that names the part that cannot be."""
    kept = []
    for raw in value.split(","):
        item = raw.strip()
        if not item:
            continue
        if not item.startswith("."):
            kept.append(item)
            continue
        kind, _, rest = item.partition(":")
        kind, rest = kind.strip().lower(), rest.strip()
        if kind == ".rlistings" and not rest:
            kept.append(".rlistings")
        elif kind in (".r", ".ref", ".referer", ".referrer"):
            if "write" in header:
                raise BadRequest(f"Referrers not allowed in write ACL: {item!r}.")
            negative, host = rest.startswith("-"), rest.removeprefix("-").strip()
            if host != "*" and host.startswith("*"):
                host = host[1:].strip()
            if not host or host == ".":
                raise BadRequest(f"No host/domain value after referrer designation in ACL: {item!r}.")
            kept.append(f".r:{'-' if negative else ''}{host}")
        else:
            raise BadRequest(f"Unknown designator {kind!r} in ACL: {item!r}.")
    return ",".join(kept)


def parse_acl(value: str) -> Acl:
    referrers, grants, listings = [], set(), False
    for item in filter(None, (part.strip() for part in value.split(","))):
        if item.startswith(".r:"):
            referrers.append(item[3:])
        elif item == ".rlistings":
            listings = True
        else:
            grants.add(unquote(item))
    return Acl(tuple(referrers), listings, frozenset(grants))


def referrer_allowed(referer: str | None, rules: tuple[str, ...]) -> bool:
    """Whether the last rule that fits the Referer header's host allows it."""
    allowed = False
    try:
        host = (urlsplit(referer or "").hostname or "unknown").lower()
    except ValueError:
        host = "unknown"
    for rule in rules:
        negative, pattern = rule.startswith("-"), rule.removeprefix("-").lower()
        if pattern == "*" or pattern == host or (pattern.startswith(".") and host.endswith(pattern)):
            allowed = not negative
    return allowed


def is_reseller(identity: Identity) -> bool:
    return RESELLER_ROLE in identity.roles


def owns(identity: Identity, account: str) -> bool:
    """Whether the caller is the account's owner: may do everything, and sees ACLs."""
    if is_reseller(identity):
        return True
    return bool(identity.project_id) and account == RESELLER_PREFIX + (identity.project_id or "") \
        and not identity.roles.isdisjoint(OPERATOR_ROLES)


def _granted(identity: Identity, acl: Acl) -> bool:
    if identity.is_anonymous:
        return False
    projects: set[str | None] = {identity.project_id, "*"}
    users = {identity.user_id, "*"}
    if identity.project_domain_id in (None, "default") and identity.user_domain_id == "default":
        projects.add(identity.project_name)
        users.add(identity.user_name)
    if any(f"{project}:{user}" in acl.grants for project in projects for user in users):
        return True
    return any(role.lower() in identity.roles for role in acl.grants if ":" not in role)


def authorize(identity: Identity, account: str, action: Action, *, acl: str | None = None, listing: bool = False,
              referer: str | None = None) -> bool:
    """Allow or raise.  True: the caller is the owner.

    `acl`: the container's ACL for this action (None: an ACL cannot allow it); `listing`: the target is the
    container itself.  Raises Unauthenticated for a stranger without a token, AccessDenied for one with.
    """
    if owns(identity, account):
        return True
    if action == "read" and identity.project_id and account == RESELLER_PREFIX + identity.project_id \
            and not identity.roles.isdisjoint(READER_ROLES):
        return False
    if acl:
        parsed = parse_acl(acl)
        if action == "read" and referrer_allowed(referer, parsed.referrers) and (parsed.listings or not listing):
            return False
        if _granted(identity, parsed):
            return False
    raise denied(identity, account)


def denied(identity: Identity, account: str) -> CloudseedError:
    if identity.is_anonymous:
        return Unauthenticated("This server could not verify that you are authorized to access the document you "
                               "requested.", headers={"WWW-Authenticate": f'Swift realm="{_realm(account)}"'})
    return AccessDenied()


def _realm(account: str) -> str:
    return account if account.isascii() and account.replace("_", "").replace("-", "").isalnum() else "unknown"
