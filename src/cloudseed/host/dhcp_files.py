"""What dnsmasq is told of a network, as text: pure functions of the network's wish.

IPv4 and stateful IPv6 ports have static addresses; ports that make their IPv6 address themselves (SLAAC) are known,
so that they are told the rest.  What users write (names, options) is checked or left out: a line that dnsmasq does not
understand it logs and skips, and no value can begin a second line.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from pathlib import Path

from cloudseed.host.errors import HostError
from cloudseed.host.links import BRIDGE
from cloudseed.host.paths import check_ip, check_mac
from cloudseed.host.records import DhcpOption, NetworkWish, PortWish, SubnetWish

METADATA_IP = "169.254.169.254"
METADATA_IP6 = "fe80::a9fe:a9fe"
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,253}\Z")
_OPTION = re.compile(r"[a-z0-9-]{1,64}\Z")
_VALUE = re.compile(r"[^\x00-\x1f\x7f]{0,255}\Z")


def wanted(wish: NetworkWish) -> bool:
    """Whether the network has DHCP on this host."""
    return wish.dhcp_port is not None and any(subnet.enable_dhcp for subnet in wish.subnets)


def addresses(wish: NetworkWish) -> set[str]:
    """The addresses (`ip/prefix`) of the network's own end, the metadata service's among them."""
    if wish.dhcp_port is None:
        return set()
    prefixes = {s.subnet_id: ipaddress.ip_network(s.cidr, strict=False).prefixlen for s in wish.subnets}
    found = {
        f"{check_ip(fixed.ip_address, 'a DHCP address')}/{prefixes[fixed.subnet_id]}"
        for fixed in wish.dhcp_port.fixed_ips
        if fixed.subnet_id in prefixes
    }
    return found | {f"{METADATA_IP}/32"} if found else found


def texts(wish: NetworkWish) -> dict[str, str]:
    """The files that dnsmasq reads again on SIGHUP, by name."""
    return {"hosts": hosts_file(wish), "options": options_file(wish), "names": names_file(wish)}


def hosts_file(wish: NetworkWish) -> str:
    """dnsmasq's --dhcp-hostsfile: a line for each port and served address, and for each port that needs none.

    No line sets a tag: dnsmasq 2.90 would die at the first SIGHUP after such a host's lease.  It tags hosts that
    are listed as `known` by itself.
    """
    served = {s.subnet_id for s in _served(wish) if not _is_slaac(s)}
    informed = {s.subnet_id for s in _served(wish) if _is_slaac(s)}
    lines: list[str] = []
    for port in wish.ports:
        mac = check_mac(port.mac_address, f"the MAC address of port {port.port_id}")
        before = len(lines)
        for fixed in port.fixed_ips:
            if fixed.subnet_id in served:
                ip = check_ip(fixed.ip_address, f"an address of port {port.port_id}")
                lines.append(f"{mac},{_hostname(port.hostname, ip)},{f'[{ip}]' if ':' in ip else ip}")
        if len(lines) == before and any(fixed.subnet_id in informed for fixed in port.fixed_ips):
            lines.append(f"{mac},{_hostname(port.hostname, port.fixed_ips[0].ip_address)}")
    return "".join(f"{line}\n" for line in sorted(lines))


def leases(hosts: str) -> dict[str, str]:
    """The MAC of each address in a hosts file."""
    found = {}
    for line in hosts.splitlines():
        mac, _, ip = (*line.split(","), "")[:3]
        if ip:
            found[ip] = mac
    return found


def options_file(wish: NetworkWish) -> str:
    """dnsmasq's --dhcp-optsfile: router, DNS, routes and MTU of each subnet, and what ports are told besides."""
    lines: list[str] = []
    for subnet in _served(wish):
        lines += _options4(wish, subnet) if _version(subnet) == 4 else _options6(wish, subnet)
    for port in wish.ports:
        if port.dhcp_options:
            lines += [line for option in port.dhcp_options if (line := _own_option(port, option)) is not None]
    return "".join(f"{line}\n" for line in lines)


def _options4(wish: NetworkWish, subnet: SubnetWish) -> list[str]:
    tag = f"tag:{_tag(subnet)}"
    server = _server_ip(wish, subnet)
    gateway = check_ip(subnet.gateway_ip, "a gateway") if subnet.gateway_ip else None
    lines = [f"{tag},option:router,{gateway}" if gateway else f"{tag},option:router"]
    servers = [check_ip(ip, "a DNS server") for ip in subnet.dns_nameservers] or ([server] if server else [])
    v4 = [ip for ip in servers if ":" not in ip]
    if v4:
        lines.append(f"{tag},option:dns-server,{','.join(v4)}")
    routes = [(check_cidr4(r.destination), check_ip(r.nexthop, "a next hop")) for r in subnet.host_routes]
    if server:
        routes.append((f"{METADATA_IP}/32", server))
    if gateway:
        # a client that takes option 121 ignores the router option (RFC 3442)
        routes.append(("0.0.0.0/0", gateway))
    if routes:
        text = ",".join(f"{destination},{nexthop}" for destination, nexthop in routes)
        lines += [f"{tag},option:classless-static-route,{text}", f"{tag},249,{text}"]
    return [*lines, f"{tag},option:mtu,{wish.mtu}"]


def _options6(wish: NetworkWish, subnet: SubnetWish) -> list[str]:
    """The router itself announces the gateway and the MTU."""
    tag = f"tag:{_tag(subnet)}"
    server = _server_ip(wish, subnet)
    servers = [check_ip(ip, "a DNS server") for ip in subnet.dns_nameservers] or ([server] if server else [])
    v6 = [f"[{ip}]" for ip in servers if ":" in ip]
    lines = [f"{tag},option6:domain-search,{_domain(wish)}"]
    return [f"{tag},option6:dns-server,{','.join(v6)}", *lines] if v6 else lines


def _own_option(port: PortWish, option: DhcpOption) -> str | None:
    """A user's option; None for one that makes no line."""
    name = option.name.lower()
    if not _OPTION.match(name) or not _VALUE.match(option.value):
        return None
    prefix = "option6" if option.ip_version == 6 else "option"
    called = name if name.isdecimal() and option.ip_version == 4 else f"{prefix}:{name}"
    return f"tag:{_port_tag(port)},{called},{option.value}" if option.value else f"tag:{_port_tag(port)},{called}"


def names_file(wish: NetworkWish) -> str:
    """dnsmasq's --addn-hosts: the names of the network's ports."""
    lines = set()
    for port in wish.ports:
        for fixed in port.fixed_ips:
            ip = check_ip(fixed.ip_address, f"an address of port {port.port_id}")
            name = _hostname(port.hostname, ip)
            lines.add(f"{ip} {name}.{_domain(wish)} {name}")
    return "".join(f"{line}\n" for line in sorted(lines))


def arguments(wish: NetworkWish, directory: Path, user: str) -> list[str]:
    """dnsmasq's arguments, but for its program; `directory` is where it sees its files."""
    argv = [
        "--keep-in-foreground",
        "--conf-file=",
        "--pid-file=",
        "--no-hosts",
        "--no-resolv",
        "--leasefile-ro",
        f"--interface={BRIDGE}",
        "--except-interface=lo",
        "--bind-interfaces",
        "--dhcp-authoritative",
        "--dhcp-ignore=tag:!known",
        "--dhcp-lease-max=65536",
        "--quiet-dhcp",
        "--quiet-dhcp6",
        "--log-facility=-",
        f"--user={user}",
        f"--domain={_domain(wish)}",
        f"--local=/{_domain(wish)}/",
        f"--dhcp-hostsfile={directory}/hosts",
        f"--dhcp-optsfile={directory}/options",
        f"--addn-hosts={directory}/names",
    ]
    lease = max(120, wish.dhcp_lease_s)
    for subnet in _served(wish):
        network = ipaddress.ip_network(subnet.cidr, strict=False)
        # dnsmasq takes an IPv6 range's length, and none below 64
        size = network.netmask if network.version == 4 else max(64, network.prefixlen)
        argv.append(f"--dhcp-range=set:{_tag(subnet)},{network.network_address},static,{size},{lease}s")
    # tags of ports with options of their own; given here, since a tag in the hosts file would be dnsmasq's end
    argv += sorted(
        f"--dhcp-mac=set:{_port_tag(port)},{check_mac(port.mac_address, 'a MAC address')}"
        for port in wish.ports
        if port.dhcp_options
    )
    # dnsmasq binds to the addresses that the bridge has when it starts
    return [*argv, *(f"--listen-address={a.partition('/')[0]}" for a in sorted(addresses(wish)))]


def check_cidr4(value: str) -> str:
    """An IPv4 CIDR, normalized."""
    try:
        return str(ipaddress.IPv4Network(value, strict=False))
    except ValueError:
        raise HostError("invalid", f"a host route must be an IPv4 CIDR, not {value[:64]!r}") from None


def _version(subnet: SubnetWish) -> int:
    return ipaddress.ip_network(subnet.cidr, strict=False).version


def _is_slaac(subnet: SubnetWish) -> bool:
    return subnet.ipv6_address_mode in ("slaac", "dhcpv6-stateless")


def _served(wish: NetworkWish) -> list[SubnetWish]:
    """Subnets of which DHCP has something to say: not those where guests learn all from the router."""
    return [s for s in wish.subnets if s.enable_dhcp and s.ipv6_address_mode != "slaac"]


def _server_ip(wish: NetworkWish, subnet: SubnetWish) -> str | None:
    for fixed in wish.dhcp_port.fixed_ips if wish.dhcp_port else []:
        if fixed.subnet_id == subnet.subnet_id:
            return check_ip(fixed.ip_address, "a DHCP address")
    return None


def _tag(subnet: SubnetWish) -> str:
    return "s" + hashlib.sha256(subnet.subnet_id.encode()).hexdigest()[:10]


def _port_tag(port: PortWish) -> str:
    return "p" + hashlib.sha256(port.port_id.encode()).hexdigest()[:10]


def _hostname(name: str | None, ip: str) -> str:
    if name and _HOSTNAME.match(name):
        return name.lower()
    return "host-" + ip.replace(".", "-").replace(":", "-")


def _domain(wish: NetworkWish) -> str:
    domain = wish.dns_domain.strip(".") or "openstacklocal"
    if not _DOMAIN.match(domain):
        raise HostError("invalid", f"the domain of network {wish.network_id} is no domain: {domain[:64]!r}")
    return domain.lower()
