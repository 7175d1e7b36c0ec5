"""A small neutron for tests of nova's engine: ports in memory that outlive a restart, and failures on demand."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from typing import Any

from cloudseed.kernel.errors import CloudseedError, Conflict, NotFound
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.runtime import Environment, Service

NETWORK = "11111111-1111-4111-8111-111111111111"
SUBNET = "22222222-2222-4222-8222-222222222222"


class Neutron:
    """What neutron holds; one object is used over several starts of a cloud."""

    def __init__(self) -> None:
        self.ports: dict[str, dict[str, Any]] = {}
        self.failures: defaultdict[str, list[CloudseedError]] = defaultdict(list)  # by "POST ports"
        self.hold: dict[str, asyncio.Event] = {}  # requests of that name wait
        self.calls: list[str] = []
        self._next = 10

    async def note(self, name: str) -> None:
        self.calls.append(name)
        if name in self.hold:
            await self.hold[name].wait()
        if self.failures[name]:
            raise self.failures[name].pop(0)

    def address(self) -> str:
        """A free one."""
        self._next += 1
        return f"10.{self._next // 65536}.{self._next // 256 % 256}.{self._next % 256}"

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        address = self.address()
        port = {"id": str(uuid.uuid4()), "mac_address": f"fa:16:3e:00:{self._next // 256:02x}:{self._next % 256:02x}",
                "fixed_ips": [{"subnet_id": SUBNET, "ip_address": address}],
                "status": "DOWN", "device_id": "", "device_owner": "", "binding:host_id": "",
                "binding:vif_type": "unbound", **body}
        self.ports[port["id"]] = port
        return port

    def build(self, env: Environment) -> Service:
        validator = env.validator(env.session("neutron-server", "neutron"))
        app = make_app({
            "/v2.0/ports": Ports(self), "/v2.0/ports/{port_id}": Port(self), "/v2.0/networks": Networks(self),
            "/v2.0/ports/{port_id}/bindings": Bindings(self), "/v2.0/ports/{port_id}/bindings/{host}": Binding(self),
            "/v2.0/ports/{port_id}/bindings/{host}/activate": Activate(self),
            "/v2.0/networks/{network_id}": Network(), "/v2.0/subnets": Subnets(),
            "/v2.0/floatingips": FloatingIps()},
            fault=faults.neutron, validator=validator, identity_url=env.identity_url)
        return Service("neutron", mounts=[Mount("/networking", "neutron-server", app)], handle=self)


class Ports:
    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response) -> None:
        await self._neutron.note("GET ports")
        found = list(self._neutron.ports.values())
        for name in ("device_id", "device_owner", "network_id"):
            if (wanted := req.get_param(name)) is not None:
                found = [port for port in found if port[name] == wanted]
        resp.media = {"ports": found}

    async def on_post(self, req: Request, resp: Response) -> None:
        await self._neutron.note("POST ports")
        resp.status = 201
        resp.media = {"port": self._neutron.create((await req.json(dict[str, Any]))["port"])}


class Port:
    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    def _find(self, port_id: str) -> dict[str, Any]:
        if port_id not in self._neutron.ports:
            raise NotFound(f"Port {port_id} could not be found.")
        return self._neutron.ports[port_id]

    async def on_get(self, req: Request, resp: Response, port_id: str) -> None:
        resp.media = {"port": self._find(port_id)}

    async def on_put(self, req: Request, resp: Response, port_id: str) -> None:
        await self._neutron.note("PUT ports")
        port = self._find(port_id)
        port.update((await req.json(dict[str, Any]))["port"])
        for fixed in port["fixed_ips"]:
            fixed.setdefault("ip_address", self._neutron.address())
        bound = bool(port["binding:host_id"])
        port.update({"binding:vif_type": "bridge" if bound else "unbound", "status": "ACTIVE" if bound else "DOWN"})
        resp.media = {"port": port}

    async def on_delete(self, req: Request, resp: Response, port_id: str) -> None:
        await self._neutron.note("DELETE ports")
        self._find(port_id)
        del self._neutron.ports[port_id]
        resp.status = 204


class Bindings(Port):
    """A port's bindings; those that wait are in its `waiting`."""

    on_put = on_delete = None  # type: ignore[assignment]

    async def on_get(self, req: Request, resp: Response, port_id: str) -> None:
        port = self._find(port_id)
        active = [port["binding:host_id"]] if port["binding:host_id"] else []
        resp.media = {"bindings": [{"host": host, "status": "ACTIVE"} for host in active]
                      + [{"host": host, "status": "INACTIVE"} for host in port.get("waiting", [])]}

    async def on_post(self, req: Request, resp: Response, port_id: str) -> None:
        await self._neutron.note("POST bindings")
        port, host = self._find(port_id), (await req.json(dict[str, Any]))["binding"]["host"]
        if host in (port["binding:host_id"], *port.get("waiting", [])):
            raise Conflict(f"Binding for port {port_id} on host {host} already exists.")
        port.setdefault("waiting", []).append(host)
        resp.status = 201
        resp.media = {"binding": {"host": host, "status": "INACTIVE"}}


class Binding(Port):
    on_get = on_put = None  # type: ignore[assignment]

    async def on_delete(self, req: Request, resp: Response, port_id: str, host: str) -> None:  # type: ignore[override]
        await self._neutron.note("DELETE bindings")
        if host not in self._find(port_id).get("waiting", []):
            raise NotFound(f"Binding for port {port_id} for host {host} could not be found.")
        self._find(port_id)["waiting"].remove(host)
        resp.status = 204


class Activate(Port):
    on_get = on_delete = None  # type: ignore[assignment]

    async def on_put(self, req: Request, resp: Response, port_id: str, host: str) -> None:  # type: ignore[override]
        await self._neutron.note("PUT activate")
        port = self._find(port_id)
        if host == port["binding:host_id"]:
            raise Conflict(f"Binding for port {port_id} on host {host} is already active.")
        if host not in port.get("waiting", []):
            raise NotFound(f"Binding for port {port_id} for host {host} could not be found.")
        port["waiting"].remove(host)
        port["waiting"].append(port["binding:host_id"])
        port["binding:host_id"] = host
        resp.media = {"host": host, "status": "ACTIVE"}


def _network() -> dict[str, Any]:
    return {"id": NETWORK, "name": "private", "mtu": 1450, "tenant_id": "t", "subnets": [SUBNET]}


class Networks:
    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response) -> None:
        await self._neutron.note("GET networks")
        wanted = req.get_param_as_list("id") or [NETWORK]
        resp.media = {"networks": [_network()] if NETWORK in wanted else []}


class Network:
    async def on_get(self, req: Request, resp: Response, network_id: str) -> None:
        resp.media = {"network": _network()}


class Subnets:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"subnets": [{"id": SUBNET, "cidr": "10.0.0.0/8", "ip_version": 4, "gateway_ip": "10.0.0.1",
                                   "dns_nameservers": [], "host_routes": []}]}


class FloatingIps:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"floatingips": []}
