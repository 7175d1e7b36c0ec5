"""DHCP and DNS of one network: a dnsmasq in the network's namespace.

Ports have static addresses only; a machine whose MAC is unknown gets no answer.  The files that dnsmasq
reads again on SIGHUP (`hosts`, `options`, `names`) change without a gap in service.  It is started again only
when its arguments change, when it died, or when an address went to another MAC: dnsmasq remembers who leased
what and would refuse the new owner until the old lease ends, and a fresh one has no memory.

It keeps no lease file: with static addresses a lease says nothing that `hosts` does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import pwd
import re
import signal
from pathlib import Path

import msgspec

from cloudseed.host import binaries, netns, processes, strays
from cloudseed.host.errors import HostError
from cloudseed.host.links import BRIDGE
from cloudseed.host.paths import check_ip, check_mac
from cloudseed.host.records import NetworkWish, SubnetWish

METADATA_IP = "169.254.169.254"
METADATA_IP6 = "fe80::a9fe:a9fe"
_SEEN_AT = netns.DIRECTORY  # where dnsmasq sees its directory, in a mount namespace of its own
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,253}\Z")


class _Started(msgspec.Struct, frozen=True):
    """What the running dnsmasq was started with, and which MAC each address had since."""

    process: processes.ProcessRecord
    arguments: list[str]
    addresses: dict[str, str]


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
        if fixed.subnet_id in prefixes and ":" not in fixed.ip_address
    }
    return found | {f"{METADATA_IP}/32"} if found else found


def hosts_file(wish: NetworkWish) -> str:
    """dnsmasq's --dhcp-hostsfile: a line for each port and IPv4 subnet with DHCP.

    No line sets a tag: dnsmasq 2.90 would die at the first SIGHUP after such a host's lease.  It tags hosts that
    are listed as `known` by itself.
    """
    served = {s.subnet_id for s in _served(wish)}
    lines = []
    for port in wish.ports:
        mac = check_mac(port.mac_address, f"the MAC address of port {port.port_id}")
        for fixed in port.fixed_ips:
            if fixed.subnet_id in served and ":" not in fixed.ip_address:
                ip = check_ip(fixed.ip_address, f"an address of port {port.port_id}")
                lines.append(f"{mac},{_hostname(port.hostname, ip)},{ip}")
    return "".join(f"{line}\n" for line in sorted(lines))


def options_file(wish: NetworkWish) -> str:
    """dnsmasq's --dhcp-optsfile: router, DNS, routes and MTU of each subnet."""
    lines = []
    for subnet in _served(wish):
        tag = f"tag:{_tag(subnet)}"
        server = _server_ip(wish, subnet)
        gateway = check_ip(subnet.gateway_ip, "a gateway") if subnet.gateway_ip else None
        lines.append(f"{tag},option:router,{gateway}" if gateway else f"{tag},option:router")
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
        lines.append(f"{tag},option:mtu,{wish.mtu}")
    return "".join(f"{line}\n" for line in lines)


def names_file(wish: NetworkWish) -> str:
    """dnsmasq's --addn-hosts: the names of the network's ports."""
    lines = set()
    for port in wish.ports:
        for fixed in port.fixed_ips:
            ip = check_ip(fixed.ip_address, f"an address of port {port.port_id}")
            name = _hostname(port.hostname, ip)
            lines.add(f"{ip} {name}.{_domain(wish)} {name}")
    return "".join(f"{line}\n" for line in sorted(lines))


def arguments(wish: NetworkWish, directory: Path) -> list[str]:
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
        "--log-facility=-",
        f"--user={_user()}",
        f"--domain={_domain(wish)}",
        f"--local=/{_domain(wish)}/",
        f"--dhcp-hostsfile={directory}/hosts",
        f"--dhcp-optsfile={directory}/options",
        f"--addn-hosts={directory}/names",
    ]
    for subnet in _served(wish):
        network = ipaddress.ip_network(subnet.cidr, strict=False)
        lease = max(120, wish.dhcp_lease_s)
        argv.append(f"--dhcp-range=set:{_tag(subnet)},{network.network_address},static,{network.netmask},{lease}s")
    # dnsmasq binds to the addresses that the bridge has when it starts
    return [*argv, *(f"--listen-address={a.partition('/')[0]}" for a in sorted(addresses(wish)))]


def sync(namespace: str, directory: Path, wish: NetworkWish) -> bool:
    """Make dnsmasq serve the wish; true when something changed.  Call it from outside the namespace."""
    started = _load(directory)
    if not wanted(wish):
        if started is None:
            return False
        stop(directory)
        return True
    texts = {"hosts": hosts_file(wish), "options": options_file(wish), "names": names_file(wish)}
    changed = [name for name, text in texts.items() if _write_if_new(directory / name, text)]
    argv = [binaries.find("dnsmasq"), *arguments(wish, _SEEN_AT)]
    leases = _leases(texts["hosts"])
    if started is not None and started.process.alive and started.arguments == argv:
        known = {**started.addresses, **leases}
        if all(leases.get(ip, mac) == mac for ip, mac in started.addresses.items()):
            if changed:
                _save(directory, _Started(started.process, argv, known))
                os.kill(started.process.pid, signal.SIGHUP)
            return bool(changed)
    if started is not None:
        processes.end(started.process, grace_s=2.0)
    # one that a killed predecessor started but did not record would hold the port
    for pid, program in strays.in_namespaces([namespace]):
        if program == "dnsmasq":
            strays.end(pid)
    log = directory / "dnsmasq.log"
    log.unlink(missing_ok=True)
    record = netns.run_with_only(namespace, directory, _SEEN_AT, lambda: processes.spawn(argv, log=log, umask=0o022))
    _save(directory, _Started(record, argv, leases))
    _wait_started(record, log)
    return True


def stop(directory: Path) -> None:
    """End the network's dnsmasq and forget it."""
    started = _load(directory)
    if started is not None:
        processes.end(started.process, grace_s=2.0)
    for name in ("started.json", "hosts", "options", "names", "dnsmasq.log"):
        (directory / name).unlink(missing_ok=True)


def running(directory: Path) -> processes.ProcessRecord | None:
    """The network's dnsmasq, if it runs."""
    started = _load(directory)
    return started.process if started is not None and started.process.alive else None


def _served(wish: NetworkWish) -> list[SubnetWish]:
    return [s for s in wish.subnets if s.enable_dhcp and ipaddress.ip_network(s.cidr, strict=False).version == 4]


def _server_ip(wish: NetworkWish, subnet: SubnetWish) -> str | None:
    for fixed in wish.dhcp_port.fixed_ips if wish.dhcp_port else []:
        if fixed.subnet_id == subnet.subnet_id:
            return check_ip(fixed.ip_address, "a DHCP address")
    return None


def _tag(subnet: SubnetWish) -> str:
    return "s" + hashlib.sha256(subnet.subnet_id.encode()).hexdigest()[:10]


def _hostname(name: str | None, ip: str) -> str:
    if name and _HOSTNAME.match(name):
        return name.lower()
    return "host-" + ip.replace(".", "-").replace(":", "-")


def _domain(wish: NetworkWish) -> str:
    domain = wish.dns_domain.strip(".") or "openstacklocal"
    if not _DOMAIN.match(domain):
        raise HostError("invalid", f"the domain of network {wish.network_id} is no domain: {domain[:64]!r}")
    return domain.lower()


def check_cidr4(value: str) -> str:
    """An IPv4 CIDR, normalized."""
    try:
        return str(ipaddress.IPv4Network(value, strict=False))
    except ValueError:
        raise HostError("invalid", f"a host route must be an IPv4 CIDR, not {value[:64]!r}") from None


def _user() -> str:
    for name in ("dnsmasq", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise HostError("failed", "dnsmasq needs the user nobody, which this system has not")


def _write_if_new(path: Path, text: str) -> bool:
    data = text.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    processes.replace_file(path, data, mode=0o644)
    path.chmod(0o644)
    return True


def _leases(hosts: str) -> dict[str, str]:
    """The MAC of each address in a hosts file."""
    found = {}
    for line in hosts.splitlines():
        mac, _, ip = line.split(",")
        found[ip] = mac
    return found


def _load(directory: Path) -> _Started | None:
    try:
        return msgspec.json.decode((directory / "started.json").read_bytes(), type=_Started)
    except (OSError, msgspec.DecodeError):
        return None


def _save(directory: Path, started: _Started) -> None:
    processes.replace_file(directory / "started.json", msgspec.json.encode(started))


def _wait_started(record: processes.ProcessRecord, log: Path) -> None:
    """Give it a moment to refuse its arguments; what it wrote then is the reason."""
    descriptor = processes.open_pidfd(record)
    if descriptor is not None:
        try:
            if not processes.wait_readable(descriptor, 0.03):
                return
        finally:
            os.close(descriptor)
    processes.reap(record.pid)
    words = log.read_text(errors="replace").strip() if log.exists() else ""
    raise HostError("failed", f"dnsmasq ended at once: {words[-400:] or 'it gave no reason'}")
