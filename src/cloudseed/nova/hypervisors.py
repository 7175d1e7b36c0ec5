"""Hypervisors: compute nodes as their nova-compute reported them, with what their servers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http.paging import Page
from cloudseed.nova.models import compute_nodes, servers, services
from cloudseed.nova.paging import Sort, page_of
from cloudseed.nova.services import alive_since, is_up

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Hypervisor(NamedTuple):
    """A node with its service (null when it never reported) and the sums of its servers."""

    node: sa.Row[Any]
    service: sa.Row[Any] | None
    up: bool
    running: int
    vcpus: int
    memory_mb: int
    disk_gb: int
    servers: list[sa.Row[Any]]  # id and name; only when asked for


def number_of(id: str) -> int:
    """The small number by which old microversions know a service or node: drawn from its uuid, so it is stable."""
    return int(id.replace("-", "")[:7], 16)


async def list_hypervisors(nova: Nova, page: Page, *, pattern: str | None = None,
                           with_servers: bool = False) -> tuple[list[Hypervisor], bool]:
    """Nodes by id.  `pattern`: a part of the name.  Four statements at most."""
    query = sa.select(compute_nodes)
    if pattern is not None:
        query = query.where(compute_nodes.c.hypervisor_hostname.icontains(pattern, autoescape=True))
    async with nova.db.read() as tx:
        rows, more = await page_of(tx, query, compute_nodes.c.id, page, Sort(((compute_nodes.c.id, False),)),
                                   Invalid(f"marker [{page.marker}] not found"))
        return await _whole(nova, tx, rows, with_servers), more


async def get_hypervisor(nova: Nova, id: str, *, with_servers: bool = False) -> Hypervisor:
    """By uuid, or by its old number."""
    async with nova.db.read() as tx:
        row = await tx.first(sa.select(compute_nodes).where(compute_nodes.c.id == id))
        if row is None and id.isascii() and id.isdigit():
            rows = await tx.all(sa.select(compute_nodes))
            row = next((row for row in rows if str(number_of(row.id)) == id), None)
        if row is None:
            raise NotFound(f"Hypervisor with ID '{id}' could not be found.")
        return (await _whole(nova, tx, [row], with_servers))[0]


async def _whole(nova: Nova, tx: Tx, rows: list[sa.Row[Any]], with_servers: bool) -> list[Hypervisor]:
    nodes = [row.hypervisor_hostname for row in rows]
    known = {row.host: row for row in await tx.all(
        sa.select(services).where(services.c.binary == "nova-compute",
                                  services.c.host.in_([row.host for row in rows])))}
    present = (servers.c.node.in_(nodes), servers.c.deleted_at.is_(None))
    sums = {row.node: row for row in await tx.all(
        sa.select(servers.c.node, sa.func.count().label("running"), sa.func.sum(servers.c.vcpus).label("vcpus"),
                  sa.func.sum(servers.c.memory_mb).label("memory_mb"), sa.func.sum(servers.c.disk_gb).label("disk_gb"))
        .where(*present).group_by(servers.c.node))}
    its: dict[str, list[sa.Row[Any]]] = {}
    if with_servers:
        for server in await tx.all(sa.select(servers.c.id, servers.c.name, servers.c.node).where(*present)
                                   .order_by(servers.c.created_at)):
            its.setdefault(server.node, []).append(server)
    since, found = alive_since(nova), []
    for row in rows:
        service, used = known.get(row.host), sums.get(row.hypervisor_hostname)
        found.append(Hypervisor(row, service, service is not None and is_up(service, since),
                                used.running if used else 0, used.vcpus if used else 0,
                                used.memory_mb if used else 0, used.disk_gb if used else 0,
                                its.get(row.hypervisor_hostname, [])))
    return found
