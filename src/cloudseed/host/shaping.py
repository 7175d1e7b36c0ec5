"""What limits a port: queues that hold bandwidth down, and lines for nft that limit packets and mark them.

    machine sends ──▶ tap's ingress ──▶ ifb<port>: token bucket ──▶ bridge      (egress, as neutron calls it)
    bridge ──▶ tap's root queue: token bucket ──▶ machine receives             (ingress)

Bandwidth is shaped, not policed: packets wait, so that TCP finds the limit without losing half of it.  A port's `ifb`
exists while its egress is limited.  A token bucket lets nothing through that is larger than its burst, so the burst
is never below two full frames.  Packet rates are limited, and packets marked, in the network's ruleset
(`firewall.py`), which is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host import links
from cloudseed.host.errors import HostError
from cloudseed.host.paths import tap_name
from cloudseed.host.records import BandwidthWish, PacketRateWish, PortWish, QosWish

PREFIX = "ifb"
_INGRESS = 0xFFFF0000
_LATENCY_S = 0.05  # how long a packet may wait
_LONGEST_BURST_S = 60.0  # the kernel counts a burst in 32 bits of 64 ns
_UNLIMITED_BYTES_S = 4_000_000_000  # the kernel's field ends here, beyond what a tap carries
_UNLIMITED_PPS = 100_000_000
_FRAME_HEADER = 22  # Ethernet with a tag, and some air
_DEFAULT_BURST = 0.8  # of the rate, as neutron's agents have it
_MISSING = "the kernel lacks what limits bandwidth: sch_tbf, sch_ingress, cls_u32, act_mirred and ifb are needed"


def link_name(port_id: str) -> str:
    """The link behind which what a port's machine sends waits."""
    return f"{PREFIX}{port_id[:11]}"


def link_names(ports: Sequence[PortWish]) -> set[str]:
    """Those that these ports need."""
    return {link_name(port.port_id) for port in ports if port.qos is not None and _limited(port.qos.egress)}


def check(port: PortWish) -> None:
    """HostError `invalid` for limits that make no sense."""
    qos = port.qos or QosWish()
    numbers = [n for wish in (qos.egress, qos.ingress) if wish is not None for n in (wish.kbps, wish.burst_kbit)]
    numbers += [n for rate in (qos.egress_packets, qos.ingress_packets) if rate is not None
                for n in (rate.pps, rate.burst)]  # fmt: skip
    if any(not 0 <= number < 2**42 for number in numbers):
        raise HostError("invalid", f"a limit of port {port.port_id} is out of range: {numbers}")
    if qos.dscp_mark is not None and not 0 <= qos.dscp_mark <= 63:
        raise HostError("invalid", f"the DSCP mark of port {port.port_id} must be 0 to 63, not {qos.dscp_mark}")


# ---- packets: lines of the ruleset of family bridge


def chains(ports: Sequence[PortWish]) -> tuple[list[str], list[str], list[str]]:
    """Chains that limit and mark, and the jumps to them (`iifname vmap`, `oifname vmap`) of what was sent and what
    is to be received."""
    out: list[str] = []
    sent, received = [], []
    for port in ports:
        tap, qos = tap_name(port.port_id), port.qos or QosWish()
        lines = _packet_limit(qos.egress_packets)
        if qos.dscp_mark is not None:
            lines += [f"    {family} dscp set {qos.dscp_mark}" for family in ("ip", "ip6")]
        if lines:
            out += [f"  chain sent-{tap} {{", *lines, "  }"]
            sent.append(f'"{tap}" : jump sent-{tap}')
        lines = _packet_limit(qos.ingress_packets)
        if lines:
            out += [f"  chain received-{tap} {{", *lines, "  }"]
            received.append(f'"{tap}" : jump received-{tap}')
    return out, sent, received


def _packet_limit(wish: PacketRateWish | None) -> list[str]:
    if wish is None or not 0 < wish.pps < _UNLIMITED_PPS:
        return []
    burst = min(max(wish.burst or int(wish.pps * _DEFAULT_BURST), 1), 2**31)
    return [f"    limit rate over {wish.pps}/second burst {burst} packets drop"]


# ---- bandwidth: queues of the links


def sync(ip: IPRoute, taps: dict[str, PortWish], mtu: int) -> bool:
    """Make the queues of the namespace's taps so.  True if any changed."""
    present = links.list_links(ip)
    queues: dict[int, list[Any]] = {}
    for message in ip.get_qdiscs():
        queues.setdefault(message["index"], []).append(message)
    changed = False
    for name, port in taps.items():
        qos, tap = port.qos or QosWish(), present[name]
        mine = queues.get(tap.index, [])
        try:
            changed |= _sync_bucket(ip, tap.index, mine, qos.ingress, mtu)
            changed |= _sync_detour(ip, tap, mine, present.get(link_name(port.port_id)), queues, qos.egress, mtu,
                                    link_name(port.port_id))  # fmt: skip
        except NetlinkError as exc:
            message = f"the kernel refused the limits of port {port.port_id}: {exc}"
            raise HostError("failed", _MISSING if exc.code in (2, 95) else message) from exc
    return changed


def _limited(wish: BandwidthWish | None) -> bool:
    return wish is not None and 0 < wish.kbps * 125 < _UNLIMITED_BYTES_S


def _bucket(wish: BandwidthWish, mtu: int) -> tuple[int, int, int]:
    """Rate, burst and queue, in bytes (a second)."""
    rate = wish.kbps * 125
    burst = wish.burst_kbit * 125 or int(rate * _DEFAULT_BURST)
    # the floor last: it is what lets a frame through at all
    burst = max(min(burst, int(rate * _LONGEST_BURST_S), 2**31), 2 * (mtu + _FRAME_HEADER))
    return rate, burst, min(int(rate * _LATENCY_S) + burst, 2**32 - 1)


def _sync_bucket(ip: IPRoute, index: int, present: Collection[Any], wish: BandwidthWish | None, mtu: int) -> bool:
    has = next((m for m in present if m.get_attr("TCA_KIND") == "tbf"), None)
    if wish is None or not _limited(wish):
        if has is not None:
            ip.tc("del", index=index, parent=0xFFFFFFFF)
        return has is not None
    rate, burst, limit = _bucket(wish, mtu)
    if has is not None:
        shown = has.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
        # the kernel keeps the burst as time, in units of 64 ns
        if (shown["rate"], shown["limit"]) == (rate, limit) and abs(shown["buffer"] * 64e-9 * rate - burst) < 2 + (
            rate * 1e-6
        ):
            return False
        ip.tc("del", index=index, parent=0xFFFFFFFF)
    ip.tc("add", "tbf", index=index, handle=0x10000, rate=rate, burst=burst, limit=limit)
    return True


def _sync_detour(
    ip: IPRoute,
    tap: links.Link,
    present: Collection[Any],
    detour: links.Link | None,
    queues: dict[int, list[Any]],
    wish: BandwidthWish | None,
    mtu: int,
    name: str,
) -> bool:
    """What the tap's machine sends goes through the queue of an `ifb`, or straight on."""
    turned = any(m.get_attr("TCA_KIND") == "ingress" for m in present)
    if not _limited(wish):
        if turned:
            ip.tc("del", "ingress", index=tap.index, handle=_INGRESS)
        if detour is not None:
            links.remove_link(ip, detour)
        return turned or detour is not None
    changed = False
    if detour is None:
        ip.link("add", ifname=name, kind="ifb")
        detour = links.list_links(ip)[name]
        changed = True
    changed |= _sync_bucket(ip, detour.index, queues.get(detour.index, []), wish, mtu)
    if not detour.up:
        ip.link("set", index=detour.index, state="up")
        changed = True
    if turned and _leads_to(ip, tap.index) != detour.index:
        ip.tc("del", "ingress", index=tap.index, handle=_INGRESS)
        turned, changed = False, True
    if not turned:
        ip.tc("add", "ingress", index=tap.index, handle=_INGRESS)
        action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": detour.index}
        ip.tc("add-filter", "u32", index=tap.index, parent=_INGRESS, prio=1, protocol=3, target=0x10000,
              keys=["0x0/0x0+0"], action=action)  # fmt: skip
        changed = True
    return changed


def _leads_to(ip: IPRoute, index: int) -> int | None:
    """The link to which the tap's ingress is redirected."""
    found: int | None = None
    for message in ip.get_filters(index=index, parent=_INGRESS):
        try:
            actions = message.get_attr("TCA_OPTIONS").get_attr("TCA_U32_ACT")
            action = actions.get_attr("TCA_ACT_PRIO_1").get_attr("TCA_ACT_OPTIONS")
            found = action.get_attr("TCA_MIRRED_PARMS")["ifindex"]
        except AttributeError:
            continue  # the filter's table, which has no action
    return found
