"""The way from a guest to the metadata service: 169.254.169.254 in each network's namespace.

The host process listens there and carries bytes, understanding none of them, to the control process's unix
socket `<state>/control/metadata.sock`.  Before the guest's bytes it sends one line of JSON, which no guest can forge:

    {"network_id": "...", "remote_address": "10.0.0.10"}

The firewall vouches for the address: a port with port security sends from its own only.  When nobody listens on
the socket, or the guest idles or opens too many connections, the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cloudseed.host import dhcp, netns
from cloudseed.host.errors import HostError
from cloudseed.host.paths import namespace_name
from cloudseed.host.records import NetworkWish
from cloudseed.host.wire import connect

_PORT = 80
_IDLE_S = 60.0
_CONNECTIONS_PER_NETWORK = 64
_CHUNK_BYTES = 65536


@dataclass
class _Listener:
    server: asyncio.Server
    namespace_inode: int
    connections: set[asyncio.Task[None]] = field(default_factory=set)


class MetadataRelay:
    """One listener for each network that has an address for it."""

    def __init__(self, cloud: str, socket_path: Path, control_uid: int) -> None:
        self._cloud = cloud
        self._socket_path = socket_path
        self._control_uid = control_uid
        self._listeners: dict[str, _Listener] = {}

    async def sync(self, wishes: Iterable[NetworkWish], full: bool) -> None:
        """Listen in these networks where they have a metadata address, and in no others if `full`.

        A listener would keep a removed namespace alive, so this follows each change of the networks.
        """
        wanted = {wish.network_id: bool(dhcp.addresses(wish)) for wish in wishes}
        for network_id in [n for n in self._listeners if not wanted.get(n, not full)]:
            await self._stop(network_id)
        for network_id in (n for n, has_address in wanted.items() if has_address):
            try:
                await self._start(network_id)
            except (HostError, OSError):
                continue  # the network's own status says what is wrong with it

    async def close(self) -> None:
        """Stop listening everywhere."""
        for network_id in list(self._listeners):
            await self._stop(network_id)

    async def _start(self, network_id: str) -> None:
        namespace = namespace_name(self._cloud, network_id)
        inode = os.stat(netns.DIRECTORY / namespace).st_ino
        present = self._listeners.get(network_id)
        if present is not None:
            if present.namespace_inode == inode:
                return
            await self._stop(network_id)
        sock = await asyncio.to_thread(netns.run, namespace, _listen)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(network_id, reader, writer)

        server = await asyncio.start_server(accept, sock=sock)
        self._listeners[network_id] = _Listener(server, inode)

    async def _stop(self, network_id: str) -> None:
        listener = self._listeners.pop(network_id)
        listener.server.close()
        for task in list(listener.connections):
            task.cancel()
        await asyncio.gather(*listener.connections, return_exceptions=True)
        await listener.server.wait_closed()

    async def _serve(self, network_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener = self._listeners.get(network_id)
        task = asyncio.current_task()
        if listener is None or task is None or len(listener.connections) >= _CONNECTIONS_PER_NETWORK:
            writer.transport.abort()
            return
        listener.connections.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError):
                await self._relay(network_id, reader, writer)
        finally:
            listener.connections.discard(task)
            writer.transport.abort()

    async def _relay(self, network_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remote = writer.get_extra_info("peername")[0]
        below, service = await asyncio.open_unix_connection(sock=await connect(self._socket_path, self._control_uid))
        try:
            head = {"network_id": network_id, "remote_address": remote}
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


def _listen() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((dhcp.METADATA_IP, _PORT))
        sock.listen(64)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
