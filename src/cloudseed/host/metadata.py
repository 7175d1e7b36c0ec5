"""The way from a guest to the metadata service: 169.254.169.254 and fe80::a9fe:a9fe in each network's namespace.

The host process listens there and carries bytes, understanding none of them, to the control process's unix
socket `<state>/control/metadata.sock`.  Before the guest's bytes it sends one line of JSON, which no guest can forge:

    {"network_id": "...", "remote_address": "10.0.0.10"}      (and "router_id" from a listener in a router's namespace)

The firewall vouches for the address: a port with port security sends from its own only.  A router has a listener on
each of its links inside, bound to that link, which names its network: else whoever joins his own network (without
port security) and another's by a router, and routes an address of the other one into his own, would be answered as
the machine that has it.  When nobody listens on
the socket, or the guest idles, the connection is closed.  A guest can have a few connections only, and when all that
a network or the host may have are taken, whoever has most gives up his oldest: one guest cannot keep others out.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host import netns
from cloudseed.host.dhcp_files import METADATA_IP, METADATA_IP6, addresses
from cloudseed.host.errors import HostError
from cloudseed.host.links import BRIDGE, has_ipv6
from cloudseed.host.paths import namespace_name, router_link_name, router_namespace
from cloudseed.host.records import NetworkWish, RouterWish
from cloudseed.host.wire import connect

_PORT = 80
_IDLE_S = 60.0
CONNECTIONS_PER_GUEST = 8
CONNECTIONS_PER_NETWORK = 96
CONNECTIONS = 192  # each takes two of the process's file descriptors
_CHUNK_BYTES = 65536
_Address = tuple[socket.AddressFamily, tuple[str | int, ...]]
_SO_BINDTODEVICE = 25


@dataclass
class _Place:
    """A namespace that is listened in; `head` names it to the service."""

    head: dict[str, str]
    servers: list[asyncio.Server]
    where: tuple[int, int]  # the namespace's inode, the link's index if it listens on one alone


@dataclass(eq=False)
class _Connection:
    place: str
    remote_address: str
    task: asyncio.Task[None]


class MetadataRelay:
    """Listeners in the namespaces of networks, and of routers for networks that have no DHCP."""

    def __init__(self, cloud: str, socket_path: Path, control_uid: int) -> None:
        self._cloud = cloud
        self._socket_path = socket_path
        self._control_uid = control_uid
        self._places: dict[str, _Place] = {}
        self._connections: list[_Connection] = []  # oldest first

    async def sync(self, wishes: Iterable[NetworkWish], full: bool) -> None:
        """Listen in these networks where they have a metadata address, and in no others if `full`.

        A listener would keep a removed namespace alive, so this follows each change of the networks.
        """
        kept = set()
        for wish in wishes:
            name = f"network_id {wish.network_id}"
            if addresses(wish):
                kept.add(name)
                namespace = namespace_name(self._cloud, wish.network_id)
                with contextlib.suppress(HostError, OSError):  # the network's own status says what is wrong with it
                    await self._start(name, {"network_id": wish.network_id}, namespace, _listen_in_network)
            elif name in self._places:
                await self._stop(name)
        for name in [n for n in self._places if full and n.startswith("network_id ") and n not in kept]:
            await self._stop(name)

    async def sync_routers(self, wishes: Iterable[RouterWish], full: bool) -> None:
        """Listen on the inner links of these routers, whose namespaces must be there, and of no others if `full`.

        For guests whose networks have no DHCP: their packets to 169.254.169.254 go to their gateway.  The address is
        added to the namespace's loopback.
        """
        kept = set()
        for wish in wishes:
            namespace = router_namespace(self._cloud, wish.router_id)
            for leg in wish.legs:
                link = router_link_name(leg.port_id, False)
                name = f"router_id {wish.router_id} {leg.port_id}"
                kept.add(name)
                head = {"router_id": wish.router_id, "network_id": leg.network_id}
                with contextlib.suppress(HostError, OSError):
                    await self._start(name, head, namespace, functools.partial(_listen_in_router, link), link)
            for name in [n for n in self._places if n.startswith(f"router_id {wish.router_id} ") and n not in kept]:
                await self._stop(name)
        for name in [n for n in self._places if full and n.startswith("router_id ") and n not in kept]:
            await self._stop(name)

    async def close(self) -> None:
        """Stop listening everywhere."""
        for name in list(self._places):
            await self._stop(name)

    async def _start(
        self, name: str, head: dict[str, str], namespace: str, listen: Callable[[], list[socket.socket]],
        link: str = "",
    ) -> None:
        inode = os.stat(netns.DIRECTORY / namespace).st_ino
        index = await asyncio.to_thread(netns.run, namespace, lambda: socket.if_nametoindex(link)) if link else 0
        present = self._places.get(name)
        if present is not None:
            if present.where == (inode, index):
                return
            await self._stop(name)
        sockets = await asyncio.to_thread(netns.run, namespace, listen)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(name, reader, writer)

        servers = [await asyncio.start_server(accept, sock=sock) for sock in sockets]
        self._places[name] = _Place(head, servers, (inode, index))

    async def _stop(self, name: str) -> None:
        place = self._places.pop(name)
        for server in place.servers:
            server.close()
        tasks = [c.task for c in self._connections if c.place == name]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in place.servers:
            await server.wait_closed()

    async def _serve(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place, task = self._places.get(name), asyncio.current_task()
        peer = writer.get_extra_info("peername")
        if place is None or task is None or not peer or not self._make_room(name, peer[0]):
            writer.transport.abort()
            return
        connection = _Connection(name, peer[0], task)
        self._connections.append(connection)
        try:
            with contextlib.suppress(OSError, TimeoutError):
                await self._relay({**place.head, "remote_address": peer[0]}, reader, writer)
        finally:
            self._connections.remove(connection)
            writer.transport.abort()

    def _make_room(self, place: str, remote: str) -> bool:
        """Whether one more connection from there may be.  Where all room is taken, who has most gives one up."""
        in_place = [c for c in self._connections if c.place == place]
        if sum(c.remote_address == remote for c in in_place) >= CONNECTIONS_PER_GUEST:
            return False
        if len(in_place) >= CONNECTIONS_PER_NETWORK:
            return _give_up_one(in_place, lambda c: c.remote_address, remote)
        if len(self._connections) >= CONNECTIONS:
            return _give_up_one(self._connections, lambda c: c.place, place)
        return True

    async def _relay(
        self, head: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        below, service = await asyncio.open_unix_connection(sock=await connect(self._socket_path, self._control_uid))
        try:
            service.write(msgspec.json.encode(head) + b"\n")
            question = asyncio.create_task(_pump(reader, service))
            try:
                # the service's end of the connection ends the exchange, whatever the guest still sends
                await _pump(below, writer)
            finally:
                question.cancel()
                await asyncio.gather(question, return_exceptions=True)
            writer.close()
            await writer.wait_closed()
        finally:
            service.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        async with asyncio.timeout(_IDLE_S):
            data = await reader.read(_CHUNK_BYTES)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _give_up_one(connections: list[_Connection], owner: Callable[[_Connection], str], asking: str) -> bool:
    """End the oldest connection of the owner with the most, if that leaves it no poorer than the one who asks."""
    counts = Counter(owner(c) for c in connections if not c.task.cancelling())
    richest, count = counts.most_common(1)[0]
    if count <= counts[asking] + 1:
        return False
    next(c for c in connections if owner(c) == richest and not c.task.cancelling()).task.cancel()
    return True


def _listen_in_network() -> list[socket.socket]:
    places: list[_Address] = [(socket.AF_INET, (METADATA_IP, _PORT))]
    if has_ipv6():
        places.append((socket.AF_INET6, (METADATA_IP6, _PORT, 0, socket.if_nametoindex(BRIDGE))))
    return _listen(places)


def _listen_in_router(link: str) -> list[socket.socket]:
    with IPRoute() as ip, contextlib.suppress(NetlinkError):  # it is there already
        ip.addr("add", index=1, address=METADATA_IP, prefixlen=32)
    return _listen([(socket.AF_INET, (METADATA_IP, _PORT))], link)


def _listen(places: list[_Address], link: str = "") -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, address in places:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if link:  # answers leave by it too
                sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, link.encode())
            sock.bind(address)
            sock.listen(64)
            sock.setblocking(False)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets
