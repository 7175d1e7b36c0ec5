"""Swift's tables.  Written by the proxy alone; `files.py` holds the bytes that `objects.file` names."""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.db import Json

metadata = sa.MetaData()

# An account that was written to; one that never was is empty and has no row (upstream: account_autocreate).
accounts = sa.Table(
    "accounts", metadata,
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("metadata", Json, nullable=False))  # lower-case header -> value

containers = sa.Table(
    "containers", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("account", sa.String(256), sa.ForeignKey("accounts.name"), nullable=False),
    sa.Column("name", sa.String(256), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("read_acl", sa.Text, nullable=False),
    sa.Column("write_acl", sa.Text, nullable=False),
    sa.UniqueConstraint("account", "name"))

# Either `file` (bytes on disk, this row's alone) or `manifest` (a static large object: a list of segments).
# A row is replaced whole; the file of the replaced row goes to `trash` in the same transaction.
objects = sa.Table(
    "objects", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("container_id", sa.Integer, sa.ForeignKey("containers.id"), nullable=False),
    sa.Column("name", sa.String(1024), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("etag", sa.String(32), nullable=False),
    sa.Column("content_type", sa.String(1024), nullable=False),
    sa.Column("file", sa.String(36), index=True),
    sa.Column("manifest", Json),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("delete_at", sa.Float, index=True),  # Unix time; null: never
    sa.UniqueConstraint("container_id", "name"),
    sa.Index("ix_objects_usage", "container_id", "size"))

# Files whose row is gone; removed once that is durable.
trash = sa.Table(
    "trash", metadata,
    sa.Column("file", sa.String(36), primary_key=True),
    sa.Column("since", sa.Float, nullable=False))
