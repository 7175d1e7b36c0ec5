"""The host's own end of external networks: one link each, and what the host forwards for them.

An external network is a namespace like any other; a link named `<cloud>-x...` joins it to the host, holds the
subnets' gateway addresses, and so lets the host reach floating addresses.  With `nat`, guests reach what the host
reaches: IPv4 forwarding is switched on, and what comes from these links leaves under the host's own address.
Without, the host forwards nothing from or to them.

A guest reaches the host itself by ping alone: what listens on the host, be it on all addresses, is for the host and
its own network, and trusted by a firewall in front of it that a guest stands behind.  The host reaches guests.  Nor
do guests reach link-local addresses by the host: in a cloud, its metadata service hands the host's own rights to
whoever asks from there.

Where a link leads to the provider's segment (`provider_interface`), the host is nobody's gateway: a bridge of its own
joins that link and those of external networks, and it has no address there and forwards nothing.  The gateway, and
other hosts' routers, are on the segment.

If it was us who switched forwarding on, nothing else is forwarded either: a machine does not become a router
because a cloud runs on it.  Several clouds share the switch; the last to go puts it back.  All is gone with a reboot.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host import binaries, links, netns, processes
from cloudseed.host.errors import HostError
from cloudseed.host.firewall import comment_of, digest
from cloudseed.host.paths import check_ip, external_link_name, namespace_name
from cloudseed.host.records import NetworkWish

HOST_LINK = "host"  # the end in the network's namespace
GROUP = 0x7C5  # links of all clouds of this machine, by which their packets are known
_FORWARD = "net/ipv4/ip_forward"
_clean: set[tuple[str, int]] = set()  # (cloud, host's namespace) without rules of ours, so that nft need not be asked
_ICMPV6 = "{ echo-request, nd-neighbor-solicit, nd-neighbor-advert }"
_MIN_PREFIX = {4: 16, 6: 48}


class _Switched(msgspec.Struct):
    """Which clouds want IPv4 forwarding, and what it was before the first came."""

    before: str
    clouds: list[str]


def apply(cloud: str, wish: NetworkWish, provider: str = "") -> bool:
    """Make the host's end of one network so, after the network's namespace; true when something changed.

    `provider`: the link to the provider's segment, if there is one.
    """
    if wish.external is None:
        return False
    addresses = set[str]() if provider else {_check(address) for address in wish.external.addresses}
    name = external_link_name(cloud, wish.network_id)
    network = namespace_name(cloud, wish.network_id)
    changed = False
    try:
        with IPRoute() as ip, netns.descriptor(network) as there:
            if not netns.run(network, lambda: HOST_LINK in _names()):
                stale = links.list_links(ip).get(name)
                if stale is not None:
                    links.remove_link(ip, stale)
                _check_free(ip, addresses, name)
                ip.link(
                    "add",
                    ifname=name,
                    kind="veth",
                    group=GROUP,
                    mtu=wish.mtu,
                    peer={"ifname": HOST_LINK, "net_ns_fd": there},
                )
                changed = True
            link = links.list_links(ip)[name]
            links.write_sysctl(f"net/ipv6/conf/{name}/accept_ra", "0")
            links.write_sysctl(f"net/ipv6/conf/{name}/accept_dad", "0")
            if not changed and links.addresses(ip, link.index) != addresses:
                _check_free(ip, addresses, name)
            if not link.up or link.mtu != wish.mtu:
                ip.link("set", index=link.index, mtu=wish.mtu, state="up")
            changed |= links.sync_addresses(ip, link.index, addresses) is not None
            changed |= _join_segment(ip, cloud, name, provider)
        return netns.run(network, lambda: _plug(wish.mtu)) or changed
    except NetlinkError as exc:
        raise HostError("failed", f"the kernel refused the host's end of network {wish.network_id}: {exc}") from exc


def leave_segment(cloud: str) -> None:
    """Without external networks the link to the provider's segment is nobody's: our bridge goes."""
    def leave() -> None:
        with IPRoute() as ip:
            bridge = links.list_links(ip).get(segment_bridge(cloud))
            if bridge is not None:
                links.remove_link(ip, bridge)

    netns.run_here(leave)


def segment_bridge(cloud: str) -> str:
    """The bridge that joins external networks with the provider's segment."""
    return f"{cloud}-prov"


def forward(cloud: str, wishes: Sequence[NetworkWish], nat: bool) -> None:
    """Let the host forward for its external networks, or see that it does not; undone when there are none."""
    here = (cloud, os.stat("/proc/thread-self/ns/net").st_ino)
    if not any(wish.external for wish in wishes):
        if here not in _clean:
            stop_forwarding(cloud)
            _clean.add(here)
        return
    _clean.discard(here)
    forward_for(cloud, nat)


def forward_for(cloud: str, nat: bool, closed: Sequence[str] = ()) -> None:
    """Let the host forward from and to links named `<cloud>-x...`; from and to the `closed` ones, nothing."""
    # the rules come first: there is no moment in which the host forwards without them
    ours = nat and _will_be_ours(cloud)
    _load(cloud, ruleset(cloud, nat, ours, closed))
    if nat:
        _switch_on(cloud)
    else:
        _switch_off(cloud)


def stop_forwarding(cloud: str) -> None:
    """Leave no rule and no setting of ours on the host itself."""
    _switch_off(cloud)
    if _loaded(cloud) is not None:
        processes.run_tool([binaries.find("nft"), "delete", "table", "inet", cloud], "removing the host's rules")


def link_names(cloud: str) -> list[str]:
    """Our links outside our namespaces."""
    return sorted(name for name in netns.run_here(_names)
                  if name.startswith(f"{cloud}-x") or name == segment_bridge(cloud))


def has_rules(cloud: str) -> bool:
    """Whether the host has a table of ours."""
    return _loaded(cloud) is not None


def remove_others(cloud: str, keep: set[str]) -> list[str]:
    """Remove our links but those of these networks; returns their names."""
    kept = {external_link_name(cloud, network_id) for network_id in keep}

    def remove() -> list[str]:
        removed = []
        with IPRoute() as ip:
            for name, link in links.list_links(ip).items():
                if name.startswith(f"{cloud}-x") and name not in kept:
                    links.remove_link(ip, link)
                    removed.append(name)
        return removed

    return netns.run_here(remove)


def ruleset(cloud: str, nat: bool, only_ours: bool, closed: Sequence[str] = ()) -> str:
    """The host's own table: what it takes from external networks, and what is forwarded from and to them.

    `only_ours`: nothing else is forwarded; `closed`: links that nothing is forwarded from or to."""
    mine = f'"{cloud}-x*"'
    out = [f"table inet {cloud} {{", "  @COMMENT@", "  chain input {"]
    out += ["    type filter hook input priority 0; policy accept;", f"    iifname {mine} jump from-guests", "  }",
            "  chain from-guests {", "    ct state established,related accept", "    icmp type echo-request accept",
            f"    icmpv6 type {_ICMPV6} accept", "    drop", "  }", "  chain forward {",
            "    type filter hook forward priority 0; policy accept;",
            *(f'    {way} "{link}" drop' for link in closed for way in ("iifname", "oifname")),
            f"    iifname {mine} ip daddr 169.254.0.0/16 drop",
            # what belongs to no connection would not be translated, and leave under a guest's address
            f"    iifname {mine} ct state invalid drop"]
    if not nat:
        out += [f"    iifname {mine} drop", f"    oifname {mine} drop"]
    elif only_ours:
        out.append(f"    meta nfproto ipv4 iifgroup != {GROUP} oifgroup != {GROUP} drop")
    out.append("  }")
    if nat:
        out += ["  chain postrouting {", "    type nat hook postrouting priority 100; policy accept;"]
        out += [f"    meta nfproto ipv4 iifname {mine} oifname != {mine} masquerade", "  }"]
    body = "\n".join([*out, "}", ""])
    body = body.replace("@COMMENT@", f'comment "{digest(body)}"')
    return f"add table inet {cloud}\ndelete table inet {cloud}\n{body}"


def _join_segment(ip: IPRoute, cloud: str, name: str, provider: str) -> bool:
    """The network's link on the bridge with the provider's, or on none."""
    present = links.list_links(ip)
    bridge = present.get(segment_bridge(cloud))
    if not provider:
        if present[name].master is None:
            return False
        ip.link("set", index=present[name].index, master=0)
        return True
    if provider not in present:
        message = f"this host has no link {provider} to the provider's segment: make it, or name another"
        raise HostError("failed", message)
    changed = bridge is None
    if bridge is None:
        ip.link("add", ifname=segment_bridge(cloud), kind="bridge", br_stp_state=0, br_forward_delay=0,
                br_mcast_snooping=0)
        bridge = links.list_links(ip)[segment_bridge(cloud)]
    # a switch and nothing more: this host has no address here
    for each in (segment_bridge(cloud), name):
        links.write_sysctl(f"net/ipv6/conf/{each}/disable_ipv6", "1")
    if not bridge.up:
        ip.link("set", index=bridge.index, state="up")
        changed = True
    master = present[provider].master
    if master not in (None, bridge.index):
        message = f"the link {provider} to the provider's segment is part of another bridge: take it out there"
        raise HostError("conflict", message)
    for link in (present[provider], present[name]):
        if link.master != bridge.index or not link.up:
            ip.link("set", index=link.index, master=bridge.index, state="up")
            changed = True
    return changed


def _names() -> set[str]:
    with IPRoute() as ip:
        return set(links.list_links(ip))


def _plug(mtu: int) -> bool:
    with IPRoute() as ip:
        present = links.list_links(ip)
        return links.plug(ip, present[HOST_LINK], present[links.BRIDGE], mtu, True)


def _check(text: str) -> str:
    """An address that the host may take.

    The wish is made by users with rights on external networks, and computed by a process that trusts nobody: it
    must not lead the host's own traffic to a part of the internet into a guest.
    """
    address, _, prefix = text.partition("/")
    ip = ipaddress.ip_address(check_ip(address, "a gateway"))
    if not prefix.isdecimal() or not _MIN_PREFIX[ip.version] <= int(prefix) <= ip.max_prefixlen:
        message = f"an external subnet must be a /{_MIN_PREFIX[ip.version]} or smaller, not {text[:64]!r}"
        raise HostError("invalid", message)
    network = ipaddress.ip_network(f"{ip}/{prefix}", strict=False)
    special = ip.is_loopback or ip.is_multicast or ip.is_link_local or ip.is_unspecified
    if special or network.network_address.is_global or network.broadcast_address.is_global:
        raise HostError(
            "invalid",
            f"the host takes no address in {network} for an external network: choose a private range, such as "
            "172.24.4.0/24",
        )
    return f"{ip}/{prefix}"


def _check_free(ip: IPRoute, addresses: set[str], name: str) -> None:
    """No other link of this host leads to these ranges."""
    for wanted in addresses:
        network = ipaddress.ip_network(wanted, strict=False)
        other = in_use(ip, network, name)
        if other is not None:
            message = f"{network} is in use on this host ({other}): give the external network another range"
            raise HostError("conflict", message)


def in_use(ip: IPRoute, network: ipaddress.IPv4Network | ipaddress.IPv6Network, but_link: str = "") -> str | None:
    """The route of this host, other than a default or a blackhole, that overlaps with the network; None when free."""
    names = {link.index: link.name for link in links.list_links(ip).values()}
    for message in ip.get_routes(family=2 if network.version == 4 else 10, table=254):
        if not message["dst_len"] or message["type"] != 1:
            continue
        there = ipaddress.ip_network(f"{message.get_attr('RTA_DST')}/{message['dst_len']}")
        link = names.get(message.get_attr("RTA_OIF") or 0, "?")
        if there.version == network.version and there.overlaps(network) and link != but_link:
            return f"{there} on {link}"
    return None


def _loaded(cloud: str) -> str | None:
    """The digest of the host's table of ours, or None.  Asked in one step: it may go between two."""
    shown = processes.run_tool([binaries.find("nft"), "-t", "list", "ruleset", "inet"], "reading the host's rules")
    _, found, ours = shown.partition(f"table inet {cloud} {{\n")
    return comment_of(ours.partition("\n}")[0]) if found else None


def _load(cloud: str, rules: str) -> None:
    if _loaded(cloud) != comment_of(rules):
        processes.run_tool([binaries.find("nft"), "-f", "-"], "loading the host's rules", input_text=rules)


# ---- the switch for IPv4 forwarding

def _will_be_ours(cloud: str) -> bool:
    """Whether forwarding is on because of clouds, or is about to be."""
    with _switched() as switched:
        return (bool(switched.clouds) and switched.before == "0") or _read() == "0"


def _switch_on(cloud: str) -> None:
    with _switched() as switched:
        if cloud not in switched.clouds:
            if not switched.clouds:
                switched.before = _read()
            switched.clouds.append(cloud)
        links.write_sysctl(_FORWARD, "1")


def _switch_off(cloud: str) -> None:
    with _switched() as switched:
        if cloud not in switched.clouds:
            return
        switched.clouds.remove(cloud)
        if not switched.clouds and switched.before == "0":
            links.write_sysctl(_FORWARD, "0")


def _read() -> str:
    return (Path("/proc/sys") / _FORWARD).read_text().strip()


def switch_file() -> Path:
    """Where clouds note it: in /run, which a reboot empties, as it resets the switch; one for each namespace that
    is taken for the host, which a test may make."""
    return Path("/run") / f"cloudseed-forwarding-{os.stat('/proc/thread-self/ns/net').st_ino}.json"


@contextmanager
def _switched() -> Iterator[_Switched]:
    """The note, locked; written back when it changed, removed when nobody needs it."""
    path = switch_file()
    descriptor = os.open("/run", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            switched = msgspec.json.decode(path.read_bytes(), type=_Switched)
        except (OSError, msgspec.DecodeError):
            switched = _Switched("0", [])
        before: Mapping[str, object] = msgspec.to_builtins(switched)
        yield switched
        if not switched.clouds:
            path.unlink(missing_ok=True)
        elif msgspec.to_builtins(switched) != before:
            processes.replace_file(path, msgspec.json.encode(switched))
    finally:
        os.close(descriptor)
