"""Sockets on which a process serves its API."""

from __future__ import annotations

import socket
from collections.abc import Iterable


class BadAddress(ValueError):
    """No ADDRESS:PORT, or none of this machine's; the text says which and why."""


def parse(text: str) -> tuple[str, int]:
    """`ADDRESS:PORT`, an IPv6 address in brackets.  Raises BadAddress.

    >>> parse("[::1]:8080")
    ('::1', 8080)
    """
    address, colon, port = text.rpartition(":")
    if not colon or not address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadAddress(f"{text!r} is not ADDRESS:PORT")
    return address.strip("[]"), int(port)


def check(address: str, port: int = 0) -> None:
    """Raises BadAddress unless a process of this machine can listen there; port 0: on some port."""
    try:
        _bound(address, port).close()
    except OSError as exc:
        what = "is not an address of this machine" if port == 0 else f"port {port} cannot be had"
        raise BadAddress(f"{address} {what}: {exc.strerror or exc}") from None


def listeners(addresses: Iterable[tuple[str, int]]) -> list[socket.socket]:
    """Listening sockets.  Raises BadAddress for the first that cannot be; then none is open."""
    made: list[socket.socket] = []
    for address, port in addresses:
        try:
            listener = _bound(address, port)
            made.append(listener)
            listener.listen(2048)
            listener.setblocking(False)
        except OSError as exc:
            for other in made:
                other.close()
            raise BadAddress(f"cannot listen on {address} port {port}: {exc.strerror or exc}") from None
    return made


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # the protocol is named so that asyncio turns Nagle off: else small answers wait 40 ms for an ACK
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    except BaseException:
        made.close()
        raise
    return made
