"""Ports: made, listed, shown, removed."""

from __future__ import annotations

from bench.sections import Bench

BASE = "/networking/v2.0"


async def make_network(bench: Bench, cidr: str) -> str:
    """A network with a subnet; its id."""
    network = (await bench.client.request("POST", f"{BASE}/networks", {"network": {"name": "bench"}})).json()["network"]
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": cidr}
    await bench.client.request("POST", f"{BASE}/subnets", {"subnet": subnet})
    return str(network["id"])


async def run(bench: Bench) -> None:
    client, meter = bench.client, bench.meter
    network, ports = await make_network(bench, "10.91.0.0/16"), list[str]()

    async def create(number: int) -> None:
        answer = await client.request("POST", f"{BASE}/ports", {"port": {"network_id": network}})
        ports.append(answer.json()["port"]["id"])

    async def listing(number: int) -> None:
        found = len((await client.get(f"{BASE}/ports?network_id={network}&device_owner="))["ports"])
        if found != len(ports):
            raise RuntimeError(f"{found} ports instead of {len(ports)}")

    async def show(number: int) -> None:
        await client.get(f"{BASE}/ports/{ports[number % len(ports)]}")

    async def delete(number: int) -> None:
        await client.request("DELETE", f"{BASE}/ports/{ports[number]}")

    half = bench.ports // 2
    await meter.run("port create", half, 1, create)
    await meter.run("port create", bench.ports - half, 8, create)
    for concurrency in (1, 8):
        await meter.run(f"list of {bench.ports} ports", bench.lists, concurrency, listing)
        await meter.run("port show", bench.repeat, concurrency, show)
    await meter.run("port delete", len(ports), 8, delete)
