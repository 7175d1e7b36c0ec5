"""Instances: the project's servers, what can be done to one, its consoles, and a form for a new one."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlsplit

from cloudseed.dashboard.html import Html, el
from cloudseed.dashboard.layout import LISTED, PREFIX, actions, button, choice, field, form, state, table
from cloudseed.dashboard.visit import Resource, Visit, part
from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response

# what a button orders: the body of the server's action
_ORDERS: dict[str, dict[str, Any]] = {
    "start": {"os-start": None}, "stop": {"os-stop": None}, "reboot": {"reboot": {"type": "SOFT"}},
    "pause": {"pause": None}, "unpause": {"unpause": None}, "suspend": {"suspend": None},
    "resume": {"resume": None}}
_CONSOLES = {"console": {"protocol": "vnc", "type": "novnc"}, "serial": {"protocol": "serial", "type": "serial"}}
# status -> what can be ordered then, beside deletion
_OFFERS = {"ACTIVE": ("console", "serial", "reboot", "stop"), "SHUTOFF": ("start",), "PAUSED": ("unpause",),
           "SUSPENDED": ("resume",)}
_LABELS = {"console": "Console", "serial": "Serial"}


async def listed(visit: Visit) -> list[dict[str, Any]]:
    """The project's servers as nova shows them, newest first."""
    return await visit.find("compute", "/v2.1/servers/detail", "servers", limit=LISTED)


def addresses(server: dict[str, Any]) -> str:
    return ", ".join(f"{network}:\u00a0{address['addr']}" for network, found in server["addresses"].items()
                     for address in found)


def _status(server: dict[str, Any]) -> Any:
    doing = server.get("OS-EXT-STS:task_state")
    fault = server.get("fault", {}).get("message")
    return [state(server["status"]), el("small", f" {doing}") if doing else None,
            el("small", f" {fault}", class_="fault") if fault else None]


def short_table(servers: list[dict[str, Any]]) -> Html:
    """For the overview: names and states."""
    return table(("Name", "State", "Flavor", "Addresses"), [
        (server["name"], _status(server), server["flavor"]["original_name"], addresses(server))
        for server in servers[:10]], "There are no instances yet.")


class Servers(Resource):
    """/dashboard/instances"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        servers, flavors, images, networks, keys = await asyncio.gather(
            listed(visit), visit.find("compute", "/v2.1/flavors/detail", "flavors"),
            visit.find("image", "/v2/images", "images", status="active", limit=LISTED),
            visit.find("network", "/v2.0/networks", "networks"),
            visit.find("compute", "/v2.1/os-keypairs", "keypairs"))
        rows = []
        for server in servers:
            path = f"/instances/{quote(server['id'], safe='')}"
            offers = _OFFERS.get(server["status"], ()) if not server.get("OS-EXT-STS:task_state") else ()
            rows.append((
                [el("strong", server["name"]), el("small", server["id"])], _status(server),
                server["flavor"]["original_name"], addresses(server),
                actions([button(visit, f"{path}/{order}", _LABELS.get(order, order.capitalize()),
                                new_tab=order in _CONSOLES) for order in offers],
                        button(visit, f"{path}/delete", "Delete", danger=True))))
        visit.page(resp, "Instances",
                   table(("Name", "State", "Flavor", "Addresses", ""), rows, "There are no instances yet."),
                   el("details", el("summary", "New instance"), form(
                       visit, "/instances", "Launch", field("Name", "name", required=True, maxlength=255),
                       choice("Flavor", "flavor", [(f["id"], f"{f['name']}: {f['vcpus']} VCPU, {f['ram']} MiB")
                                                   for f in flavors]),
                       choice("Image", "image", [(i["id"], i["name"] or i["id"]) for i in images]),
                       choice("Network", "network", [(n["id"], n["name"] or n["id"]) for n in networks
                                                     if not n.get("router:external")], none="whichever fits"),
                       choice("Key pair", "key", [(k["keypair"]["name"], k["keypair"]["name"]) for k in keys],
                              none="none"))))

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        server: dict[str, Any] = {
            "name": form.get("name", ""), "flavorRef": form.get("flavor", ""), "imageRef": form.get("image", ""),
            "networks": [{"uuid": form["network"]}] if form.get("network") else "auto"}
        if form.get("key"):
            server["key_name"] = form["key"]
        await visit.ask("compute", "POST", "/v2.1/servers", {"server": server})
        return f"{PREFIX}/instances"


class ServerAction(Resource):
    """/dashboard/instances/{server_id}/{action}"""

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        path, action = f"/v2.1/servers/{part(names['server_id'])}", names["action"]
        if action == "delete":
            await visit.ask("compute", "DELETE", path)
        elif action in _CONSOLES:
            answer = await visit.ask("compute", "POST", f"{path}/remote-consoles",
                                     {"remote_console": _CONSOLES[action]})
            url = urlsplit(answer["remote_console"]["url"])
            return f"{url.path}?{url.query}"  # on this very address, however the browser came to it
        elif action in _ORDERS:
            await visit.ask("compute", "POST", f"{path}/action", _ORDERS[action])
        else:
            raise NotFound("There is nothing to order here.")
        return f"{PREFIX}/instances"
