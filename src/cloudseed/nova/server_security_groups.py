"""The security groups of servers: neutron's ports know them, so they are asked for, in two calls at most."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.nova.servers import Server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
Groups = dict[str, list[dict[str, str]]]  # server id -> [{"name"}]
CHUNK = 150  # ids in one query string


async def load_security_groups(nova: Nova, ctx: Context, rows: Sequence[Server]) -> Groups:
    """What is asked for while a server has no port, and what its ports have afterwards.

    When neutron does not answer, servers are shown without their groups: a list is worth more than an error.
    """
    found: dict[str, dict[str, None]] = {}
    try:
        for start in range(0, len(rows), CHUNK):
            ids = [row.id for row in rows[start:start + CHUNK]]
            answer = await nova.api_session.get_json(
                ctx, "network", "/v2.0/ports", as_user=True,
                params={"device_id": ids, "fields": ["id", "device_id", "security_groups"]})
            for port in answer["ports"]:
                found.setdefault(port["device_id"], {}).update(dict.fromkeys(port.get("security_groups", ())))
        names = await _names(nova, ctx, sorted({group for groups in found.values() for group in groups}))
    except CloudseedError as exc:
        log.warning("%s: security groups of servers are unknown: %s", ctx.request_id, exc.message)
        return {}
    result: Groups = {}
    for row in rows:
        if row.id in found:
            result[row.id] = [{"name": names.get(group, group)} for group in found[row.id]]
        elif row.vm_state == "building" and not row.network_info and row.requested_networks != "none":
            result[row.id] = [{"name": name} for name in row.security_groups]
    return {id: groups for id, groups in result.items() if groups}


async def _names(nova: Nova, ctx: Context, ids: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for start in range(0, len(ids), CHUNK):
        answer = await nova.api_session.get_json(
            ctx, "network", "/v2.0/security-groups", as_user=True,
            params={"id": ids[start:start + CHUNK], "fields": ["id", "name"]})
        names |= {group["id"]: group["name"] for group in answer["security_groups"]}
    return names


async def list_security_groups(nova: Nova, ctx: Context, server: Server) -> list[dict[str, Any]]:
    """The groups of one server's ports, whole."""
    answer = await nova.api_session.get_json(ctx, "network", "/v2.0/ports", as_user=True,
                                             params={"device_id": server.id})
    ids = sorted({group for port in answer["ports"] for group in port.get("security_groups", ())})
    if not ids:
        return []
    groups = await nova.api_session.get_json(ctx, "network", "/v2.0/security-groups", as_user=True,
                                             params={"id": ids})
    found: list[dict[str, Any]] = groups["security_groups"]
    return found
