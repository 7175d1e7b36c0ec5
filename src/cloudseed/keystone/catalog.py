"""The catalogue as a token carries it: services with their endpoints, addresses filled in for its project."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from cloudseed.keystone.directory import Record
from cloudseed.keystone.models import endpoints, services
from cloudseed.keystone.state import Keystone

# %(project_id)s and $(project_id)s, and the old names of the same
_FIELD = re.compile(r"[%$]\((project_id|tenant_id|user_id|domain_id)\)s")


async def _enabled(ks: Keystone) -> list[tuple[Record, list[Record]]]:
    async def load() -> list[tuple[Record, list[Record]]]:
        async with ks.db.read() as tx:
            found = await tx.all(sa.select(services).where(services.c.enabled.is_(True)).order_by(services.c.type))
            rows = await tx.all(sa.select(endpoints).where(endpoints.c.enabled.is_(True)).order_by(endpoints.c.id))
        by_service: dict[str, list[Record]] = {}
        for row in rows:
            by_service.setdefault(row.service_id, []).append(row)
        return [(service, by_service.get(service.id, [])) for service in found]
    return await ks.memory.recall(("catalog",), load)


def fill(url: str, project_id: str | None, user_id: str) -> str | None:
    """An endpoint's address for one token; None when it needs a project and the token has none."""
    values = {"project_id": project_id, "tenant_id": project_id, "user_id": user_id, "domain_id": None}
    if any(values[name] is None for name in _FIELD.findall(url)):
        return None
    return _FIELD.sub(lambda match: values[match[1]] or "", url)


async def catalog_for(ks: Keystone, project_id: str | None, user_id: str) -> list[dict[str, Any]]:
    """The catalogue of a token, in the shape of its body."""
    out = []
    for service, rows in await _enabled(ks):
        shown = []
        for row in rows:
            url = fill(row.url, project_id, user_id)
            if url is not None:
                shown.append({"id": row.id, "interface": row.interface, "region_id": row.region_id, "url": url,
                              "region": row.region_id})
        out.append({"endpoints": shown, "id": service.id, "type": service.type,
                    "name": service.name})
    return out
