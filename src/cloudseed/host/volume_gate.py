"""Volumes of this host for machines of others: who may come for which, and his way to the storage daemon.

Beside `exports.json` lies `peers.json`: for each attachment of another host its address and the ticket.  Both say
what shall be, whatever is killed.  A connection gets no further than the socket of the one daemon that has the
attachment's mode; the export there has the attachment's name.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
from typing import Protocol

import msgspec

from cloudseed.host import processes, volume_files, wire
from cloudseed.host.errors import HostError
from cloudseed.host.gate import PORT, Leg, Wanted, local
from cloudseed.host.paths import StatePaths, check_uuid
from cloudseed.host.records import VolumeWay

log = logging.getLogger("cloudseed.host")


class Opened(Protocol):
    """What we need of a gate."""

    address: str

    async def open(self) -> None: ...


class _Peer(msgspec.Struct):
    address: str
    ticket: str


class VolumeGate:
    """The volumes of one state directory as other hosts may have them."""

    def __init__(self, paths: StatePaths, gate: Opened) -> None:
        self._paths = paths
        self._gate = gate
        self._legs: dict[str, set[Leg]] = {}

    async def let(self, volume_id: str, attachment_id: str, peer: str) -> VolumeWay:
        """Let the host at this address come for the attachment; asked again, the same way.  A former host of the
        attachment is let in no more, and what it had is cut."""
        try:
            ipaddress.IPv4Address(peer)
        except ValueError:
            raise HostError("invalid", f"{peer[:64]!r} is no address of a host") from None
        await self._gate.open()
        peers = self._load(volume_id)
        known = peers.get(attachment_id)
        if known is None or known.address != peer:
            known = peers[attachment_id] = _Peer(peer, secrets.token_hex(32))
            self._save(volume_id, peers)
            self._cut(attachment_id)
        return VolumeWay(address=self._gate.address, port=PORT, ticket=known.ticket)

    def forbid(self, volume_id: str, attachment_id: str) -> None:
        """Let nobody come for the attachment any more, and cut those who did."""
        peers = self._load(volume_id)
        if peers.pop(attachment_id, None) is not None:
            self._save(volume_id, peers)
        self._cut(attachment_id)

    def peer(self, volume_id: str, attachment_id: str) -> str:
        """The address of the host that may come for it; empty for an attachment of this host."""
        known = self._load(volume_id).get(attachment_id)
        return known.address if known is not None else ""

    async def adopt(self) -> None:
        """Open the gate if some host may come.  A failure is logged: the next `let` says it to somebody."""
        if any(self._load(volume_id) for volume_id in volume_files.volume_ids(self._paths)):
            try:
                await self._gate.open()
            except HostError as exc:
                log.warning("other hosts cannot reach their volumes here: %s", exc.message)

    async def admit(self, wanted: Wanted, peer: str) -> Leg:
        """The way to the daemon for one who came through the gate.  HostError when he may not."""
        volume_id, slash, attachment_id = wanted.id.partition("/")
        if not slash:
            raise HostError("invalid", "what it wants is no attachment")
        check_uuid(attachment_id, "attachment_id")
        known = self._load(volume_id).get(attachment_id)
        exports = volume_files.load_exports(self._paths, volume_id)
        if known is None or attachment_id not in exports:
            raise HostError("not_found", f"attachment {attachment_id} of volume {volume_id} is not exported to others")
        if known.address != peer or not hmac.compare_digest(known.ticket.encode(), wanted.ticket.encode()):
            raise HostError("conflict", f"attachment {attachment_id} is not its own")
        socket = self._paths.volume(volume_id).exporter(exports[attachment_id]).nbd_socket
        connected = await wire.connect(socket)
        leg = Leg(lambda: self._forget(attachment_id, leg))
        self._legs.setdefault(attachment_id, set()).add(leg)
        try:
            return await local(connected, leg)
        except BaseException:
            self._forget(attachment_id, leg)
            raise

    def _forget(self, attachment_id: str, leg: Leg) -> None:
        legs = self._legs.get(attachment_id, set())
        legs.discard(leg)
        if not legs:
            self._legs.pop(attachment_id, None)

    def _cut(self, attachment_id: str) -> None:
        for leg in list(self._legs.get(attachment_id, ())):
            leg.kill()

    def _load(self, volume_id: str) -> dict[str, _Peer]:
        return processes.load_json(self._paths.volume(volume_id).peers, dict[str, _Peer]) or {}

    def _save(self, volume_id: str, peers: dict[str, _Peer]) -> None:
        processes.save_json(self._paths.volume(volume_id).peers, peers)


class NoGate:
    """Of a host that only pretends: nobody comes."""

    address = "127.0.0.1"

    async def open(self) -> None:
        await asyncio.sleep(0)
