"""Links inside the current network namespace: one bridge, a tap for each local port, routers' legs.

Functions here run in a thread that `netns.run` put into the namespace, and are synchronous: a netlink
exchange takes microseconds.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host.errors import HostError

BRIDGE = "br"
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_UP = 1
_IFA_F_NODAD = 0x02


@dataclass(frozen=True)
class Link:
    """A link as the kernel shows it."""

    index: int
    name: str
    up: bool
    mtu: int
    mac: str
    master: int | None


def list_links(ip: IPRoute) -> dict[str, Link]:
    """All links of the namespace by name."""
    found: dict[str, Link] = {}
    for message in ip.get_links():
        name = message.get_attr("IFLA_IFNAME")
        found[name] = Link(
            index=message["index"],
            name=name,
            up=bool(message["flags"] & _IFF_UP),
            mtu=message.get_attr("IFLA_MTU"),
            mac=message.get_attr("IFLA_ADDRESS") or "",
            master=message.get_attr("IFLA_MASTER"),
        )
    return found


def open_tap(name: str) -> int:
    """A file descriptor of the tap, which is made if missing; `conflict` when another process holds it."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as exc:
        os.close(descriptor)
        if exc.errno == 16:
            raise HostError("conflict", f"{name} is held by a running machine already") from exc
        raise HostError("failed", f"the system refused to open {name}: {exc.strerror}") from exc
    return descriptor


def create_tap(name: str) -> None:
    """Make a tap that stays when nobody holds it; it is down and on no bridge."""
    descriptor = open_tap(name)
    try:
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)


def sync_bridge(ip: IPRoute, mtu: int, mac: str | None, addresses: set[str]) -> bool:
    """Make the bridge so: MTU, MAC (any when null) and addresses (`ip/prefix`).  True if it changed."""
    changed = False
    bridge = list_links(ip).get(BRIDGE)
    if bridge is None:
        extra: dict[str, Any] = {"address": mac} if mac else {}
        # no forwarding delay, no snooping: a guest may speak the moment that it is plugged
        ip.link(
            "add",
            ifname=BRIDGE,
            kind="bridge",
            br_stp_state=0,
            br_forward_delay=0,
            br_mcast_snooping=0,
            mtu=mtu,
            **extra,
        )
        bridge = list_links(ip)[BRIDGE]
        changed = True
    # IPv6 speaks from the addresses that are given here, and believes no guest's advertisement
    for name, value in (("accept_ra", "0"), ("autoconf", "0"), ("addr_gen_mode", "1"), ("disable_ipv6", "0")):
        write_sysctl(f"net/ipv6/conf/{BRIDGE}/{name}", value)
    wanted: dict[str, Any] = {}
    if bridge.mtu != mtu:
        wanted["mtu"] = mtu
    if mac and bridge.mac != mac:
        wanted["address"] = mac
    if not bridge.up:
        wanted["state"] = "up"
    if wanted:
        ip.link("set", index=bridge.index, **wanted)
        changed = True
    return sync_addresses(ip, bridge.index, addresses) is not None or changed


def plug(ip: IPRoute, tap: Link, bridge: Link, mtu: int, up: bool) -> bool:
    """Put the tap (or a router's leg) on the bridge with that MTU, up or down.  True if changed.

    Its rules must be in place before this puts it up.
    """
    wanted: dict[str, Any] = {}
    if tap.mtu != mtu:
        wanted["mtu"] = mtu
    if tap.master != bridge.index:
        wanted["master"] = bridge.index
    if tap.up != up:
        wanted["state"] = "up" if up else "down"
    if wanted:
        ip.link("set", index=tap.index, **wanted)
    return bool(wanted)


def remove_link(ip: IPRoute, link: Link) -> None:
    """Remove a link; one that is gone already is fine."""
    try:
        ip.link("del", index=link.index)
    except NetlinkError as exc:
        if exc.code != 19:
            raise


def harden_namespace(ip: IPRoute) -> None:
    """Loopback up; no routing between a guest and what else is here; bridged frames pass the inet rules.

    A new namespace inherits the host's IPv4 settings, and a host with containers often forwards.
    """
    ip.link("set", index=1, state="up")
    write_sysctl("net/ipv4/ip_forward", "0")
    write_sysctl("net/ipv6/conf/all/disable_ipv6", "1")
    write_sysctl("net/ipv6/conf/lo/disable_ipv6", "0")
    for family in ("ip", "ip6"):
        if not write_sysctl(f"net/bridge/bridge-nf-call-{family}tables", "1"):
            message = "the kernel has no br_netfilter, which security groups need: run modprobe br_netfilter"
            raise HostError("failed", message)


def addresses(ip: IPRoute, index: int, wanted: Collection[str] = ()) -> set[str]:
    """The link's addresses (`ip/prefix`), but for unwanted link-local ones of IPv6, which the kernel makes itself."""
    found = {
        f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
        for message in ip.get_addr(index=index)
    }
    return {address for address in found if address in wanted or not address.startswith("fe80:")}


def sync_addresses(ip: IPRoute, index: int, wanted: set[str]) -> set[str] | None:
    """Give the link these addresses and no others; None when nothing changed, else those that are new."""
    present = addresses(ip, index, wanted)
    if present == wanted:
        return None
    for address in sorted(present - wanted):
        host, _, prefix = address.partition("/")
        try:
            ip.addr("del", index=index, address=host, prefixlen=int(prefix))
        except NetlinkError as exc:
            if exc.code != 99:  # a secondary address that went with the first of its range
                raise
    # what the kernel took along comes back
    for address in sorted(wanted - addresses(ip, index, wanted)):
        host, _, prefix = address.partition("/")
        # an address of ours is nobody else's: it need not wait until that is proved
        flags = {"flags": _IFA_F_NODAD} if ":" in host else {}
        ip.addr("add", index=index, address=host, prefixlen=int(prefix), **flags)
    return wanted - present


def has_ipv6() -> bool:
    """Whether the kernel speaks IPv6 at all; an operator may have turned it off."""
    return Path("/proc/sys/net/ipv6").exists()


def write_sysctl(name: str, value: str) -> bool:
    """Set a setting of the kernel, or of the current namespace where it has its own; false when there is none."""
    path = Path("/proc/sys") / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except FileNotFoundError:
        return False
    return True
