"""Placement's tables.  Nobody else reads or writes them.

Usage is never stored: it is the sum of allocation rows.  `resource_providers.generation` guards a provider's
inventories, traits and aggregates against lost updates, `consumers.generation` a consumer's allocations.
"""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.db import UtcDateTime

metadata = sa.MetaData()

# One row.  change: number of the latest write transaction; removals and vocabulary: how often a provider was
# deleted, a trait or resource class made, renamed or deleted; standards: versions of the libraries whose names
# were last written.
changes = sa.Table(
    "changes", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("change", sa.Integer, nullable=False),
    sa.Column("removals", sa.Integer, nullable=False),
    sa.Column("vocabulary", sa.Integer, nullable=False),
    sa.Column("standards", sa.String(255), nullable=False))

resource_classes = sa.Table(
    "resource_classes", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime))

traits = sa.Table(
    "traits", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False))

# id: the number of the transaction that made it, so never used twice; root_id: its own id at the top of a tree;
# change: the transaction that last touched it or anything that hangs on it.
resource_providers = sa.Table(
    "resource_providers", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("parent_id", sa.Integer, sa.ForeignKey("resource_providers.id"), index=True),
    sa.Column("root_id", sa.Integer, sa.ForeignKey("resource_providers.id"), nullable=False, index=True),
    sa.Column("change", sa.Integer, nullable=False, index=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime))

inventories = sa.Table(
    "inventories", metadata,
    sa.Column("provider_id", sa.Integer, sa.ForeignKey("resource_providers.id"), primary_key=True,
              autoincrement=False),
    sa.Column("class_id", sa.Integer, sa.ForeignKey("resource_classes.id"), primary_key=True, autoincrement=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("reserved", sa.Integer, nullable=False),
    sa.Column("min_unit", sa.Integer, nullable=False),
    sa.Column("max_unit", sa.Integer, nullable=False),
    sa.Column("step_size", sa.Integer, nullable=False),
    sa.Column("allocation_ratio", sa.Float, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime),
    sa.Index("inventories_class", "class_id"))

provider_traits = sa.Table(
    "provider_traits", metadata,
    sa.Column("provider_id", sa.Integer, sa.ForeignKey("resource_providers.id"), primary_key=True,
              autoincrement=False),
    sa.Column("trait_id", sa.Integer, sa.ForeignKey("traits.id"), primary_key=True, autoincrement=False),
    sa.Index("provider_traits_trait", "trait_id"))

# An aggregate is nothing but the set of providers that name it.
provider_aggregates = sa.Table(
    "provider_aggregates", metadata,
    sa.Column("provider_id", sa.Integer, sa.ForeignKey("resource_providers.id"), primary_key=True,
              autoincrement=False),
    sa.Column("aggregate_uuid", sa.String(36), primary_key=True))

# A consumer exists exactly as long as it has allocations.  consumer_type: null when written by a client older
# than 1.38, shown as unknown.
consumers = sa.Table(
    "consumers", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("consumer_type", sa.String(255)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime),
    sa.Index("consumers_owner", "project_id", "user_id"))

allocations = sa.Table(
    "allocations", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("provider_id", sa.Integer, sa.ForeignKey("resource_providers.id"), nullable=False),
    sa.Column("class_id", sa.Integer, sa.ForeignKey("resource_classes.id"), nullable=False),
    sa.Column("consumer_id", sa.Integer, sa.ForeignKey("consumers.id"), nullable=False),
    sa.Column("used", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("consumer_id", "provider_id", "class_id", name="allocations_once"),
    sa.Index("allocations_usage", "provider_id", "class_id", "used"),
    sa.Index("allocations_class", "class_id"))
