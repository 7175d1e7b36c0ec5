"""The way to the metadata service, as a guest in a network walks it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from cloudseed.host import netns
from cloudseed.host.metadata import (
    CONNECTIONS,
    CONNECTIONS_PER_GUEST,
    CONNECTIONS_PER_NETWORK,
    MetadataRelay,
    _Connection,
)
from cloudseed.host.paths import namespace_name, router_namespace
from cloudseed.host.records import HostRoute, NetworkWish, RouterLeg, RouterWish
from cloudseed.host.wire import short_address
from tests.host.conftest import ANY_EGRESS, Host, network, new_id, port
from tests.host.frames import ARP, IP, TapGuest, arp, ethernet, tcp

pytestmark = pytest.mark.real


@pytest.fixture
async def service(host: Host) -> AsyncIterator[list[dict[str, str]]]:
    """A metadata service that notes who asked and answers with the question's first line."""
    asked: list[dict[str, str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(msgspec.json.decode(await reader.readline()))
        line = await reader.readline()
        writer.write(b"you asked: " + line)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    host.paths.metadata_socket.parent.mkdir(mode=0o700, exist_ok=True)  # the control process's own part
    with short_address(host.paths.metadata_socket) as address:
        server = await asyncio.start_unix_server(answer, address)
    yield asked
    server.close()
    await server.wait_closed()


async def ask(
    host: Host,
    wish: NetworkWish,
    question: str,
    address: tuple[str, int] = ("169.254.169.254", 80),
    source: str = "",
    namespace: str = "",
) -> str:
    """What a process in the network's namespace, which stands in for a guest, is answered."""
    program = (
        f"import socket, sys; s = socket.create_connection({address!r}, 5{source});"
        "s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().read())"
    )
    namespace = namespace or namespace_name(host.cloud, wish.network_id)
    done = await asyncio.to_thread(
        subprocess.run,
        ["ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", program, question],
        capture_output=True,
        text=True,
    )
    return (done.stdout + done.stderr).strip()


async def test_each_question_arrives_with_its_network(host: Host, service: list[dict[str, str]]) -> None:
    first, second = network(), network()
    await host.client.apply_networks([first, second], full=True)
    answers = await asyncio.gather(ask(host, first, "GET /a"), ask(host, second, "GET /b"))
    assert answers == ["you asked: GET /a", "you asked: GET /b"]
    assert {entry["network_id"] for entry in service} == {first.network_id, second.network_id}
    assert {entry["remote_address"] for entry in service} == {"169.254.169.254"}


async def test_without_a_service_the_connection_ends(host: Host) -> None:
    wish = network()
    await host.client.apply_networks([wish], full=True)
    assert "you asked" not in await ask(host, wish, "GET /")
    assert await host.client.list_machines() == []


async def test_it_is_there_again_after_a_restart_and_gone_with_the_network(
    host: Host, service: list[dict[str, str]]
) -> None:
    wish = network()
    await host.client.apply_networks([wish], full=True)
    await host.kill()
    await host.start()
    await host.client.apply_networks([wish], full=True)
    assert await ask(host, wish, "GET /") == "you asked: GET /"
    await host.client.apply_networks([], full=True)
    await host.client.apply_networks([wish], full=True)
    assert await ask(host, wish, "GET /again") == "you asked: GET /again"
    without = msgspec.structs.replace(wish, dhcp_port=None)
    await host.client.apply_networks([without], full=True)
    assert "you asked" not in await ask(host, wish, "GET /")


async def test_by_ipv6_too(host: Host, service: list[dict[str, str]]) -> None:
    wish = network()
    await host.client.apply_networks([wish], full=True)
    assert await ask(host, wish, "GET /6", ("fe80::a9fe:a9fe%br", 80)) == "you asked: GET /6"
    (entry,) = service
    assert entry["network_id"] == wish.network_id and entry["remote_address"].startswith("fe80::a9fe:a9fe")
    again = await host.client.apply_networks([wish], full=True)
    assert not again.networks[0].changed


async def test_one_guest_cannot_take_all_connections(host: Host, service: list[dict[str, str]]) -> None:
    wish = network()
    await host.client.apply_networks([wish], full=True)
    holder = (
        "import socket, sys;"
        "all = [socket.create_connection(('169.254.169.254', 80), 5) for _ in range(30)];"
        "print('open', flush=True); sys.stdin.read()"
    )
    namespace = namespace_name(host.cloud, wish.network_id)
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", holder,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None and await process.stdout.readline() == b"open\n"
        assert "you asked" not in await ask(host, wish, "GET /greedy")
        (other,) = {fixed.ip_address for fixed in wish.dhcp_port.fixed_ips} if wish.dhcp_port else {""}
        assert await ask(host, wish, "GET /modest", source=f", ({other!r}, 0)") == "you asked: GET /modest"
        assert len(service) <= CONNECTIONS_PER_GUEST + 1
    finally:
        process.kill()
        await process.wait()


class _Task:
    """What the relay does with a connection's task."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1

    def cancelling(self) -> int:
        return self.cancelled


def _full(relay: MetadataRelay, owners: list[tuple[str, str]]) -> list[_Task]:
    tasks = [_Task() for _ in owners]
    relay._connections = [
        _Connection(place, remote, cast("asyncio.Task[None]", task))
        for (place, remote), task in zip(owners, tasks, strict=True)
    ]
    return tasks


def test_when_all_is_taken_who_has_most_gives_up_his_oldest(tmp_path: Path) -> None:
    relay = MetadataRelay("c", tmp_path / "s", 0)
    greedy = [("n", f"10.0.0.{number % 12}") for number in range(CONNECTIONS_PER_NETWORK)]
    tasks = _full(relay, greedy)
    assert relay._make_room("n", "10.0.0.99")
    assert [task.cancelled for task in tasks].index(1) == 0 and sum(task.cancelled for task in tasks) == 1
    # he who has as many as the others is not given more
    tasks = _full(relay, [("n", f"10.0.0.{number}") for number in range(CONNECTIONS_PER_NETWORK)])
    assert not relay._make_room("n", "10.0.0.0") and not any(task.cancelled for task in tasks)
    # a network that fills the host gives way to another
    places = [(f"n{number % 2}", f"10.0.{number % 7}.{number}") for number in range(CONNECTIONS)]
    tasks = _full(relay, places)
    assert relay._make_room("other", "10.0.0.1") and sum(task.cancelled for task in tasks) == 1


async def _syn(guest: TapGuest, router_mac: str, source: str, router_ip: str) -> bytes:
    """Open a connection to the metadata service from `source`; the router's answer, b"" for none."""
    question = arp(1, (guest.mac, guest.ip), ("00:00:00:00:00:00", router_ip))
    guest.send(ethernet(guest.mac, router_mac, ARP, question))
    assert await asyncio.to_thread(guest.receive, lambda frame: frame[12:14] == b"\x08\x06")
    ours, theirs = (source, 5000), ("169.254.169.254", 80)
    guest.send(ethernet(guest.mac, router_mac, IP, tcp(ours, theirs, 2, 1)))
    answer = await asyncio.to_thread(guest.receive, lambda frame: frame[23:24] == b"\x06" and frame[47] == 18)
    if answer is not None:
        last = int.from_bytes(answer[38:42], "big") + 1
        guest.send(ethernet(guest.mac, router_mac, IP, tcp(ours, theirs, 16, 2, last)))
    return answer or b""


async def test_a_router_says_by_which_network_a_guest_came(host: Host, service: list[dict[str, str]]) -> None:
    """A network of one's own without port security, a router into another's, and a route for a machine's address."""
    victim, attacker = port(10, ANY_EGRESS), port(66, ANY_EGRESS, port_security_enabled=False)
    legs = [RouterLeg(port_id=new_id(), network_id=new_id(), mac_address=f"fa:16:3e:aa:00:0{n}", addresses=[cidr])
            for n, cidr in enumerate(("10.77.0.1/24", "10.0.0.1/24"))]
    theirs = msgspec.structs.replace(network(victim, network_id=legs[0].network_id), dhcp_port=None,
                                     legs=[legs[0].port_id])
    mine = msgspec.structs.replace(network(attacker, network_id=legs[1].network_id), dhcp_port=None,
                                   legs=[legs[1].port_id])
    router = RouterWish(router_id=new_id(), legs=legs, next_hops=[],
                        routes=[HostRoute(destination="10.77.0.10/32", nexthop="10.0.0.50")])
    for _ in range(2):
        result = await host.client.apply_networks([theirs, mine], routers=[router], full=True)
        assert not [status.error for status in (*result.networks, *result.routers) if status.error]
    with TapGuest(host.cloud, mine.network_id, attacker) as guest:
        hop = arp(1, (guest.mac, "10.0.0.50"), ("00:00:00:00:00:00", "10.0.0.1"))
        guest.send(ethernet(guest.mac, legs[1].mac_address, ARP, hop))
        assert await _syn(guest, legs[1].mac_address, "10.77.0.10", "10.0.0.1")
        async with asyncio.timeout(5):
            while not service:
                await asyncio.sleep(0.02)
    assert service == [{"router_id": router.router_id, "network_id": mine.network_id, "remote_address": "10.77.0.10"}]


async def test_a_guest_without_dhcp_is_answered_by_its_router(host: Host, service: list[dict[str, str]]) -> None:
    guest_port = port(10, ANY_EGRESS)
    leg = RouterLeg(port_id=new_id(), network_id=new_id(), mac_address="fa:16:3e:aa:00:01", addresses=["10.0.0.1/24"])
    wish = msgspec.structs.replace(
        network(guest_port, network_id=leg.network_id), dhcp_port=None, legs=[leg.port_id])
    router = RouterWish(router_id=new_id(), legs=[leg], next_hops=[])
    result = await host.client.apply_networks([wish], routers=[router], full=True)
    assert not [status.error for status in (*result.networks, *result.routers) if status.error]
    with TapGuest(host.cloud, wish.network_id, guest_port) as guest:
        question = arp(1, (guest.mac, guest.ip), ("00:00:00:00:00:00", "10.0.0.1"))
        guest.send(ethernet(guest.mac, leg.mac_address, ARP, question))
        assert await asyncio.to_thread(guest.receive, lambda frame: frame[12:14] == b"\x08\x06")
        ours, theirs = (guest.ip, 5000), ("169.254.169.254", 80)

        def send(flags: int, seq: int, ack: int = 0) -> None:
            guest.send(ethernet(guest.mac, leg.mac_address, IP, tcp(ours, theirs, flags, seq, ack)))

        send(2, 1)
        answer = await asyncio.to_thread(guest.receive, lambda frame: frame[23:24] == b"\x06" and frame[47] == 18)
        assert answer is not None and answer[26:30] == bytes((169, 254, 169, 254))
        send(16, 2, int.from_bytes(answer[38:42], "big") + 1)
        async with asyncio.timeout(5):
            while not service:
                await asyncio.sleep(0.02)
    assert service == [{"router_id": router.router_id, "network_id": wish.network_id, "remote_address": guest.ip}]
    await host.client.apply_networks([], full=True)
    assert router_namespace(host.cloud, router.router_id) not in netns.names(f"{host.cloud}-rtr-")
