"""Overview: how much of the project's quota is used, its servers, and what happened lately."""

from __future__ import annotations

import asyncio

from cloudseed.dashboard.html import el
from cloudseed.dashboard.layout import PREFIX, meter
from cloudseed.dashboard.pages import flows, servers
from cloudseed.dashboard.visit import Resource, Visit
from cloudseed.kernel.errors import CloudseedError, Unauthenticated
from cloudseed.kernel.http.app import Response

_NETWORK = (("network", "Networks"), ("port", "Ports"), ("router", "Routers"), ("floatingip", "Floating IPs"),
            ("security_group", "Security groups"))


class Overview(Resource):
    """/dashboard/"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        limits, quotas, found, latest = await asyncio.gather(
            visit.ask("compute", "GET", "/v2.1/limits"), _network_quotas(visit), servers.listed(visit),
            visit.dashboard.flows.latest(None if visit.is_admin else visit.project_id, 8))
        own = limits["limits"]["absolute"]
        meters = [meter("Instances", own["totalInstancesUsed"], own["maxTotalInstances"]),
                  meter("VCPUs", own["totalCoresUsed"], own["maxTotalCores"]),
                  meter("Memory", own["totalRAMUsed"], own["maxTotalRAMSize"], " MiB"),
                  *(meter(label, quotas[key]["used"], quotas[key]["limit"]) for key, label in _NETWORK
                    if key in quotas)]
        visit.page(resp, "Overview", el("section", el("h2", "Quota"), el("div", meters, class_="meters")),
                   el("section", el("h2", "Instances"), servers.short_table(found)),
                   el("section", el("h2", el("a", "Flows", href=f"{PREFIX}/flows")), flows.flow_table(latest)))


async def _network_quotas(visit: Visit) -> dict[str, dict[str, int]]:
    try:
        answer = await visit.ask("network", "GET", f"/v2.0/quotas/{visit.project_id}/details.json")
    except Unauthenticated:
        raise
    except CloudseedError:
        return {}
    return {name: value for name, value in answer["quota"].items() if isinstance(value, dict)}
