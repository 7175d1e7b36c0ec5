"""The firewall of one network, as text for nft: a pure function of the network's wish.

    tap A ──▶ bridge prerouting        who is it?  MAC, ARP and IP source must be its own, no DHCP
              (priority -300)          server, no router advertisements; sets mark := A's egress rules
          ──▶ inet prerouting          may A send it?  (br_netfilter brings bridged packets here,
              (priority -150)          where connections are known)
          ──▶ bridge forward           to whom?  sets mark := B's ingress rules; an unknown tap gets nothing
              (priority -200)
          ──▶ inet forward             may B receive it?
          ──▶ tap B                    or inet input, when it goes to the bridge itself: DHCP, DNS, metadata

The bridge family has no connection tracking and the inet family does not see taps; the mark joins the two.
A mark is derived from the content of a list of rules, so ports with equal rules share a chain, and a packet
that is under way while the rules are replaced cannot meet another port's rules under its mark.  Each network
has its own namespace, hence its own connection table: tenants with equal addresses do not meet.

What is always allowed is what neutron allows: replies (but not with stateless groups), the DHCP client, neighbour
discovery.  Everything is replaced in one transaction, so there is no moment without rules.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence

from cloudseed.host import shaping
from cloudseed.host.errors import HostError
from cloudseed.host.paths import check_cidr, check_mac, leg_name, tap_name
from cloudseed.host.records import NetworkWish, PortWish, RuleWish

# neutron's names of protocols (its API reference), as IANA numbers them
_PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "icmpv6": 58, "igmp": 2, "ipip": 4,
    "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
    "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
_WITH_PORTS = frozenset({6, 17, 33, 132, 136})
_ICMP, _ICMPV6 = 1, 58
TUNNEL = "vxlan"  # the link to other hosts (overlay.py)
_MANY = "01:00:00:00:00:00"  # the bit that multicast and broadcast have
ICMP_PROTOCOLS = frozenset({_ICMP, _ICMPV6})

# ICMPv6 that a link cannot do without: listener queries and reports, neighbour discovery, router solicitation
_ND_OUT = "{ 130, 131, 132, 133, 135, 136, 143 }"
_ND_IN = "{ 130, 131, 132, 134, 135, 136, 143 }"


def ruleset(cloud: str, wish: NetworkWish) -> str:
    """The whole firewall of the network, as one nft transaction that replaces the tables named `cloud`.

    The tables carry its digest as a comment, by which `networks.py` sees whether the kernel has it already.
    Raises HostError `invalid` for a rule or an address that makes no sense.
    """
    ports = sorted((p for p in wish.ports if p.local and p.admin_state_up), key=lambda p: p.port_id)
    body = _tables(cloud, ports, trusted_links(wish), _tunnel_chains(wish))
    comment = f'comment "{digest(body)}"'
    body = body.replace("@COMMENT@", comment)
    # "add" makes the deletion succeed the first time too
    reset = "".join(f"add table {f} {cloud}\ndelete table {f} {cloud}\n" for f in ("bridge", "inet"))
    return reset + body


def trusted_links(wish: NetworkWish) -> list[str]:
    """Links on the bridge that are our own ends of something: routers' legs, the host's in an external network, and
    the tunnel, whose frames were checked on the host that they come from."""
    return [
        *sorted(leg_name(leg) for leg in wish.legs),
        *(["host"] if wish.external else []),
        *([TUNNEL] if wish.segmentation_id is not None else []),
    ]


def digest(text: str) -> str:
    """A short digest of a ruleset."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def comment_of(rules: str) -> str:
    """The digest that a ruleset carries."""
    return rules.partition('comment "')[2].partition('"')[0]


def _tunnel_chains(wish: NetworkWish) -> list[str]:
    """What may leave for other hosts: no DHCP, no broadcast; multicast of guests if another host has a router, of
    our routers only advertisements."""
    if wish.segmentation_id is None:
        return []
    legs = _set(f'"{leg_name(leg)}"' for leg in sorted(wish.legs))
    from_legs = [f"    ether daddr & {_MANY} == {_MANY} iifname {legs} icmpv6 type nd-router-advert accept",
                 f"    ether daddr & {_MANY} == {_MANY} iifname {legs} drop"] if wish.legs else []
    routed = any(remote.router for remote in wish.remotes)
    return [
        "  chain to-hosts {",
        "    ether daddr ff:ff:ff:ff:ff:ff drop",
        "    ether type ip udp dport { 67, 68 } drop",
        "    ether type ip6 udp dport { 546, 547 } drop",
        *from_legs,
        *([] if routed else [f"    ether daddr & {_MANY} == {_MANY} drop"]),
        "  }",
        # what the bridge itself says is for this host's guests
        "  chain output {",
        "    type filter hook output priority 0; policy accept;",
        f'    oifname "{TUNNEL}" ether daddr & {_MANY} == {_MANY} drop',
        f'    oifname "{TUNNEL}" jump to-hosts',
        "  }",
    ]


def _tables(cloud: str, ports: Sequence[PortWish], trusted: Sequence[str], tunnel: Sequence[str]) -> str:
    sets = _AddressSets()
    secured = [port for port in ports if port.port_security_enabled]
    chains: dict[str, list[str]] = {}
    marks: dict[str, dict[int, str]] = {"egress": {}, "ingress": {}}
    egress_mark: dict[str, int] = {}
    ingress_mark: dict[str, int] = {}
    for port in secured:
        for direction, of_port in (("egress", egress_mark), ("ingress", ingress_mark)):
            lines = sorted({_rule(rule, sets) for rule in port.rules if rule.direction == direction})
            if port.stateful:
                lines = ["ct state established,related accept", "ct state invalid drop", *lines]
            mark = _mark(direction, lines)
            chain = f"{direction}-{mark:08x}"
            chains[chain] = lines
            marks[direction][mark] = chain
            of_port[port.port_id] = mark

    limits, sent, received = shaping.chains(ports)
    out = [f"table bridge {cloud} {{", "  @COMMENT@", *limits, *tunnel]
    for port in secured:
        out += _source_chain(port, egress_mark[port.port_id])
    verdicts = [
        f'"{tap_name(p.port_id)}" : {_source_verdict(p)}' for p in ports
    ]  # a tap that is not named here falls to the policy
    verdicts += [f'"{name}" : accept' for name in trusted]
    out += ["  chain prerouting {", "    type filter hook prerouting priority -300; policy drop;"]
    if sent:
        out.append(f"    iifname vmap {{ {', '.join(sent)} }}")
    if verdicts:
        out.append(f"    iifname vmap {{ {', '.join(verdicts)} }}")
    out += ["  }", "  chain forward {", "    type filter hook forward priority -200; policy drop;"]
    if tunnel:
        out.append(f'    oifname "{TUNNEL}" jump to-hosts')
    if verdicts:
        targets = [f'"{tap_name(p.port_id)}" : {ingress_mark.get(p.port_id, 0):#010x}' for p in ports]
        targets += [f'"{name}" : {0:#010x}' for name in trusted]
        names = ", ".join(f'"{name}"' for name in (*(tap_name(p.port_id) for p in ports), *trusted))
        out.append(f"    meta mark set oifname map {{ {', '.join(targets)} }}")
        out.append(f"    oifname {{ {names} }} accept")
    if received:
        out += ["  }", "  chain postrouting {", "    type filter hook postrouting priority 0; policy accept;"]
        out.append(f"    oifname vmap {{ {', '.join(received)} }}")
    out += ["  }", "}", f"table inet {cloud} {{", "  @COMMENT@"]
    out += sets.lines()
    for chain, lines in sorted(chains.items()):
        out += _rules_chain(chain, lines)
    for chain, hook, priority, direction in (
        ("prerouting", "prerouting", "-150", "egress"),
        ("forward", "forward", "0", "ingress"),
    ):
        out += [f"  chain {chain} {{", f"    type filter hook {hook} priority {priority}; policy accept;"]
        if marks[direction]:
            jumps = ", ".join(f"{mark:#010x} : goto {name}" for mark, name in sorted(marks[direction].items()))
            out.append(f"    meta mark vmap {{ {jumps} }}")
        out.append("  }")
    out += [
        "  chain input {",
        "    type filter hook input priority 0; policy drop;",
        '    iifname "lo" accept',
        "    ct state established,related accept",
        "    udp dport { 53, 67, 547 } accept",
        "    tcp dport { 53, 80 } accept",
        "    icmp type echo-request accept",
        f"    icmpv6 type {_ND_IN} accept",
        "    icmpv6 type echo-request accept",
        "  }",
        "}",
        "",
    ]
    return "\n".join(out)


def _source_verdict(port: PortWish) -> str:
    return f"jump from-{tap_name(port.port_id)}" if port.port_security_enabled else "accept"


def _source_chain(port: PortWish, mark: int) -> list[str]:
    """Nothing leaves a port under another's MAC or address, or in the DHCP server's or router's role."""
    v4, v6 = _sources(port)
    macs = sorted({mac for mac, _ in (*v4, *v6)} | {port.mac_address})
    out = [
        f"  chain from-{tap_name(port.port_id)} {{",
        f"    ether saddr != {_set(macs)} drop",
        # other protocols, VLAN tags among them, would pass the inet family unseen
        "    ether type != { arp, ip, ip6 } drop",
        f"    meta mark set {mark:#010x}",
        f"    ether type arp arp saddr ether != {_set(macs)} drop",
        # 0.0.0.0 is the sender of a probe for a free address (RFC 5227); it enters no cache
        "    ether type arp arp saddr ip 0.0.0.0 accept",
    ]
    for mac, addresses in _by_mac(v4):
        out.append(f"    ether type arp arp saddr ether {mac} arp saddr ip {_set(addresses)} accept")
    out += [
        "    ether type arp drop",
        "    ether type ip ip saddr 0.0.0.0 ip protocol udp udp sport 68 udp dport 67 accept",
        "    ether type ip ip protocol udp udp sport 67 udp dport 68 drop",
        "    ether type ip6 meta l4proto udp udp sport 547 udp dport 546 drop",
        "    ether type ip6 icmpv6 type nd-router-advert drop",
    ]
    for mac, addresses in _by_mac(v4):
        out.append(f"    ether saddr {mac} ip saddr {_set(addresses)} accept")
    targets = _set(addresses6) if (addresses6 := sorted({a for _, a in v6})) else ""
    if targets:
        # the address that a neighbour advertisement claims lies 8 bytes into ICMPv6 (RFC 4861, 4.4)
        hosts = _set(f"{int(ipaddress.ip_network(a).network_address):#034x}" for a in addresses6 if _is_host(a))
        if all(_is_host(a) for a in addresses6):
            out.append(f"    icmpv6 type nd-neighbor-advert @th,64,128 != {hosts} drop")
        # a solicitation for one's own address, and listener reports, come from nowhere (RFC 4862, RFC 3810)
        out.append("    ip6 saddr :: icmpv6 type { 131, 132, 135, 143 } accept")
    for mac, addresses in _by_mac(v6):
        out.append(f"    ether saddr {mac} ip6 saddr {_set(addresses)} accept")
    out += ["    drop", "  }"]
    return out


def _rules_chain(name: str, lines: Sequence[str]) -> list[str]:
    out = [f"  chain {name} {{"]
    if name.startswith("egress"):
        out += [
            "    meta nfproto ipv4 udp sport 68 udp dport 67 accept",
            "    meta nfproto ipv6 udp sport 546 udp dport 547 accept",
            f"    icmpv6 type {_ND_OUT} accept",
        ]
    else:
        out += [
            "    meta nfproto ipv4 udp sport 67 udp dport 68 accept",
            "    meta nfproto ipv6 udp sport 547 udp dport 546 accept",
            f"    icmpv6 type {_ND_IN} accept",
        ]
    return [*out, *(f"    {line}" for line in lines), "    drop", "  }"]


def _rule(rule: RuleWish, sets: _AddressSets) -> str:
    """One security group rule as an nft rule; a rule that can match nothing becomes a comment."""
    version = 4 if rule.ethertype == "IPv4" else 6
    parts = [f"meta nfproto ipv{version}"]
    if rule.remote_cidrs is not None:
        addresses = [
            cidr
            for cidr in (check_cidr(c, "a rule's remote") for c in rule.remote_cidrs)
            if ipaddress.ip_network(cidr).version == version
        ]
        if not addresses:
            return "# a remote group without members"
        if not any(ipaddress.ip_network(a).prefixlen == 0 for a in addresses):
            side = "saddr" if rule.direction == "ingress" else "daddr"
            parts.append(f"ip{'' if version == 4 else '6'} {side} @{sets.name(version, addresses)}")
    number = protocol_number(rule)
    low, high = rule.port_range_min, rule.port_range_max
    for value in (low, high):
        if value is not None and not 0 <= value <= 65535:
            raise HostError("invalid", f"a rule's port or ICMP type must be 0 to 65535, not {value}")
    if number is not None:
        parts.append(f"meta l4proto {number}")
    if number in _WITH_PORTS and (low is not None or high is not None):
        first, last = low if low is not None else 0, high if high is not None else 65535
        if first > last:
            raise HostError("invalid", f"a rule's first port {first} is above its last port {last}")
        parts.append(f"th dport {first}" if first == last else f"th dport {first}-{last}")
    elif number in ICMP_PROTOCOLS and low is not None:
        name = "icmp" if number == _ICMP else "icmpv6"
        if max(low, high or 0) > 255:
            raise HostError("invalid", f"a rule's ICMP type and code must be 0 to 255, not {low} and {high}")
        parts.append(f"{name} type {low}" + (f" {name} code {high}" if high is not None else ""))
    return " ".join([*parts, "accept"])


def protocol_number(rule: RuleWish) -> int | None:
    """IANA's number of the rule's protocol, or None for any; `invalid` for a name that neutron does not know."""
    name = (rule.protocol or "any").lower()
    if name in ("any", ""):
        return None
    number = int(name) if name.isdecimal() else _PROTOCOLS.get(name)
    if number is None or not 0 <= number <= 255:
        raise HostError("invalid", f"unknown protocol {name[:32]!r} in a rule")
    if number == 0:
        return None
    if number == _ICMP and rule.ethertype == "IPv6":
        return _ICMPV6  # neutron takes icmp for either version
    return number


def _sources(port: PortWish) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The (MAC, CIDR) pairs that the port may send from, by version; IPv6 with its link-local addresses."""
    own = check_mac(port.mac_address, f"the MAC address of port {port.port_id}")
    pairs = [(own, fixed.ip_address) for fixed in port.fixed_ips]
    for pair in port.allowed_address_pairs:
        mac = check_mac((pair.mac_address or own).lower(), f"an allowed address pair of port {port.port_id}")
        pairs.append((mac, pair.ip_address))
    v4: set[tuple[str, str]] = set()
    v6: set[tuple[str, str]] = set()
    for mac, address in pairs:
        cidr = check_cidr(address, f"an address of port {port.port_id}")
        if ipaddress.ip_network(cidr).version == 4:
            v4.add((mac, cidr))
        else:
            v6.add((mac, cidr))
            v6.add((mac, f"{link_local(mac)}/128"))
    return sorted(v4), sorted(v6)


def link_local(mac: str) -> str:
    """The address that a guest makes of its MAC (RFC 4291, appendix A)."""
    b = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([b[0] ^ 2, b[1], b[2], 0xFF, 0xFE, b[3], b[4], b[5]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface))


def _by_mac(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for mac, address in pairs:
        grouped.setdefault(mac, []).append(address)
    return [(mac, _collapse(addresses)) for mac, addresses in grouped.items()]


def _collapse(addresses: Iterable[str]) -> list[str]:
    """The same addresses without overlaps, which nft's interval sets do not take."""
    networks = [ipaddress.ip_network(a) for a in addresses]
    v4 = [n for n in networks if isinstance(n, ipaddress.IPv4Network)]
    v6 = [n for n in networks if isinstance(n, ipaddress.IPv6Network)]
    return [str(n) for n in (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))]


def _is_host(cidr: str) -> bool:
    network = ipaddress.ip_network(cidr)
    return network.num_addresses == 1


def _set(items: Iterable[str]) -> str:
    return f"{{ {', '.join(items)} }}"


def _mark(direction: str, lines: Sequence[str]) -> int:
    """A mark above zero from the content: 31 bits, so that two of a network's few lists do not share one."""
    text = direction + "\n".join(lines)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1 | 1


class _AddressSets:
    """Lists of remote addresses, each written once however many rules use it."""

    def __init__(self) -> None:
        self._sets: dict[str, tuple[int, list[str]]] = {}

    def name(self, version: int, addresses: Iterable[str]) -> str:
        collapsed = _collapse(addresses)
        name = f"v{version}-{digest(','.join(collapsed))[:12]}"
        self._sets[name] = (version, collapsed)
        return name

    def lines(self) -> list[str]:
        return [
            f"  set {name} {{ type ipv{version}_addr; flags interval; elements = {_set(addresses)}; }}"
            for name, (version, addresses) in sorted(self._sets.items())
        ]
