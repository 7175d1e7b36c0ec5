"""Cinder's tables.  All are written by cinder-api alone, in one process or several.

Deleted things have no row.  `status_since` is when a thing came into its present status (Unix time): the audit
finds by it what is in a transient one for too long.
"""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.db import Json, UtcDateTime
from cloudseed.kernel.operations import OperationTables

metadata = sa.MetaData()


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(36), primary_key=True)


def _owner() -> tuple[sa.Column[str], sa.Column[str]]:
    return (sa.Column("project_id", sa.String(64), nullable=False, index=True),
            sa.Column("user_id", sa.String(64), nullable=False))


def _texts() -> tuple[sa.Column[str | None], sa.Column[str | None]]:
    return sa.Column("name", sa.String(255)), sa.Column("description", sa.Text)


def _status() -> tuple[sa.Column[str], sa.Column[float]]:
    return (sa.Column("status", sa.String(32), nullable=False),
            sa.Column("status_since", sa.Float, nullable=False))


def _times() -> tuple[sa.Column[object], sa.Column[object]]:
    """`updated_at` is null until the first change, as upstream shows it."""
    return sa.Column("created_at", UtcDateTime, nullable=False), sa.Column("updated_at", UtcDateTime)


# `previous_status`: what a volume returns to after an upload, a retype, a backup or a failed attempt.
# `host`: the manager that has its bytes, null until scheduled.  Every change of status is a conditional UPDATE
# (volume_states.move).
volumes = sa.Table(
    "volumes", metadata, _id(), *_owner(), *_texts(), *_status(),
    sa.Column("size", sa.Integer, nullable=False),  # GiB
    sa.Column("growing_to", sa.Integer),  # GiB, while it is being extended: what the quota counts
    sa.Column("previous_status", sa.String(32)),
    sa.Column("migration_status", sa.String(32)),
    sa.Column("host", sa.String(255), index=True),
    sa.Column("availability_zone", sa.String(255), nullable=False),
    sa.Column("volume_type_id", sa.String(36), sa.ForeignKey("volume_types.id"), nullable=False, index=True),
    sa.Column("snapshot_id", sa.String(36)),
    sa.Column("source_volid", sa.String(36)),
    sa.Column("bootable", sa.Boolean, nullable=False),
    sa.Column("multiattach", sa.Boolean, nullable=False),
    sa.Column("readonly", sa.Boolean, nullable=False),
    sa.Column("readonly_said", sa.Boolean),  # somebody set `readonly`: then its metadata shows it
    sa.Column("group_id", sa.String(36), index=True),
    sa.Column("consumes_quota", sa.Boolean, nullable=False),
    *_times())

# What users note of a volume, and what is known of the image that it was made of.
volume_metadata = sa.Table(
    "volume_metadata", metadata,
    sa.Column("volume_id", sa.String(36), sa.ForeignKey("volumes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False))
volume_image_metadata = sa.Table(
    "volume_image_metadata", metadata,
    sa.Column("volume_id", sa.String(36), sa.ForeignKey("volumes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False))

# A place at a volume.  `connection_info` null: reserved only; set: the volume is exported for this attachment.
attachments = sa.Table(
    "attachments", metadata, _id(),
    sa.Column("volume_id", sa.String(36), sa.ForeignKey("volumes.id"), nullable=False, index=True),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column("instance_uuid", sa.String(36), index=True),
    sa.Column("attach_status", sa.String(32), nullable=False),
    sa.Column("status_since", sa.Float, nullable=False),
    sa.Column("attach_mode", sa.String(8), nullable=False),
    sa.Column("attached_host", sa.String(255)),
    sa.Column("mountpoint", sa.String(255)),
    sa.Column("connector", Json),
    sa.Column("connection_info", Json),
    sa.Column("attach_time", UtcDateTime),
    *_times())

snapshots = sa.Table(
    "snapshots", metadata, _id(), *_owner(), *_texts(), *_status(),
    sa.Column("volume_id", sa.String(36), sa.ForeignKey("volumes.id"), nullable=False, index=True),
    sa.Column("volume_size", sa.Integer, nullable=False),  # GiB
    sa.Column("volume_type_id", sa.String(36), nullable=False),
    sa.Column("progress", sa.String(8), nullable=False),
    sa.Column("group_snapshot_id", sa.String(36), index=True),
    sa.Column("consumes_quota", sa.Boolean, nullable=False),
    *_times())
snapshot_metadata = sa.Table(
    "snapshot_metadata", metadata,
    sa.Column("snapshot_id", sa.String(36), sa.ForeignKey("snapshots.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False))

volume_types = sa.Table(
    "volume_types", metadata, _id(),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.String(255)),
    sa.Column("is_public", sa.Boolean, nullable=False),
    sa.Column("extra_specs", Json, nullable=False),
    sa.Column("qos_specs_id", sa.String(36), index=True),
    *_times())
volume_type_access = sa.Table(
    "volume_type_access", metadata,
    sa.Column("volume_type_id", sa.String(36), sa.ForeignKey("volume_types.id", ondelete="CASCADE"),
              primary_key=True),
    sa.Column("project_id", sa.String(255), primary_key=True))
volume_type_encryption = sa.Table(
    "volume_type_encryption", metadata,
    sa.Column("volume_type_id", sa.String(36), sa.ForeignKey("volume_types.id", ondelete="CASCADE"),
              primary_key=True),
    sa.Column("encryption_id", sa.String(36), nullable=False),
    sa.Column("provider", sa.String(255), nullable=False),
    sa.Column("control_location", sa.String(255), nullable=False),
    sa.Column("cipher", sa.String(255)),
    sa.Column("key_size", sa.Integer),
    *_times())
default_types = sa.Table(
    "default_types", metadata,
    sa.Column("project_id", sa.String(255), primary_key=True),
    sa.Column("volume_type_id", sa.String(36), sa.ForeignKey("volume_types.id"), nullable=False, index=True))
qos_specs = sa.Table(
    "qos_specs", metadata, _id(),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("consumer", sa.String(16), nullable=False),
    sa.Column("specs", Json, nullable=False),
    *_times())

# Limits that somebody set; project_id "" holds those of the class "default".  Usage is counted, never stored.
quotas = sa.Table(
    "quotas", metadata,
    sa.Column("project_id", sa.String(255), primary_key=True),
    sa.Column("resource", sa.String(300), primary_key=True),
    sa.Column("hard_limit", sa.Integer, nullable=False))

# `reported_at` (Unix time) and `capabilities` are the manager's reports; the rest is the operator's.
services = sa.Table(
    "services", metadata,
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("binary", sa.String(64), primary_key=True),
    sa.Column("uuid", sa.String(36), nullable=False),
    sa.Column("availability_zone", sa.String(255), nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("disabled_reason", sa.String(255)),
    sa.Column("frozen", sa.Boolean, nullable=False),
    sa.Column("reported_at", sa.Float, nullable=False),
    sa.Column("capabilities", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False))

# What a user should know of something that failed after its 202.
messages = sa.Table(
    "messages", metadata, _id(),
    sa.Column("project_id", sa.String(64), nullable=False, index=True),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("resource_type", sa.String(36), nullable=False),
    sa.Column("resource_uuid", sa.String(36)),
    sa.Column("event_id", sa.String(64), nullable=False),
    sa.Column("action_id", sa.String(8), nullable=False),
    sa.Column("detail_id", sa.String(8), nullable=False),
    sa.Column("user_message", sa.Text, nullable=False),
    sa.Column("message_level", sa.String(16), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
    sa.Column("created_at", UtcDateTime, nullable=False))

# A volume on its way to another project.  The key itself is shown once and never kept.
transfers = sa.Table(
    "transfers", metadata, _id(),
    sa.Column("volume_id", sa.String(36), sa.ForeignKey("volumes.id", ondelete="CASCADE"), nullable=False, unique=True),
    sa.Column("name", sa.String(255)),
    sa.Column("salt", sa.String(64), nullable=False),
    sa.Column("crypt_hash", sa.String(128), nullable=False),
    sa.Column("no_snapshots", sa.Boolean, nullable=False),
    sa.Column("source_project_id", sa.String(64), nullable=False, index=True),
    sa.Column("created_at", UtcDateTime, nullable=False))

# `location`: what the backup manager must know to find the backup's objects again, in its own words.
backups = sa.Table(
    "backups", metadata, _id(), *_owner(), *_texts(), *_status(),
    sa.Column("volume_id", sa.String(36), nullable=False, index=True),
    sa.Column("snapshot_id", sa.String(36)),
    sa.Column("parent_id", sa.String(36), index=True),
    sa.Column("restore_volume_id", sa.String(36)),
    sa.Column("size", sa.Integer, nullable=False),  # GiB of the volume
    sa.Column("object_count", sa.Integer, nullable=False),
    sa.Column("container", sa.String(255)),
    sa.Column("location", Json),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("fail_reason", sa.Text),
    sa.Column("host", sa.String(255)),
    sa.Column("availability_zone", sa.String(255), nullable=False),
    sa.Column("data_timestamp", UtcDateTime, nullable=False),
    *_times())

group_types = sa.Table(
    "group_types", metadata, _id(),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.String(255)),
    sa.Column("is_public", sa.Boolean, nullable=False),
    sa.Column("group_specs", Json, nullable=False),
    *_times())
groups = sa.Table(
    "groups", metadata, _id(), *_owner(), *_texts(), *_status(),
    sa.Column("group_type_id", sa.String(36), sa.ForeignKey("group_types.id"), nullable=False),
    sa.Column("volume_types", Json, nullable=False),  # ids
    sa.Column("availability_zone", sa.String(255), nullable=False),
    sa.Column("host", sa.String(255)),
    sa.Column("group_snapshot_id", sa.String(36)),
    sa.Column("source_group_id", sa.String(36)),
    *_times())
group_snapshots = sa.Table(
    "group_snapshots", metadata, _id(), *_owner(), *_texts(), *_status(),
    sa.Column("group_id", sa.String(36), sa.ForeignKey("groups.id"), nullable=False, index=True),
    sa.Column("group_type_id", sa.String(36), nullable=False),
    *_times())

operation_tables = OperationTables(metadata)
