"""Networks: who is connected with whom, as a picture and as lists."""

from __future__ import annotations

import asyncio
from typing import Any

from cloudseed.dashboard.html import Html, el
from cloudseed.dashboard.layout import LISTED, state, table
from cloudseed.dashboard.visit import Resource, Visit
from cloudseed.kernel.http.app import Response

_WIDTH, _ROW, _TOP = 860, 34, 46
_COLOURS = ("#2563eb", "#7c3aed", "#0d9488", "#ea580c", "#db2777", "#16a34a")


class Networks(Resource):
    """/dashboard/networks"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        networks, subnets, ports, routers, servers = await asyncio.gather(
            visit.find("network", "/v2.0/networks", "networks"), visit.find("network", "/v2.0/subnets", "subnets"),
            visit.find("network", "/v2.0/ports", "ports"), visit.find("network", "/v2.0/routers", "routers"),
            visit.find("compute", "/v2.1/servers", "servers", limit=LISTED))
        named = {server["id"]: server["name"] for server in servers}
        named |= {router["id"]: router["name"] or "router" for router in routers}
        cidrs: dict[str, list[str]] = {}
        for subnet in subnets:
            cidrs.setdefault(subnet["network_id"], []).append(subnet["cidr"])
        own = [network for network in networks if cidrs.get(network["id"]) or network["project_id"] == visit.project_id]
        visit.page(
            resp, "Networks", topology(own, cidrs, ports, named) if own else None,
            table(("Name", "State", "Subnets", "Shared", "Outside", "MTU"), [
                (network["name"] or network["id"], state(network["status"]), ", ".join(cidrs.get(network["id"], [])),
                 "yes" if network["shared"] else "", "yes" if network.get("router:external") else "",
                 network.get("mtu", "")) for network in networks], "There are no networks yet."),
            el("h2", "Ports"),
            table(("Address", "MAC address", "Of", "State"), [
                (", ".join(ip["ip_address"] for ip in port["fixed_ips"]), port["mac_address"],
                 named.get(port["device_id"]) or port["device_owner"] or port["name"], state(port["status"]))
                for port in ports], "There are no ports yet."))


def topology(networks: list[dict[str, Any]], cidrs: dict[str, list[str]], ports: list[dict[str, Any]],
             named: dict[str, str]) -> Html:
    """Each network a line, on it whatever has a port there; routers appear on each of theirs."""
    out, y = [], _TOP
    for number, network in enumerate(networks):
        colour = _COLOURS[number % len(_COLOURS)]
        label = f"{network['name'] or network['id'][:8]}  {', '.join(cidrs.get(network['id'], []))}"
        out.append(el("text", label, x=12, y=y - 14, font_size=13, font_weight=600, fill=colour))
        out.append(el("line", x1=12, y1=y, x2=_WIDTH - 12, y2=y, stroke=colour, stroke_width=5,
                      stroke_linecap="round"))
        things = [port for port in ports if port["network_id"] == network["id"]]
        for place, port in enumerate(things[:24]):
            x, row = 30 + place % 5 * 164, y + 16 + place // 5 * _ROW
            name = named.get(port["device_id"]) or port["device_owner"].partition(":")[2] or "port"
            address = port["fixed_ips"][0]["ip_address"] if port["fixed_ips"] else ""
            if place < 5:
                out.append(el("line", x1=x + 70, y1=y, x2=x + 70, y2=row, stroke=colour, stroke_width=2))
            out.append(el("rect", x=x, y=row, width=150, height=28, rx=6, fill="#ffffff", stroke=colour))
            out.append(el("text", name[:22], x=x + 8, y=row + 12, font_size=10.5, fill="#0f172a"))
            out.append(el("text", address, x=x + 8, y=row + 23, font_size=9, fill="#64748b"))
        y += 62 + max(1, (min(len(things), 24) + 4) // 5) * _ROW
    return el("figure", el("svg", out, viewBox=f"0 0 {_WIDTH} {y - 30}", role="img", aria_label="network topology"))
