"""The load of a simulation: servers ordered and waited for, listed, shown and deleted, by one client of the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec

from cloudseed.cli.simulate.fleet import Fleet, FleetFailed

COMPUTE = "/compute/v2.1"
_HEADERS = {"OpenStack-API-Version": "compute 2.90, placement 1.39"}
_PER_NETWORK = 250  # servers; a network of thousands is no common sight
_PAGE = 100
_READS = 200
_STUCK_S = 300.0


class Latency(msgspec.Struct):
    """What one kind of request took its client."""

    operation: str
    count: int
    p50_ms: float
    p99_ms: float


class Used(msgspec.Struct):
    """What a process of the cloud had used at the end."""

    name: str
    memory_mib: float
    cpu_s: float


class Measured(msgspec.Struct):
    """A whole run."""

    hosts: int
    processes: int
    servers: int
    concurrency: int
    engines: str
    hosts_ready_s: float
    boots_per_minute: float
    deletes_per_minute: float
    failed: int
    latencies: list[Latency]
    processes_used: list[Used]


class _Client:
    """Requests as the admin; keeps what each kind took."""

    def __init__(self, session: aiohttp.ClientSession, fleet: Fleet) -> None:
        self._session = session
        self._url = fleet.url
        self._password = fleet.password
        self._token, self._token_until = "", 0.0
        self._took: dict[str, list[float]] = {}

    async def send(self, method: str, path: str, json: Any = None, *, data: bytes | None = None,
                   kind: str = "") -> Any:
        """The decoded answer; raises FleetFailed for 400 and above."""
        if time.monotonic() > self._token_until:
            await self._login()
        body = msgspec.json.encode(json) if json is not None else data
        headers = {**_HEADERS, "X-Auth-Token": self._token,
                   "Content-Type": "application/json" if data is None else "application/octet-stream"}
        began = time.perf_counter()
        async with self._session.request(method, self._url + path, data=body, headers=headers) as answer:
            content = await answer.read()
        if answer.status >= 400:
            raise FleetFailed(f"{method} {path}: {answer.status} {content[:500].decode(errors='replace')}")
        if kind:
            self._took.setdefault(kind, []).append(time.perf_counter() - began)
        return msgspec.json.decode(content) if content else None

    async def _login(self) -> None:
        domain = {"id": "default"}
        auth = {"identity": {"methods": ["password"], "password": {
            "user": {"name": "admin", "domain": domain, "password": self._password}}},
            "scope": {"project": {"name": "admin", "domain": domain}}}
        async with self._session.post(self._url + "/identity/v3/auth/tokens", json={"auth": auth}) as answer:
            if answer.status != 201:
                raise FleetFailed(f"the admin cannot log in: {answer.status}")
            self._token, self._token_until = answer.headers["X-Subject-Token"], time.monotonic() + 1800

    def latencies(self) -> list[Latency]:
        return [Latency(kind, len(took), _percentile(took, 50) * 1e3, _percentile(took, 99) * 1e3)
                for kind, took in self._took.items()]


def _percentile(values: list[float], q: int) -> float:
    ordered = sorted(values)
    return ordered[max(0, -(-q * len(ordered) // 100) - 1)]


async def measure(fleet: Fleet, servers: int, concurrency: int, tell: Callable[[str], None]) -> Measured:
    """Load the fleet's cloud.  Raises FleetFailed when it does not bear it."""
    timeout = aiohttp.ClientTimeout(total=_STUCK_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        client = _Client(session, fleet)
        ready = await _hosts_ready(client, fleet, tell)
        image, flavor, networks = await _prepare(client, servers)
        ids: list[str] = []

        async def boot(number: int) -> None:
            body = {"name": f"sim-{number}", "imageRef": image, "flavorRef": flavor,
                    "networks": [{"uuid": networks[number // _PER_NETWORK]}]}
            answer = await client.send("POST", f"{COMPUTE}/servers", {"server": body}, kind="create server")
            ids.append(answer["server"]["id"])

        began = time.monotonic()
        counting = asyncio.create_task(_tell_count(tell, "booting", ids, servers))
        await _each(servers, concurrency, boot)
        counting.cancel()
        failed = await _settled(client, servers, tell)
        boot_s = time.monotonic() - began
        tell("reading")
        await _each(_READS, 4, lambda n: client.send("GET", f"{COMPUTE}/servers/{ids[n % len(ids)]}", kind="show"))
        await _each(_READS // 4, 4, lambda n: client.send(
            "GET", f"{COMPUTE}/servers/detail?limit={_PAGE}&marker={ids[n % len(ids)]}",
            kind=f"list of {_PAGE}, details"))
        gone = ids[:max(1, servers // 10)]
        began = time.monotonic()
        tell(f"deleting {len(gone)}")
        await _each(len(gone), concurrency, lambda n: client.send(
            "DELETE", f"{COMPUTE}/servers/{gone[n]}", kind="delete server"))

        async def still_there() -> int:
            return await _count(client, "") - (servers - len(gone))

        await _until_none(still_there, "deleted servers are still there")
        delete_s = time.monotonic() - began
    return Measured(
        hosts=fleet.hosts, processes=fleet.processes, servers=servers, concurrency=concurrency,
        engines=fleet.engines_name, hosts_ready_s=round(ready, 1), boots_per_minute=round(60 * servers / boot_s, 1),
        deletes_per_minute=round(60 * len(gone) / delete_s, 1), failed=failed, latencies=client.latencies(),
        processes_used=[Used(name, memory, cpu) for name, memory, cpu in fleet.used()])


async def _each(count: int, concurrency: int, work: Callable[[int], Awaitable[Any]]) -> None:
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(one() for _ in range(min(concurrency, count))))


async def _tell_count(tell: Callable[[str], None], what: str, done: list[str], total: int) -> None:
    while True:
        tell(f"{what}: {len(done)} of {total}")
        await asyncio.sleep(1)


async def _hosts_ready(client: _Client, fleet: Fleet, tell: Callable[[str], None]) -> float:
    """Seconds since their start until all hosts are up in nova and have an inventory in placement."""
    async def missing() -> int:
        services = (await client.send("GET", f"{COMPUTE}/os-services?binary=nova-compute"))["services"]
        up = sum(service["state"] == "up" for service in services)
        offered = len((await client.send("GET", "/placement/allocation_candidates?resources=VCPU:1"))[
            "allocation_requests"])
        tell(f"waiting for hosts: {up} of {fleet.hosts} are up, {offered} in placement")
        return fleet.hosts - int(min(up, offered))

    await _until_none(missing, "hosts have not reported in")
    return time.monotonic() - fleet.started_at


async def _prepare(client: _Client, servers: int) -> tuple[str, str, list[str]]:
    """An image, a flavor, and networks enough for the servers; no quota is in the way."""
    project = (await client.send("GET", "/identity/v3/projects?name=admin"))["projects"][0]["id"]
    unlimited = dict.fromkeys(("instances", "cores", "ram"), -1)
    await client.send("PUT", f"{COMPUTE}/os-quota-sets/{project}", {"quota_set": unlimited})
    quota = dict.fromkeys(("port", "network", "subnet"), -1)
    await client.send("PUT", f"/networking/v2.0/quotas/{project}", {"quota": quota})
    flavor = {"name": "simulated", "vcpus": 1, "ram": 512, "disk": 1}
    flavor_id = (await client.send("POST", f"{COMPUTE}/flavors", {"flavor": flavor}))["flavor"]["id"]
    record = {"name": "simulated", "disk_format": "raw", "container_format": "bare"}
    image = (await client.send("POST", "/image/v2/images", record))["id"]
    await client.send("PUT", f"/image/v2/images/{image}/file", data=bytes(1 << 20))
    networks = []
    for number in range(-(-servers // _PER_NETWORK)):
        network = (await client.send("POST", "/networking/v2.0/networks", {"network": {"name": f"sim-{number}"}}))
        networks.append(network["network"]["id"])
        subnet = {"network_id": networks[-1], "ip_version": 4, "enable_dhcp": False,
                  "cidr": f"10.{64 + number // 64}.{4 * (number % 64)}.0/22"}
        await client.send("POST", "/networking/v2.0/subnets", {"subnet": subnet})
    return image, flavor_id, networks


async def _settled(client: _Client, servers: int, tell: Callable[[str], None]) -> int:
    """Wait until no server is being built; how many of them failed."""
    async def building() -> int:
        left = await _count(client, "status=BUILD")
        tell(f"booting: {left} of {servers} are on their way")
        return left

    await _until_none(building, "servers are in BUILD")
    return await _count(client, "status=ERROR")


async def _count(client: _Client, query: str) -> int:
    """How many servers fit, page by page."""
    total, marker = 0, ""
    while True:
        more = f"&marker={marker}" if marker else ""
        page = (await client.send("GET", f"{COMPUTE}/servers?limit=1000&{query}{more}"))["servers"]
        total += len(page)
        if len(page) < 1000:
            return total
        marker = page[-1]["id"]


async def _until_none(left: Callable[[], Awaitable[int]], what: str) -> None:
    """Ask how many are left until none is, taking at most a tenth of the time for asking.  Raises FleetFailed when
    nothing comes of it any more."""
    least, until = None, time.monotonic() + _STUCK_S
    while True:
        began = time.monotonic()
        count = await left()
        if not count:
            return
        if least is None or count < least:
            least, until = count, time.monotonic() + _STUCK_S
        if time.monotonic() > until:
            raise FleetFailed(f"{count} {what}: none less in {_STUCK_S:g} s")
        await asyncio.sleep(max(0.1, 9 * (time.monotonic() - began)))
