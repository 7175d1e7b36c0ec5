"""A guest without a machine: it holds a port's tap and speaks Ethernet frames made by hand."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyroute2 import IPRoute

from cloudseed.host import links, netns
from cloudseed.host.paths import namespace_name, tap_name
from cloudseed.host.records import PortWish

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IP, IP6, VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
_VNET_HEADER = bytes(10)  # the taps carry virtio's header before each frame
DHCP_COOKIE = b"\x63\x82\x53\x63"


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(source: str, destination: str, kind: int, body: bytes) -> bytes:
    return mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", kind) + body


def ipv4(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, checksum(head + addresses)) + (
        addresses + body
    )


def udp(source_port: int, destination_port: int, data: bytes) -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(data), 0) + data


def ipv6(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    """An IPv6 packet; the checksum of ICMPv6 and UDP is put in."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    at = 2 if protocol == 58 else 6
    number = checksum(ends + struct.pack("!II", len(body), protocol) + body[:at] + b"\0\0" + body[at + 2 :])
    body = body[:at] + struct.pack("!H", number or 0xFFFF) + body[at + 2 :]
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 255) + ends + body


def link_local(mac: str) -> str:
    """The address that a guest makes of its MAC."""
    b = mac_bytes(mac)
    own = bytes([b[0] ^ 2, b[1], b[2], 0xFF, 0xFE, b[3], b[4], b[5]])
    return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + own)


def tcp(source: tuple[str, int], destination: tuple[str, int], flags: int, seq: int = 1, ack: int = 0) -> bytes:
    """A TCP segment without data, in its IP packet; flags: 2 SYN, 16 ACK, 18 both."""
    segment = struct.pack("!HHIIBBHHH", source[1], destination[1], seq, ack, 0x50, flags, 8192, 0, 0)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    total = checksum(addresses + struct.pack("!BBH", 0, 6, len(segment)) + segment)
    return ipv4(source[0], destination[0], 6, segment[:16] + struct.pack("!H", total) + segment[18:])


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """(MAC, IP) of sender and target; operation 1 asks, 2 answers."""
    return (
        struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        + mac_bytes(sender[0]) + socket.inet_aton(sender[1])
        + mac_bytes(target[0]) + socket.inet_aton(target[1])
    )  # fmt: skip


@dataclass
class DhcpAnswer:
    """A DHCP server's message: the offered address, the kind (2 offer, 5 ack, 6 nak) and all options."""

    address: str
    kind: int
    options: dict[int, bytes]


def _wait_forwarding(tap: str) -> None:
    """The kernel tells the bridge of a new carrier in its own time, within a second."""
    deadline = time.monotonic() + 5
    with IPRoute() as ip:
        while time.monotonic() < deadline:
            (link,) = ip.get_links(ifname=tap)
            if not link["flags"] & 1 or link.get_attr("IFLA_OPERSTATE") == "UP":
                return
            time.sleep(0.005)
    raise TimeoutError(f"{tap} does not forward")


class TapGuest:
    """Whoever sits behind a local port.  `close` lets the tap go."""

    def __init__(self, cloud: str, network_id: str, port: PortWish) -> None:
        self.mac = port.mac_address
        self.ip = port.fixed_ips[0].ip_address if port.fixed_ips else "0.0.0.0"
        namespace = namespace_name(cloud, network_id)
        self._tap = netns.run(namespace, lambda: links.open_tap(tap_name(port.port_id)))
        netns.run(namespace, lambda: _wait_forwarding(tap_name(port.port_id)))

    def close(self) -> None:
        os.close(self._tap)

    def __enter__(self) -> TapGuest:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def send(self, frame: bytes) -> None:
        os.write(self._tap, _VNET_HEADER + frame)

    def receive(self, wanted: Callable[[bytes], bool], timeout_s: float = 2.0) -> bytes | None:
        """The first frame that is wanted; None when none comes in time."""
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._tap, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                frame = os.read(self._tap, 70000)[len(_VNET_HEADER) :]
                if wanted(frame):
                    return frame
        return None

    def send_udp(
        self,
        to: TapGuest,
        data: bytes,
        port: int = 7,
        *,
        source_port: int = 4000,
        source_ip: str | None = None,
        source_mac: str | None = None,
    ) -> None:
        packet = ipv4(source_ip or self.ip, to.ip, 17, udp(source_port, port, data))
        self.send(ethernet(source_mac or self.mac, to.mac, IP, packet))

    def hears(self, data: bytes, timeout_s: float = 2.0) -> bool:
        """Whether a frame with that data arrives."""
        return self.receive(lambda frame: data in frame, timeout_s) is not None

    def dhcp(self, kind: int, *, requested: str | None = None, timeout_s: float = 3.0) -> DhcpAnswer | None:
        """Send a DHCP message (1 discover, 3 request) and wait for the answer to it."""
        number = os.urandom(4)
        options = bytes([53, 1, kind, 55, 9, 1, 3, 6, 12, 15, 26, 42, 51, 121])
        if requested:
            options += bytes([50, 4]) + socket.inet_aton(requested)
        body = (
            bytes([1, 1, 6, 0]) + number + struct.pack("!HH", 0, 0x8000) + bytes(16)
            + mac_bytes(self.mac) + bytes(10 + 64 + 128) + DHCP_COOKIE + options + b"\xff"
        )  # fmt: skip
        packet = ipv4("0.0.0.0", "255.255.255.255", 17, udp(68, 67, body))
        self.send(ethernet(self.mac, BROADCAST, IP, packet))
        frame = self.receive(lambda f: number in f and DHCP_COOKIE in f and f[6:12] != mac_bytes(self.mac), timeout_s)
        if frame is None:
            return None
        message = frame[14 + 20 + 8 :]
        found: dict[int, bytes] = {}
        rest = message[240:]
        while rest and rest[0] != 255:
            if rest[0] == 0:
                rest = rest[1:]
                continue
            found[rest[0]] = rest[2 : 2 + rest[1]]
            rest = rest[2 + rest[1] :]
        return DhcpAnswer(socket.inet_ntoa(message[16:20]), found[53][0], found)
