"""What nova holds, for the audit, and the story of one server, for `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.nova.compute.devices import decode_devices, root_of
from cloudseed.nova.migration_records import FINAL
from cloudseed.nova.models import (
    compute_nodes,
    console_tokens,
    migrations,
    server_action_events,
    server_actions,
    server_faults,
    servers,
    services,
)
from cloudseed.nova.services import alive_since, is_up

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


async def picture(nova: Nova) -> dict[str, Any]:
    """Every server that is not deleted, and every compute."""
    columns = (servers.c.id, servers.c.project_id, servers.c.name, servers.c.vm_state, servers.c.task_state,
               servers.c.power_state, servers.c.host, servers.c.node, servers.c.image_id, servers.c.flavor,
               servers.c.network_info, servers.c.block_devices, servers.c.system_metadata,
               servers.c.created_at, servers.c.updated_at)
    async with nova.db.read() as tx:
        rows = await tx.all(sa.select(*columns).where(servers.c.deleted_at.is_(None)).order_by(servers.c.created_at))
        computes = await tx.all(sa.select(
            compute_nodes.c.id, compute_nodes.c.host, compute_nodes.c.hypervisor_hostname, services.c.disabled,
            services.c.forced_down, services.c.last_seen_at).select_from(compute_nodes.outerjoin(
                services, sa.and_(services.c.host == compute_nodes.c.host, services.c.binary == "nova-compute"))))
        moves = await tx.all(sa.select(migrations.c.uuid, migrations.c.server_id, migrations.c.status, servers.c.id,
                                       migrations.c.source_host, migrations.c.dest_host)
                             .select_from(migrations.outerjoin(servers, sa.and_(
                                 servers.c.id == migrations.c.server_id, servers.c.deleted_at.is_(None))))
                             .where(migrations.c.status.not_in(FINAL)))
        tokens = await tx.all(sa.select(console_tokens.c.token_digest, console_tokens.c.server_id,
                                        console_tokens.c.kind, console_tokens.c.expires_at))
    since = alive_since(nova)
    return {
        "console_tokens": [{"digest": token.token_digest[:12], "server_id": token.server_id, "kind": token.kind,
                            "expires_at": token.expires_at.timestamp()} for token in tokens],
        "migrations": [{"uuid": move.uuid, "server_id": move.server_id, "status": move.status,
                        "source_host": move.source_host, "dest_host": move.dest_host,
                        "server_exists": move.id is not None} for move in moves],
        "servers": [{
            "id": row.id, "project_id": row.project_id, "name": row.name, "vm_state": row.vm_state,
            "task_state": row.task_state, "power_state": row.power_state, "host": row.host, "node": row.node,
            "image_id": (row.system_metadata or {}).get("disk_image_id") or row.image_id,
            "vcpus": row.flavor.get("vcpus"), "ram": row.flavor.get("ram"),
            "disk": _claimed_gib(row), "volumes": _volumes(row),
            "overridden_resources": [name.removeprefix("resources:") for name in row.flavor.get("extra_specs") or {}
                                     if name.startswith("resources:")],
            "ports": [vif["id"] for vif in row.network_info if isinstance(vif, dict) and "id" in vif],
            "created_at": row.created_at.timestamp(), "updated_at": row.updated_at.timestamp()} for row in rows],
        "computes": [{"id": row.id, "host": row.host, "node": row.hypervisor_hostname,
                      "up": row.last_seen_at is not None and is_up(row, since), "disabled": bool(row.disabled)}
                     for row in computes],
        "agents": [{"host": row.host, "binary": "nova-compute",
                    "up": row.last_seen_at is not None and is_up(row, since)} for row in computes]}


def _claimed_gib(row: Any) -> int:
    """What the server's disks take of its host: nothing for a root disk that is a volume."""
    root = root_of(decode_devices(row.block_devices))
    own = 0 if root is not None and root.is_volume else row.flavor.get("disk", 0)
    return int(own + row.flavor.get("ephemeral", 0))


def _volumes(row: Any) -> list[dict[str, Any]]:
    return [{"volume_id": device.volume_id, "attachment_id": device.attachment_id, "state": device.state,
             "read_only": device.read_only, "device": device.id}
            for device in decode_devices(row.block_devices) if device.is_volume]


async def explain(nova: Nova, kind: str, name: str) -> dict[str, Any] | None:
    """A server's story by its id or its name (the newest one of that name); None when there is none."""
    if kind != "server":
        return None
    async with nova.db.read() as tx:
        row = await tx.first(sa.select(servers).where(sa.or_(servers.c.id == name, servers.c.name == name))
                             .order_by(servers.c.deleted_at.is_not(None), servers.c.created_at.desc()))
        if row is None:
            return None
        faults = await tx.all(sa.select(server_faults).where(server_faults.c.server_id == row.id)
                              .order_by(server_faults.c.id))
        actions = await tx.all(sa.select(server_actions).where(server_actions.c.server_id == row.id)
                               .order_by(server_actions.c.id))
        events = await tx.all(sa.select(server_action_events).where(server_action_events.c.server_id == row.id)
                              .order_by(server_action_events.c.id))
    return {
        "kind": "server", "id": row.id, "name": row.name, "project_id": row.project_id, "user_id": row.user_id,
        "vm_state": row.vm_state, "task_state": row.task_state, "power_state": row.power_state, "host": row.host,
        "image_id": row.image_id, "flavor": row.flavor.get("name"), "created_at": row.created_at.timestamp(),
        "updated_at": row.updated_at.timestamp(),
        "deleted_at": row.deleted_at.timestamp() if row.deleted_at else None,
        "volumes": _volumes(row),
        "actions": [{"action": a.action, "request_id": a.request_id, "user_id": a.user_id, "message": a.message,
                     "started_at": a.start_time.timestamp(),
                     "events": [{"event": e.event, "host": e.host, "result": e.result, "details": e.details,
                                 "started_at": e.start_time.timestamp(),
                                 "ended_at": e.finish_time.timestamp() if e.finish_time else None}
                                for e in events if e.request_id == a.request_id]} for a in actions],
        "faults": [{"code": f.code, "message": f.message, "at": f.created_at.timestamp()} for f in faults],
        "operations": await nova.engine.story(row.id)}
