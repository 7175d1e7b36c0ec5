"""What a router translates, as text for nft: a pure function of the router's wish.

    outside ──▶ prerouting    a floating address becomes the fixed one (or, by port, a forwarding's)
            ──▶ routing
    inside  ──▶ postrouting   what stays inside keeps its source; a fixed address with a floating one shows that;
                              all else leaves under the gateway's address, where SNAT is on
                              what was led back inside by a floating address comes from the router, so that the
                              answer comes this way too

What a floating address is held to is dropped while it is forwarded, when it is more than that in a second.

IPv6 is routed as it is.  Everything is replaced in one transaction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from cloudseed.host.connections import Translation
from cloudseed.host.dhcp_files import METADATA_IP
from cloudseed.host.errors import HostError
from cloudseed.host.firewall import digest
from cloudseed.host.paths import router_link_name
from cloudseed.host.records import FloatingWish, ForwardingWish, RouterWish

_UNLIMITED = 10_000_000_000  # bytes a second: nft's counting would overflow a little above
_SMALLEST_BURST = 65_536  # as large as a packet can be before it is cut
_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "dccp": 33}


def ruleset(cloud: str, wish: RouterWish) -> str:
    """The router's table `ip <cloud>` as one transaction; it carries its digest as a comment."""
    body = "\n".join(_table(cloud, wish))
    body = body.replace("@COMMENT@", f'comment "{digest(body)}"')
    return f"add table ip {cloud}\ndelete table ip {cloud}\n{body}\n"


def snat_address(wish: RouterWish) -> str | None:
    """The gateway's first IPv4 address."""
    if wish.gateway is None:
        return None
    return next((address4(a.partition("/")[0]) for a in wish.gateway.addresses if ":" not in a), None)


def floating(wish: RouterWish) -> dict[str, str]:
    """Fixed addresses by floating ones."""
    return {address4(f.floating_ip): address4(f.fixed_ip) for f in wish.floating}


def summary(wish: RouterWish) -> Translation:
    """The same for judging connections."""
    forwarded: dict[str, set[str]] = {}
    for each in wish.forwardings:
        forwarded.setdefault(address4(each.floating_ip), set()).add(address4(each.fixed_ip))
    return Translation(floating(wish), forwarded, snat_address(wish))


def address4(text: str) -> str:
    """An IPv4 address, normalized; `invalid` otherwise."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise HostError("invalid", f"a router translates IPv4 addresses, not {text[:64]!r}") from None


def _table(cloud: str, wish: RouterWish) -> list[str]:
    out = [f"table ip {cloud} {{", "  @COMMENT@"]
    gateway = wish.gateway
    if gateway is None:
        return [*out, "}"]
    outside = f'"{router_link_name(gateway.port_id, True)}"'
    # the metadata service (metadata.py) is for guests inside
    out += ["  chain input {", "    type filter hook input priority 0; policy accept;"]
    out += [f"    iifname {outside} ip daddr {METADATA_IP} drop", "  }"]
    inward, source = floating(wish), snat_address(wish)
    forwarded = _forwardings(wish.forwardings)
    to_fixed = [f"    dnat to ip daddr map {_map(inward.items())}"] if inward else []
    for hook, priority in (("prerouting", -100), ("output", -100)):
        out += [f"  chain {hook} {{", f"    type nat hook {hook} priority {priority}; policy accept;"]
        out += [*forwarded, *to_fixed, "  }"]
    out += ["  chain postrouting {", "    type nat hook postrouting priority 100; policy accept;"]
    out.append(f"    oifname != {outside} ct status & dnat == 0 accept")
    # two floating addresses of one port: it shows the first
    outward = {fixed: shown for shown, fixed in reversed(inward.items())}
    if outward:
        out.append(f"    snat to ip saddr map {_map(outward.items())}")
    if source is not None:
        if wish.enable_snat:
            out.append(f"    oifname {outside} snat to {source}")
        out.append(f"    iifname != {outside} oifname != {outside} ct status & dnat != 0 snat to {source}")
    limits = [line for each in wish.floating for line in _limits(each, outside)]
    if limits:
        out += ["  }", "  chain limits {", "    type filter hook forward priority 0; policy accept;", *limits]
    return [*out, "  }", "}"]


def _limits(wish: FloatingWish, outside: str) -> list[str]:
    """What goes in and out under a floating address.  nft counts a bucket of one second and the burst."""
    fixed, found = address4(wish.fixed_ip), []
    for limit, link, side in ((wish.ingress, "iifname", "daddr"), (wish.egress, "oifname", "saddr")):
        if limit is None or limit.kbps == 0:
            continue
        if not (0 < limit.kbps < 2**31 and 0 <= limit.burst_kbit < 2**31):
            raise HostError("invalid", f"a limit of floating IP {wish.floatingip_id} is out of range: {limit}")
        rate, burst = limit.kbps * 125, min(max(limit.burst_kbit * 125, _SMALLEST_BURST), 2**32 - 1)
        if rate + burst < _UNLIMITED:
            match = f"{link} {outside} ip {side} {fixed}"
            found.append(f"    {match} limit rate over {rate} bytes/second burst {burst} bytes drop")
    return found


def _forwardings(wishes: Iterable[ForwardingWish]) -> list[str]:
    lines = []
    for wish in sorted(wishes, key=lambda w: (w.floating_ip, w.protocol, w.floating_port)):
        first, inner, count = wish.floating_port, wish.fixed_port, wish.count
        last = 0 if wish.into_one else count - 1
        if min(first, inner, count) < 1 or first + count - 1 > 65535 or inner + last > 65535:
            raise HostError("invalid", f"ports of a forwarding must be 1 to 65535, not {first}, {inner}, {count}")
        match = f"ip daddr {address4(wish.floating_ip)} meta l4proto {_NUMBERS[wish.protocol]} th dport"
        fixed = address4(wish.fixed_ip)
        if last == 0:
            ports = str(first) if count == 1 else f"{first}-{first + count - 1}"
            lines.append(f"    {match} {ports} dnat to {fixed}:{inner}")
        elif inner == first:
            lines.append(f"    {match} {first}-{first + count - 1} dnat to {fixed}")
        else:  # nft alone would choose any port of the inner range
            pairs = ", ".join(f"{first + n} : {fixed} . {inner + n}" for n in range(count))
            lines.append(f"    {match} {first}-{first + count - 1} dnat ip to th dport map {{ {pairs} }}")
    return lines


def _map(pairs: Iterable[tuple[str, str]]) -> str:
    return f"{{ {', '.join(f'{key} : {value}' for key, value in sorted(pairs))} }}"
