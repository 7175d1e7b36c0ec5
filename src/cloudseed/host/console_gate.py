"""Consoles of this host's machines for viewers of others: a ticket is good for one connection, soon, from one address.

The control plane asks for a ticket for each viewer whom it lets in.  Behind the gate lies nothing but the one socket
of that console, and only if the machine itself listens there: a guest that broke out could put a link in its place.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from cloudseed.host import wire
from cloudseed.host.errors import HostError
from cloudseed.host.gate import PORT, Gate, Leg, Wanted, local
from cloudseed.host.paths import StatePaths
from cloudseed.host.processes import ProcessRecord
from cloudseed.host.records import Door, OpenConsole

_GOOD_S = 30.0
_MAX_TICKETS = 1024


@dataclass(frozen=True)
class _Ticket:
    text: str
    order: OpenConsole
    until: float


class ConsoleGate:
    """The tickets that are out; they end with this process."""

    def __init__(self, paths: StatePaths, gate: Gate, process: Callable[[str], ProcessRecord | None]) -> None:
        self._paths = paths
        self._gate = gate
        self._process = process
        self._tickets: list[_Ticket] = []

    async def let(self, order: OpenConsole) -> Door:
        """A way for one viewer.  HostError `not_found` when the machine does not run."""
        try:
            ipaddress.IPv4Address(order.peer)
        except ValueError:
            raise HostError("invalid", f"{order.peer[:64]!r} is no address of a host") from None
        self._running(order.server_id)
        await self._gate.open()
        now = time.monotonic()
        self._tickets = [ticket for ticket in self._tickets if ticket.until > now][-_MAX_TICKETS + 1:]
        ticket = _Ticket(secrets.token_hex(32), order, now + _GOOD_S)
        self._tickets.append(ticket)
        return Door(address=self._gate.address, port=PORT, ticket=ticket.text)

    async def admit(self, wanted: Wanted, peer: str) -> Leg:
        """The way to the console for one who came through the gate.  HostError when he may not."""
        found = next((t for t in self._tickets if hmac.compare_digest(t.text.encode(), wanted.ticket.encode())), None)
        if found is None or found.order.server_id != wanted.id:
            raise HostError("not_found", "its ticket is for no console")
        self._tickets.remove(found)
        if found.until < time.monotonic() or found.order.peer != peer:
            raise HostError("conflict", "its ticket has expired or is another's")
        machine = self._paths.machine(found.order.server_id)
        path = machine.vnc_socket if found.order.kind == "novnc" else machine.serial_socket
        return await local(await wire.connect(path, pid=self._running(found.order.server_id).pid), Leg())

    def _running(self, server_id: str) -> ProcessRecord:
        self._paths.machine(server_id)  # a UUID
        record = self._process(server_id)
        if record is None:
            raise HostError("not_found", f"server {server_id} does not run on this host")
        return record
