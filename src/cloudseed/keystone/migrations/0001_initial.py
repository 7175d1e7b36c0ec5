"""The first schema: who, what, where, and the catalogue."""

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=True),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("is_domain", sa.Boolean(), nullable=False),
        sa.Column("options", cloudseed.kernel.db.Json(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["projects.id"],
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["projects.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_projects_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(
            "uq_domains_name",
            ["name"],
            unique=True,
            sqlite_where=sa.text("is_domain"),
            postgresql_where=sa.text("is_domain"),
        )
        batch_op.create_index(
            "uq_projects_name",
            ["domain_id", "name"],
            unique=True,
            sqlite_where=sa.text("NOT is_domain"),
            postgresql_where=sa.text("NOT is_domain"),
        )

    op.create_table(
        "regions",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("parent_region_id", sa.String(length=255), nullable=True),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_region_id"],
            ["regions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "revocations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("audit_id", sa.String(length=32), nullable=True),
        sa.Column("audit_chain_id", sa.String(length=32), nullable=True),
        sa.Column("user_id", sa.String(length=64), nullable=True),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("domain_id", sa.String(length=64), nullable=True),
        sa.Column("role_id", sa.String(length=64), nullable=True),
        sa.Column("trust_id", sa.String(length=64), nullable=True),
        sa.Column("issued_before", cloudseed.kernel.db.UtcDateTime(), nullable=False),
        sa.Column("revoked_at", cloudseed.kernel.db.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("revocations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_revocations_revoked_at"), ["revoked_at"], unique=False)

    op.create_table(
        "services",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("interface", sa.String(length=8), nullable=False),
        sa.Column("region_id", sa.String(length=255), nullable=True),
        sa.Column("service_id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["region_id"],
            ["regions.id"],
        ),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("endpoints", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_endpoints_service_id"), ["service_id"], unique=False)

    op.create_table(
        "groups",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["projects.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("domain_id", "name", name="uq_groups_name"),
    )
    op.create_table(
        "project_tags",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "name"),
    )
    op.create_table(
        "registered_limits",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("service_id", sa.String(length=64), nullable=False),
        sa.Column("region_id", sa.String(length=255), nullable=True),
        sa.Column("resource_name", sa.String(length=255), nullable=False),
        sa.Column("default_limit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["region_id"],
            ["regions.id"],
        ),
        sa.ForeignKeyConstraint(
            ["service_id"],
            ["services.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("registered_limits", schema=None) as batch_op:
        batch_op.create_index("uq_registered_limits", ["service_id", "region_id", "resource_name"], unique=True)
        batch_op.create_index(
            "uq_registered_limits_everywhere",
            ["service_id", "resource_name"],
            unique=True,
            sqlite_where=sa.text("region_id IS NULL"),
            postgresql_where=sa.text("region_id IS NULL"),
        )

    op.create_table(
        "roles",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("options", cloudseed.kernel.db.Json(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(["domain_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("roles", schema=None) as batch_op:
        batch_op.create_index("uq_roles_domain_name", ["domain_id", "name"], unique=True)
        batch_op.create_index(
            "uq_roles_name",
            ["name"],
            unique=True,
            sqlite_where=sa.text("domain_id IS NULL"),
            postgresql_where=sa.text("domain_id IS NULL"),
        )

    op.create_table(
        "users",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("default_project_id", sa.String(length=64), nullable=True),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("password_created_at", cloudseed.kernel.db.UtcDateTime(), nullable=True),
        sa.Column("password_expires_at", cloudseed.kernel.db.UtcDateTime(), nullable=True),
        sa.Column("options", cloudseed.kernel.db.Json(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["projects.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("domain_id", "name", name="uq_users_name"),
    )
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_users_default_project_id"), ["default_project_id"], unique=False)

    op.create_table(
        "access_rules",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=255), nullable=True),
        sa.Column("path", sa.String(length=128), nullable=True),
        sa.Column("method", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("access_rules", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_access_rules_user_id"), ["user_id"], unique=False)

    op.create_table(
        "application_credentials",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("secret_hash", sa.String(length=255), nullable=False),
        sa.Column("expires_at", cloudseed.kernel.db.UtcDateTime(), nullable=True),
        sa.Column("unrestricted", sa.Boolean(), nullable=False),
        sa.Column("restricted_paths", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("user_id", "name", name="uq_application_credentials_name"),
    )
    with op.batch_alter_table("application_credentials", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_application_credentials_project_id"), ["project_id"], unique=False)

    op.create_table(
        "assignments",
        sa.Column("actor_kind", sa.String(length=8), nullable=False),
        sa.Column("actor_id", sa.String(length=64), nullable=False),
        sa.Column("target_kind", sa.String(length=8), nullable=False),
        sa.Column("target_id", sa.String(length=64), nullable=False),
        sa.Column("role_id", sa.String(length=64), nullable=False),
        sa.Column("inherited", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("actor_kind", "actor_id", "target_kind", "target_id", "role_id", "inherited"),
    )
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_assignments_role_id"), ["role_id"], unique=False)
        batch_op.create_index("ix_assignments_target", ["target_kind", "target_id"], unique=False)

    op.create_table(
        "credentials",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("credentials", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_credentials_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_credentials_user_id"), ["user_id"], unique=False)

    op.create_table(
        "implied_roles",
        sa.Column("prior_role_id", sa.String(length=64), nullable=False),
        sa.Column("implied_role_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["implied_role_id"], ["roles.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["prior_role_id"], ["roles.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("prior_role_id", "implied_role_id"),
    )
    with op.batch_alter_table("implied_roles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_implied_roles_implied_role_id"), ["implied_role_id"], unique=False)

    op.create_table(
        "limits",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("registered_limit_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("domain_id", sa.String(length=64), nullable=True),
        sa.Column("resource_limit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["domain_id"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["registered_limit_id"],
            ["registered_limits.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("limits", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_limits_registered_limit_id"), ["registered_limit_id"], unique=False)
        batch_op.create_index("uq_limits_domain", ["registered_limit_id", "domain_id"], unique=True)
        batch_op.create_index("uq_limits_project", ["registered_limit_id", "project_id"], unique=True)

    op.create_table(
        "memberships",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "group_id"),
    )
    with op.batch_alter_table("memberships", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_memberships_group_id"), ["group_id"], unique=False)

    op.create_table(
        "trusts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("trustor_user_id", sa.String(length=64), nullable=False),
        sa.Column("trustee_user_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("impersonation", sa.Boolean(), nullable=False),
        sa.Column("expires_at", cloudseed.kernel.db.UtcDateTime(), nullable=True),
        sa.Column("remaining_uses", sa.Integer(), nullable=True),
        sa.Column("redelegation_count", sa.Integer(), nullable=False),
        sa.Column("redelegated_trust_id", sa.String(length=64), nullable=True),
        sa.Column("deleted_at", cloudseed.kernel.db.UtcDateTime(), nullable=True),
        sa.Column("roles", cloudseed.kernel.db.Json(), nullable=False),
        sa.Column("extra", cloudseed.kernel.db.Json(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["trustee_user_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["trustor_user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("trusts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trusts_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_trusts_trustee_user_id"), ["trustee_user_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_trusts_trustor_user_id"), ["trustor_user_id"], unique=False)

    op.create_table(
        "application_credential_roles",
        sa.Column("application_credential_id", sa.String(length=64), nullable=False),
        sa.Column("role_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["application_credential_id"], ["application_credentials.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("application_credential_id", "role_id"),
    )
    with op.batch_alter_table("application_credential_roles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_application_credential_roles_role_id"), ["role_id"], unique=False)

    op.create_table(
        "application_credential_rules",
        sa.Column("application_credential_id", sa.String(length=64), nullable=False),
        sa.Column("access_rule_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["access_rule_id"],
            ["access_rules.id"],
        ),
        sa.ForeignKeyConstraint(["application_credential_id"], ["application_credentials.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("application_credential_id", "access_rule_id"),
    )
    with op.batch_alter_table("application_credential_rules", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_application_credential_rules_access_rule_id"), ["access_rule_id"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("application_credential_rules", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_application_credential_rules_access_rule_id"))

    op.drop_table("application_credential_rules")
    with op.batch_alter_table("application_credential_roles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_application_credential_roles_role_id"))

    op.drop_table("application_credential_roles")
    with op.batch_alter_table("trusts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trusts_trustor_user_id"))
        batch_op.drop_index(batch_op.f("ix_trusts_trustee_user_id"))
        batch_op.drop_index(batch_op.f("ix_trusts_project_id"))

    op.drop_table("trusts")
    with op.batch_alter_table("memberships", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_memberships_group_id"))

    op.drop_table("memberships")
    with op.batch_alter_table("limits", schema=None) as batch_op:
        batch_op.drop_index("uq_limits_project")
        batch_op.drop_index("uq_limits_domain")
        batch_op.drop_index(batch_op.f("ix_limits_registered_limit_id"))

    op.drop_table("limits")
    with op.batch_alter_table("implied_roles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_implied_roles_implied_role_id"))

    op.drop_table("implied_roles")
    with op.batch_alter_table("credentials", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_credentials_user_id"))
        batch_op.drop_index(batch_op.f("ix_credentials_project_id"))

    op.drop_table("credentials")
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.drop_index("ix_assignments_target")
        batch_op.drop_index(batch_op.f("ix_assignments_role_id"))

    op.drop_table("assignments")
    with op.batch_alter_table("application_credentials", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_application_credentials_project_id"))

    op.drop_table("application_credentials")
    with op.batch_alter_table("access_rules", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_access_rules_user_id"))

    op.drop_table("access_rules")
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_users_default_project_id"))

    op.drop_table("users")
    with op.batch_alter_table("roles", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_roles_name", sqlite_where=sa.text("domain_id IS NULL"), postgresql_where=sa.text("domain_id IS NULL")
        )
        batch_op.drop_index("uq_roles_domain_name")

    op.drop_table("roles")
    with op.batch_alter_table("registered_limits", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_registered_limits_everywhere",
            sqlite_where=sa.text("region_id IS NULL"),
            postgresql_where=sa.text("region_id IS NULL"),
        )
        batch_op.drop_index("uq_registered_limits")

    op.drop_table("registered_limits")
    op.drop_table("project_tags")
    op.drop_table("groups")
    with op.batch_alter_table("endpoints", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_endpoints_service_id"))

    op.drop_table("endpoints")
    op.drop_table("services")
    with op.batch_alter_table("revocations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_revocations_revoked_at"))

    op.drop_table("revocations")
    op.drop_table("regions")
    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_projects_name", sqlite_where=sa.text("NOT is_domain"), postgresql_where=sa.text("NOT is_domain")
        )
        batch_op.drop_index("uq_domains_name", sqlite_where=sa.text("is_domain"), postgresql_where=sa.text("is_domain"))
        batch_op.drop_index(batch_op.f("ix_projects_parent_id"))

    op.drop_table("projects")
    op.drop_table("policies")
