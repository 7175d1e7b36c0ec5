"""The demo's way into its guest: a router, a floating IP, and a login by SSH, shown as it happens."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from cloudseed.cli.api import Api

ROUTER, PUBLIC, MARK = "demo", "public", "cloudseed demo"
USER = "cirros"
LOGIN_SECONDS = 90.0
SCRIPT = "uname -srm; hostname; ip -4 -o addr show scope global | awk '{print $2, $4}'; uptime"
_NETWORKING = "/networking/v2.0"


def external_network(api: Api) -> str | None:
    """The id of the network `public`; None in a cloud that has none."""
    found = api.get(f"{_NETWORKING}/networks?name={PUBLIC}&router:external=true")["networks"]
    return str(found[0]["id"]) if found else None


def ensure_router(api: Api, external: str, network_id: str) -> str:
    """A router between the demo's network and the external one; its id."""
    found = api.get(f"{_NETWORKING}/routers?name={ROUTER}")["routers"]
    gateway = {"network_id": external}
    router = found[0] if found else api.send("POST", f"{_NETWORKING}/routers", {
        "router": {"name": ROUTER, "external_gateway_info": gateway}})["router"]
    if not router["external_gateway_info"]:
        api.send("PUT", f"{_NETWORKING}/routers/{router['id']}", {"router": {"external_gateway_info": gateway}})
    legs = api.get(f"{_NETWORKING}/ports?device_id={router['id']}&network_id={network_id}")["ports"]
    if not legs:
        subnet = api.get(f"{_NETWORKING}/subnets?network_id={network_id}&ip_version=4")["subnets"][0]
        api.send("PUT", f"{_NETWORKING}/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return str(router["id"])


def ensure_floating_ip(api: Api, external: str, server_id: str) -> str:
    """An address of the external network, at the server's port."""
    port = api.get(f"{_NETWORKING}/ports?device_id={server_id}")["ports"][0]["id"]
    found = api.get(f"{_NETWORKING}/floatingips?description={MARK.replace(' ', '%20')}")["floatingips"]
    if not found:
        wish: dict[str, Any] = {"floating_network_id": external, "port_id": port, "description": MARK}
        return str(api.send("POST", f"{_NETWORKING}/floatingips", {"floatingip": wish})["floatingip"][
            "floating_ip_address"])
    if found[0]["port_id"] != port:
        api.send("PUT", f"{_NETWORKING}/floatingips/{found[0]['id']}", {"floatingip": {"port_id": port}})
    return str(found[0]["floating_ip_address"])


def log_in(out: Console, key: Path, address: str) -> str | None:
    """Run a few commands in the guest by SSH, on this terminal; why it could not be done, or None."""
    words = ["ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
             "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", f"{USER}@{address}"]
    out.print(f"\n[bold]$ ssh -i {key} {USER}@{address}[/]")
    until = time.monotonic() + LOGIN_SECONDS
    while True:
        done = subprocess.run([*words, SCRIPT], text=True, capture_output=True)
        if done.returncode == 0:
            out.print(done.stdout.rstrip("\n"), markup=False)
            return None
        if done.returncode != 255 or time.monotonic() > until:
            return (done.stderr or done.stdout).strip() or f"ssh ended with {done.returncode}"
        time.sleep(0.3)
