"""neutron with keystone, a host in memory, and a nova that writes down what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloudseed.cli.roles import builders, whole
from cloudseed.host.errors import HostError
from cloudseed.host.fake import FakeHost
from cloudseed.host.records import ApplyResult, NetworkWish
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.runtime import Environment, Runtime, Service
from tests.support.cloud import Answer, Client, Cloud

N = "/networking/v2.0"


class Nova:
    """The fake nova-api: `events` as they came, with who sent them.  `status`: what it answers."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.status = 200

    def build(self, env: Environment) -> Service:
        nova = self

        class Events:
            async def on_post(self, req: Request, resp: Response) -> None:
                if nova.status == 200:
                    body: Any = await req.json()
                    nova.events += [{**event, "by": req.ctx.identity.user_name} for event in body["events"]]
                resp.status = nova.status
                resp.media = {}

        session = env.session("nova-api", "nova")
        app = make_app({"/v2.1/os-server-external-events": Events()}, fault=faults.nova,
                       validator=env.validator(session), identity_url=env.identity_url)
        return Service("nova", mounts=[Mount("/compute", "nova-api", app)])


class Host(FakeHost):
    """A host in memory that can be broken: `broken` ports are not up, `gone` means no host process answers."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.gone = False
        self.applied = 0

    async def apply_networks(self, networks: Any, *, full: bool, routers: Any = ()) -> ApplyResult:
        if self.gone:
            raise HostError("unavailable", "no host process answers")
        self.applied += 1
        result = await super().apply_networks(networks, full=full, routers=routers)
        ports = [msgspec.structs.replace(port, up=port.up and port.port_id not in self.broken,
                                         reason="it is broken" if port.port_id in self.broken else "")
                 for port in result.ports]
        return msgspec.structs.replace(result, ports=ports)

    def wish(self, network_id: str) -> NetworkWish:
        return self.networks[network_id]


class NeutronCloud(Cloud):
    """keystone, neutron and the fake nova."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(path, ["keystone", "neutron"], **{"driver": "qemu", **settings})
        self.nova = Nova()
        self.host: Host | None = Host()

    async def __aenter__(self) -> NeutronCloud:
        self.env = Environment(self.config, host=self.host)
        self.runtime = Runtime(self.env, [*builders(whole(("keystone", "neutron"))), self.nova.build])
        await self.runtime.start(listen=False)
        return self


async def until(condition: Callable[[], Any | Awaitable[Any]], timeout_s: float = 5.0) -> Any:
    """The first true value of `condition`; fails after the deadline."""
    async with asyncio.timeout(timeout_s):
        while True:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.01)


def ok(answer: Answer, status: int = 201) -> Any:
    """The only object of an expected answer."""
    assert answer.status == status, (answer.status, answer.body)
    body = answer.json()
    return next(iter(body.values())) if isinstance(body, dict) and len(body) == 1 else body


def fails(answer: Answer, status: int, kind: str) -> str:
    """The message of an expected error."""
    assert answer.status == status, (answer.status, answer.body)
    error = answer.json()["NeutronError"]
    assert error["type"] == kind, error
    return str(error["message"])


async def make_network(client: Client, cidr: str | None = "10.1.0.0/24", *, keep: bool = False,
                       **attributes: Any) -> Any:
    """A network with one subnet (id in `subnet`); `keep`: addresses below .128 are for the test to choose, and none
    is drawn from there by chance."""
    network = ok(await client.post(f"{N}/networks", {"network": {"name": "net", **attributes}}))
    if cidr is not None:
        pools = {"allocation_pools": [{"start": cidr.replace(".0/24", ".128"), "end": cidr.replace(".0/24", ".254")}]}
        subnet = ok(await client.post(f"{N}/subnets", {"subnet": {
            "network_id": network["id"], "ip_version": 6 if ":" in cidr else 4, "cidr": cidr,
            **(pools if keep else {})}}))
        network["subnet"] = subnet["id"]
    return network


async def make_port(client: Client, network_id: str, **attributes: Any) -> Any:
    return ok(await client.post(f"{N}/ports", {"port": {"network_id": network_id, **attributes}}))


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[NeutronCloud]:
    async with NeutronCloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
async def admin(cloud: NeutronCloud) -> Client:
    return await cloud.login("admin")


@pytest.fixture
async def nova(cloud: NeutronCloud) -> Client:
    """nova's own user."""
    return await cloud.login("nova", project="service")
