"""Flows: every request's way from service to service, drawn, and drawn again while it goes on.

Without JavaScript the picture is that of the page's loading; `static/live.js` asks for the flow's state once a second
and loads the picture anew when it has changed.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from urllib.parse import quote

from cloudseed.dashboard.html import Html, el
from cloudseed.dashboard.layout import PREFIX, table
from cloudseed.dashboard.visit import Resource, Visit
from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.flow import diagram, picture, steps
from cloudseed.kernel.flow.store import FlowSummary, StoredExchange
from cloudseed.kernel.http.app import Response

_MAX_DRAWN = 2000  # exchanges; nobody reads a longer picture, and it would be megabytes


def flow_table(flows: Sequence[FlowSummary]) -> Html:
    """Flows in a list, the newest first."""
    rows = []
    for flow in flows:
        began = datetime.datetime.fromtimestamp(flow.started / 1e9).astimezone()
        rows.append((el("time", began.strftime("%H:%M:%S"), datetime=began.isoformat()),
                     el("a", flow.first_change or "(reads)", href=f"{PREFIX}/flows/{flow.flow_id}"),
                     f"{flow.exchanges}", f"{(flow.ended - flow.started) / 1e6:,.0f} ms"))
    return table(("Began", "What", "Exchanges", "Took"), rows, "Nothing was asked of this cloud yet.")


def _whose(visit: Visit) -> str | None:
    return None if visit.is_admin else visit.project_id


async def _exchanges(visit: Visit, flow_id: str) -> list[StoredExchange]:
    found = await visit.dashboard.flows.exchanges(flow_id, _whose(visit))
    if not found and flow_id != "last":
        raise NotFound("There is no such flow, or it is another project's.")
    return found[:_MAX_DRAWN]


class Flows(Resource):
    """/dashboard/flows"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        flows = await visit.dashboard.flows.latest(_whose(visit))
        visit.page(resp, "Flows", el(
            "p", "Each line is what one run of a client caused, behind its answers too. ",
            el("a", "Watch the latest change live", href=f"{PREFIX}/flows/last", class_="button")), flow_table(flows))


class Flow(Resource):
    """/dashboard/flows/{flow_id}; `last` is the latest that changed something, whichever that is by then"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        flow_id = names["flow_id"]
        exchanges = await _exchanges(visit, flow_id)
        rpc = visit.req.text_param("rpc") != "no"
        path = f"{PREFIX}/flows/{quote(flow_id, safe='')}"
        toggle = el("a", "without the bus" if rpc else "with the bus", href=f"{path}?rpc={'no' if rpc else 'yes'}",
                    class_="button")
        words = "The latest change" if flow_id == "last" else f"Flow {flow_id[:12]}"
        query = f"?rpc={'yes' if rpc else 'no'}"
        visit.page(
            resp, words, el("p", el("span", _told(exchanges), id="told"), " ", toggle, " ",
                            el("a", "the picture alone", href=f"{path}/picture.svg{query}", class_="button")),
            el("figure", el("img", id="flow", src=f"{path}/picture.svg{query}", alt="sequence diagram",
                            data_state=f"{path}/state", data_version=_version(exchanges)), class_="flow"),
            _steps_table(exchanges),
            el("details", el("summary", "As Mermaid text"),
               el("pre", diagram.mermaid(exchanges, rpc=rpc, notes=steps.notes(_steps(exchanges))))),
            live=True)


def _steps(exchanges: Sequence[StoredExchange]) -> list[steps.MarkedStep]:
    """The steps of a machine's provisioning, in a flow that orders one; else none."""
    marked = steps.mark(exchanges)
    return marked if any(step.number == 3 and step.exchange is not None for step in marked) else []


def _steps_table(exchanges: Sequence[StoredExchange]) -> Html | None:
    marked = _steps(exchanges)
    if not marked:
        return None
    found = sum(step.exchange is not None for step in marked)
    return el("details", el("summary", f"The steps of a machine's provisioning: {found} of {len(marked)}"), table(
        ("", "Step", "Exchange"),
        [(step.number, step.title,
          f"{step.exchange.caller} to {step.exchange.callee}: {step.exchange.method} {step.exchange.path}"
          if step.exchange is not None else el("small", f"not in this flow: {step.absent}")) for step in marked], ""))


class Picture(Resource):
    """/dashboard/flows/{flow_id}/picture.svg"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        exchanges = await _exchanges(visit, names["flow_id"])
        resp.content_type = "image/svg+xml"
        resp.text = picture.svg(exchanges, rpc=visit.req.text_param("rpc") != "no", title=_told(exchanges), column=138,
                                notes=steps.notes(_steps(exchanges)))


class State(Resource):
    """/dashboard/flows/{flow_id}/state: what `live.js` asks"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        exchanges = await _exchanges(visit, names["flow_id"])
        resp.media = {"version": _version(exchanges), "told": _told(exchanges)}


def _version(exchanges: Sequence[StoredExchange]) -> str:
    """Another word whenever the picture is another."""
    return f"{exchanges[0].trace_id[:8]}-{len(exchanges)}-{sum(1 for e in exchanges if e.ended)}" if exchanges else "0"


def _told(exchanges: Sequence[StoredExchange]) -> str:
    if not exchanges:
        return "Nothing was changed yet: order something, and watch."
    change = next((e for e in exchanges if e.caller in ("openstack", "browser") and e.method not in ("GET", "HEAD")
                   and not e.path.endswith("/auth/tokens")), exchanges[0])
    took = (max(max(e.ended, e.started) for e in exchanges) - exchanges[0].started) / 1e6
    return f"{change.method} {change.path}: {len(exchanges)} exchanges in {took:,.0f} ms"
