"""Nova's tables.  Only nova-api and nova-conductor touch them; nova-compute asks over the bus."""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.db import Json, UtcDateTime
from cloudseed.kernel.operations import OperationTables

metadata = sa.MetaData()
operation_tables = OperationTables(metadata)

# A server.  nova-api inserts it and changes what the user may name (name, description, metadata, lock); every
# state column is written by nova-conductor's operations alone.  `deleted_at` null: it exists.  A deleted
# server keeps its row for listings with deleted=true.  `generation` guards concurrent change of state.
servers = sa.Table(
    "servers", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255)),
    sa.Column("hostname", sa.String(255), nullable=False),
    sa.Column("vm_state", sa.String(32), nullable=False),  # upstream's vm_states: building, active, stopped, ...
    sa.Column("task_state", sa.String(32)),  # upstream's task_states, or null
    sa.Column("power_state", sa.Integer, nullable=False, default=0),  # 0 none, 1 running, 3 paused, 4 shutdown, ...
    sa.Column("progress", sa.Integer, nullable=False, default=0),
    sa.Column("image_id", sa.String(36)),  # null: boot from volume
    sa.Column("image_properties", Json, nullable=False),  # of the image when the server was made
    sa.Column("flavor", Json, nullable=False),  # the flavor when the server was made, with extra_specs
    # of `flavor`, for filters and sums in SQL: whoever writes `flavor` writes them too
    sa.Column("flavor_id", sa.String(255), nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("disk_gb", sa.Integer, nullable=False, default=0),  # root and ephemeral
    sa.Column("key_name", sa.String(255)),
    sa.Column("key_data", sa.Text),
    sa.Column("user_data", sa.Text),  # base64, as given
    sa.Column("config_drive", sa.Boolean, nullable=False, default=False),
    sa.Column("availability_zone", sa.String(255)),  # asked for, or null
    sa.Column("host", sa.String(255)),  # null until scheduled
    sa.Column("node", sa.String(255)),
    sa.Column("reservation_id", sa.String(64), nullable=False),
    sa.Column("launch_index", sa.Integer, nullable=False, default=0),
    sa.Column("access_ip_v4", sa.String(64)),
    sa.Column("access_ip_v6", sa.String(64)),
    sa.Column("locked_by", sa.String(16)),  # null, owner or admin
    sa.Column("locked_reason", sa.String(255)),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("system_metadata", Json, nullable=False),
    sa.Column("requested_networks", Json, nullable=False),  # list of {uuid?, port?, fixed_ip?, tag?}, or "auto"/"none"
    sa.Column("security_groups", Json, nullable=False),  # names or ids asked for
    sa.Column("scheduler_hints", Json, nullable=False),
    sa.Column("requested_destination", Json),  # null or {host?, node?, forced}: forced skips the filters
    sa.Column("trusted_image_certificates", Json),
    sa.Column("personality", Json, nullable=False),
    sa.Column("network_info", Json, nullable=False),  # cached picture: list of vifs (compute/network_info.py)
    sa.Column("root_device_name", sa.String(32)),
    # its rows of block_device_mappings as compute/devices.py has them; block_devices.py alone writes it
    sa.Column("block_devices", Json),
    sa.Column("admin_password_hash", sa.String(255)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("launched_at", UtcDateTime),
    sa.Column("terminated_at", UtcDateTime),
    sa.Column("deleted_at", UtcDateTime),
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    sa.Index("servers_project", "project_id", "deleted_at", "created_at"),
    sa.Index("servers_host", "host", "deleted_at"))

server_tags = sa.Table(
    "server_tags", metadata,
    sa.Column("server_id", sa.String(36), primary_key=True),
    sa.Column("tag", sa.String(80), primary_key=True))

# What a server's disks are made of, where that is not its image and flavor alone.  A row guards its volume: a volume
# that is not multi-attach has one row at most.  Rows live as long as the attachment and end with the server.
# `attachment_id` null: cinder has not been asked yet, or the volume was given back.  compute/devices.py says more.
block_device_mappings = sa.Table(
    "block_device_mappings", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("server_id", sa.String(36), nullable=False, index=True),
    sa.Column("source_type", sa.String(16), nullable=False),
    sa.Column("destination_type", sa.String(16), nullable=False),
    sa.Column("boot_index", sa.Integer),
    sa.Column("device_name", sa.String(255)),
    sa.Column("delete_on_termination", sa.Boolean, nullable=False),
    sa.Column("volume_size", sa.Integer),  # GiB; MiB of a swap disk
    sa.Column("volume_type", sa.String(255)),
    sa.Column("guest_format", sa.String(255)),
    sa.Column("device_type", sa.String(255)),
    sa.Column("disk_bus", sa.String(255)),
    sa.Column("tag", sa.String(255)),
    sa.Column("image_id", sa.String(36)),
    sa.Column("snapshot_id", sa.String(36)),
    sa.Column("volume_id", sa.String(36), index=True),
    sa.Column("attachment_id", sa.String(36)),
    sa.Column("connection_info", Json),
    sa.Column("state", sa.String(16), nullable=False),  # new, attached, detaching
    sa.Column("made", sa.Boolean, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),  # the order in which the guest sees them
    sa.Column("created_at", UtcDateTime, nullable=False))

# The latest fault of a server is shown with it.
server_faults = sa.Table(
    "server_faults", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("server_id", sa.String(36), nullable=False, index=True),
    sa.Column("code", sa.Integer, nullable=False),
    sa.Column("message", sa.String(255), nullable=False),
    sa.Column("details", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False))

# What users did to a server (os-instance-actions), with the events of each action.
server_actions = sa.Table(
    "server_actions", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("server_id", sa.String(36), nullable=False, index=True),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("message", sa.String(255)),
    sa.Column("start_time", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False))

server_action_events = sa.Table(
    "server_action_events", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("server_id", sa.String(36), nullable=False, index=True),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("event", sa.String(64), nullable=False),  # e.g. compute__do_build_and_run_instance
    sa.Column("start_time", UtcDateTime, nullable=False),
    sa.Column("finish_time", UtcDateTime),
    sa.Column("result", sa.String(32)),  # Success, Error
    sa.Column("details", sa.Text),
    sa.Column("host", sa.String(255)))

# What opens a console (console_tokens.py): the token's SHA-256, since the token is a secret of its URL.
console_tokens = sa.Table(
    "console_tokens", metadata,
    sa.Column("token_digest", sa.String(64), primary_key=True),
    sa.Column("server_id", sa.String(36), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),  # novnc, serial
    sa.Column("host", sa.String(255), nullable=False),  # where the server was: elsewhere the token is worth nothing
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False, index=True))

# A move of a server from one flavor or host to another.  `uuid` is also the consumer in placement that holds what
# the server had before, until the move is confirmed or reverted.  `status`: upstream's words; finished: the user
# has to decide.  `old_vm_state`: what the server was, and is again after it.
migrations = sa.Table(
    "migrations", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("server_id", sa.String(36), nullable=False, index=True),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),  # resize, migration, live-migration, evacuation
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("source_host", sa.String(255), nullable=False),
    sa.Column("source_node", sa.String(255), nullable=False),
    sa.Column("dest_host", sa.String(255)),
    sa.Column("dest_node", sa.String(255)),
    sa.Column("old_flavor", Json, nullable=False),
    sa.Column("new_flavor", Json, nullable=False),
    sa.Column("old_vm_state", sa.String(32), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False))

flavors = sa.Table(
    "flavors", metadata,
    sa.Column("id", sa.String(255), primary_key=True),  # the API's flavor id
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("ram", sa.Integer, nullable=False),  # MiB
    sa.Column("disk", sa.Integer, nullable=False),  # GiB
    sa.Column("ephemeral", sa.Integer, nullable=False, default=0),  # GiB
    sa.Column("swap", sa.Integer, nullable=False, default=0),  # MiB
    sa.Column("rxtx_factor", sa.Float, nullable=False, default=1.0),
    sa.Column("is_public", sa.Boolean, nullable=False, default=True),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("description", sa.Text),
    sa.Column("extra_specs", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False))

flavor_access = sa.Table(
    "flavor_access", metadata,
    sa.Column("flavor_id", sa.String(255), primary_key=True),
    sa.Column("project_id", sa.String(255), primary_key=True))

key_pairs = sa.Table(
    "key_pairs", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("fingerprint", sa.String(255), nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("user_id", "name"))

# Limits that differ from the defaults; `scope` is "project:<id>", "user:<project id>:<id>" or "class:default".
quota_limits = sa.Table(
    "quota_limits", metadata,
    sa.Column("scope", sa.String(600), primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.Integer, nullable=False))

# A part that reports in: nova-compute on each host, nova-scheduler, nova-conductor.
services = sa.Table(
    "services", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("binary", sa.String(64), nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("disabled_reason", sa.String(255)),
    sa.Column("forced_down", sa.Boolean, nullable=False, default=False),
    sa.Column("last_seen_at", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("host", "binary"),
    # the scheduler counts who is alive, and looks for the latest change, before each of its decisions
    sa.Index("services_alive", "binary", "forced_down", "last_seen_at"),
    sa.Index("services_updated", "updated_at"))

# A hypervisor, as its nova-compute reports it.  `id` is also its resource provider's uuid in placement.
compute_nodes = sa.Table(
    "compute_nodes", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("hypervisor_hostname", sa.String(255), nullable=False, unique=True),
    sa.Column("hypervisor_type", sa.String(64), nullable=False),
    sa.Column("hypervisor_version", sa.Integer, nullable=False),
    sa.Column("host_ip", sa.String(64), nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("local_gb", sa.Integer, nullable=False),
    sa.Column("facts", Json, nullable=False),  # cpu_info, free disk, boot_id, uptime, ...
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("compute_nodes_updated", "updated_at"))

aggregates = sa.Table(
    "aggregates", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime))

aggregate_hosts = sa.Table(
    "aggregate_hosts", metadata,
    sa.Column("aggregate_id", sa.Integer, primary_key=True),
    sa.Column("host", sa.String(255), primary_key=True))

server_groups = sa.Table(
    "server_groups", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project_id", sa.String(255), nullable=False, index=True),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("policy", sa.String(64), nullable=False),
    sa.Column("rules", Json, nullable=False))

server_group_members = sa.Table(
    "server_group_members", metadata,
    sa.Column("group_id", sa.String(36), primary_key=True),
    sa.Column("server_id", sa.String(36), primary_key=True, index=True))
