"""Keystone's tables.  Written by keystone alone.

A domain is a project with `is_domain`, as upstream has it: both share ids, names' rules and the tree.
`extra` holds attributes that a client may invent (upstream's schemas are open); they come back at top level.
"""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.db import Json, UtcDateTime

metadata = sa.MetaData()
Id = sa.String(64)
Name = sa.String(255)


def _extra() -> sa.Column[object]:
    return sa.Column("extra", Json, nullable=False)


projects = sa.Table(  # `domain_id` and `parent_id` null: a domain.  A project's parent is its domain or a project
    "projects", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("projects.id"), nullable=True),
    sa.Column("parent_id", Id, sa.ForeignKey("projects.id"), nullable=True, index=True),
    sa.Column("description", sa.Text, nullable=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("is_domain", sa.Boolean, nullable=False),
    sa.Column("options", Json, nullable=False),
    _extra())
sa.Index("uq_projects_name", projects.c.domain_id, projects.c.name, unique=True,
         sqlite_where=sa.text("NOT is_domain"), postgresql_where=sa.text("NOT is_domain"))
sa.Index("uq_domains_name", projects.c.name, unique=True,
         sqlite_where=sa.text("is_domain"), postgresql_where=sa.text("is_domain"))

project_tags = sa.Table(
    "project_tags", metadata,
    sa.Column("project_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", Name, primary_key=True))

users = sa.Table(  # `password_hash` null: cannot log in with a password
    "users", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("default_project_id", Id, nullable=True, index=True),
    sa.Column("password_hash", sa.String(255), nullable=True),
    sa.Column("password_created_at", UtcDateTime, nullable=True),
    sa.Column("password_expires_at", UtcDateTime, nullable=True),
    sa.Column("options", Json, nullable=False),
    _extra(),
    sa.UniqueConstraint("domain_id", "name", name="uq_users_name"))

login_failures = sa.Table(  # wrong passwords since the last right one, kept where accounts can be locked
    "login_failures", metadata,
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False))

past_passwords = sa.Table(  # not the one that is valid now; kept where old ones may not come back
    "past_passwords", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("password_hash", sa.String(255), nullable=False))

groups = sa.Table(
    "groups", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    _extra(),
    sa.UniqueConstraint("domain_id", "name", name="uq_groups_name"))

memberships = sa.Table(
    "memberships", metadata,
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("group_id", Id, sa.ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True, index=True))

roles = sa.Table(  # `domain_id` null: a global role, which tokens name; a domain's role only implies others
    "roles", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=True),
    sa.Column("description", sa.Text, nullable=True),
    sa.Column("options", Json, nullable=False),
    _extra())
sa.Index("uq_roles_domain_name", roles.c.domain_id, roles.c.name, unique=True)
sa.Index("uq_roles_name", roles.c.name, unique=True, sqlite_where=sa.text("domain_id IS NULL"),
         postgresql_where=sa.text("domain_id IS NULL"))

implied_roles = sa.Table(
    "implied_roles", metadata,
    sa.Column("prior_role_id", Id, sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("implied_role_id", Id, sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True, index=True))

assignments = sa.Table(  # who (user or group) has which role on what (project, domain or system "all")
    "assignments", metadata,
    sa.Column("actor_kind", sa.String(8), primary_key=True),
    sa.Column("actor_id", Id, primary_key=True),
    sa.Column("target_kind", sa.String(8), primary_key=True),
    sa.Column("target_id", Id, primary_key=True),
    sa.Column("role_id", Id, sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True, index=True),
    sa.Column("inherited", sa.Boolean, primary_key=True))  # to the projects below, not on the target itself
sa.Index("ix_assignments_target", assignments.c.target_kind, assignments.c.target_id)

regions = sa.Table(
    "regions", metadata,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("parent_region_id", sa.String(255), sa.ForeignKey("regions.id"), nullable=True),
    _extra())

services = sa.Table(
    "services", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("type", Name, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    _extra())

endpoints = sa.Table(
    "endpoints", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("interface", sa.String(8), nullable=False),
    sa.Column("region_id", sa.String(255), sa.ForeignKey("regions.id"), nullable=True),
    sa.Column("service_id", Id, sa.ForeignKey("services.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    _extra())

application_credentials = sa.Table(
    "application_credentials", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("description", sa.Text, nullable=True),
    sa.Column("secret_hash", sa.String(255), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=True),
    sa.Column("unrestricted", sa.Boolean, nullable=False),
    sa.Column("restricted_paths", sa.Boolean, nullable=False),  # has access rules, perhaps an empty list
    sa.UniqueConstraint("user_id", "name", name="uq_application_credentials_name"))

application_credential_roles = sa.Table(
    "application_credential_roles", metadata,
    sa.Column("application_credential_id", Id,
              sa.ForeignKey("application_credentials.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("role_id", Id, sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True, index=True))

access_rules = sa.Table(
    "access_rules", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("service", Name, nullable=True),
    sa.Column("path", sa.String(128), nullable=True),
    sa.Column("method", sa.String(16), nullable=True))

application_credential_rules = sa.Table(
    "application_credential_rules", metadata,
    sa.Column("application_credential_id", Id,
              sa.ForeignKey("application_credentials.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("access_rule_id", Id, sa.ForeignKey("access_rules.id"), primary_key=True, index=True),
    sa.Column("position", sa.Integer, nullable=False, default=0))  # in the order that its maker gave

credentials = sa.Table(  # `blob` is encrypted with the credential keys
    "credentials", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("project_id", Id, nullable=True, index=True),
    sa.Column("type", Name, nullable=False),
    sa.Column("blob", sa.Text, nullable=False),
    _extra())

revocations = sa.Table(  # a token dies when every column that is not null fits it and it is older than the event
    "revocations", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("audit_id", sa.String(32), nullable=True),
    sa.Column("audit_chain_id", sa.String(32), nullable=True),
    sa.Column("user_id", Id, nullable=True),
    sa.Column("project_id", Id, nullable=True),
    sa.Column("domain_id", Id, nullable=True),
    sa.Column("role_id", Id, nullable=True),
    sa.Column("trust_id", Id, nullable=True),
    sa.Column("issued_before", UtcDateTime, nullable=False),
    sa.Column("revoked_at", UtcDateTime, nullable=False, index=True))

trusts = sa.Table(  # `remaining_uses` null: no limit.  `deleted_at` set: the trust is gone, its tokens too
    "trusts", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("trustor_user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("trustee_user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("project_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=True, index=True),
    sa.Column("impersonation", sa.Boolean, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=True),
    sa.Column("remaining_uses", sa.Integer, nullable=True),
    sa.Column("redelegation_count", sa.Integer, nullable=False),
    sa.Column("redelegated_trust_id", Id, nullable=True),
    sa.Column("deleted_at", UtcDateTime, nullable=True),
    sa.Column("roles", Json, nullable=False),
    _extra())

# Of several keystones of one cloud (shared.py): their keys, sealed, and the number of the latest change: one row.
sealed_keys = sa.Table(
    "sealed_keys", metadata,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.Text, nullable=False))

changes = sa.Table(
    "changes", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False))

policies = sa.Table(
    "policies", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("type", Name, nullable=False),
    sa.Column("blob", sa.Text, nullable=False),
    _extra())

registered_limits = sa.Table(
    "registered_limits", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("service_id", Id, sa.ForeignKey("services.id"), nullable=False),
    sa.Column("region_id", sa.String(255), sa.ForeignKey("regions.id"), nullable=True),
    sa.Column("resource_name", Name, nullable=False),
    sa.Column("default_limit", sa.Integer, nullable=False),
    sa.Column("description", sa.Text, nullable=True))
sa.Index("uq_registered_limits", registered_limits.c.service_id, registered_limits.c.region_id,
         registered_limits.c.resource_name, unique=True)
sa.Index("uq_registered_limits_everywhere", registered_limits.c.service_id, registered_limits.c.resource_name,
         unique=True, sqlite_where=sa.text("region_id IS NULL"), postgresql_where=sa.text("region_id IS NULL"))

limits = sa.Table(  # of one project or one domain
    "limits", metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("registered_limit_id", Id, sa.ForeignKey("registered_limits.id"), nullable=False, index=True),
    sa.Column("project_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=True),
    sa.Column("domain_id", Id, sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=True),
    sa.Column("resource_limit", sa.Integer, nullable=False),
    sa.Column("description", sa.Text, nullable=True))
sa.Index("uq_limits_project", limits.c.registered_limit_id, limits.c.project_id, unique=True)
sa.Index("uq_limits_domain", limits.c.registered_limit_id, limits.c.domain_id, unique=True)
