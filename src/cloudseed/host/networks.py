"""The whole wiring of this host: `apply` takes the wish, compares with the system and mends the difference.

Order matters twice.  A port's rules are in place before its tap goes up, and rules for a tap that went away
leave after the tap.  And DHCP knows a port before `apply` returns, so a machine that starts afterwards is
answered at its first question.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host import (
    binaries,
    connections,
    dhcp,
    dhcp_files,
    external,
    firewall,
    links,
    netns,
    overlay,
    processes,
    routers,
    shaping,
    strays,
)
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import StatePaths, check_cidr, check_mac, check_uuid, namespace_name, tap_name
from cloudseed.host.records import ApplyResult, NetworkStatus, NetworkWish, PortStatus, RouterWish
from cloudseed.host.surroundings import Surroundings

_ALONE = Surroundings()


def apply(
    cloud: str,
    paths: StatePaths,
    wishes: Sequence[NetworkWish],
    full: bool,
    router_wishes: Sequence[RouterWish] = (),
    around: Surroundings = _ALONE,
) -> ApplyResult:
    """Make the networks and routers so; one that fails does not keep the others from being applied.

    With `full`, namespaces of ours and directories that no wish names are removed, routers first: one that another
    host has now passes nothing here any more when this host's networks join those of others.
    """
    wishes = [overlay.within(wish, around) for wish in wishes]
    if full:
        routers.remove_others(cloud, paths, {wish.router_id for wish in router_wishes})
        overlay.admit(cloud, wishes, around)
    ports: list[PortStatus] = []
    networks: list[NetworkStatus] = []
    for wish in wishes:
        check_uuid(wish.network_id, "network_id")
        local = [port for port in wish.ports if port.local]
        try:
            changed = _apply_one(cloud, paths, wish, around)
        except HostError as exc:
            networks.append(NetworkStatus(network_id=wish.network_id, changed=True, error=exc.message))
            ports += [PortStatus(port_id=p.port_id, up=False, reason=exc.message) for p in local]
            continue
        networks.append(NetworkStatus(network_id=wish.network_id, changed=changed))
        ports += [
            PortStatus(port_id=p.port_id, up=True)
            if p.admin_state_up
            else PortStatus(port_id=p.port_id, up=False, reason="the port is administratively down")
            for p in local
        ]
    removed = []
    if full:
        outside = [wish for wish in wishes if wish.external]
        external.forward(cloud, [] if around.provider_interface else outside, around.nat)
        external.remove_others(cloud, {wish.network_id for wish in outside})
        if around.provider_interface and not outside:
            external.leave_segment(cloud)
    failed = {status.network_id: status.error for status in networks if status.error}
    found = routers.apply(cloud, paths, router_wishes, failed)
    if full:
        removed = remove_others(cloud, paths, {w.network_id for w in wishes})
    return ApplyResult(ports=ports, networks=networks, routers=found, removed_namespaces=removed)


def remove_others(cloud: str, paths: StatePaths, keep: set[str]) -> list[str]:
    """Remove every network of ours but these; returns the names of the namespaces that went."""
    kept = {namespace_name(cloud, network_id) for network_id in keep}
    if paths.dhcp.is_dir():
        for directory in sorted(paths.dhcp.iterdir()):
            if directory.name not in keep:
                dhcp.stop(directory)
                shutil.rmtree(directory, ignore_errors=True)
    removed = [name for name in netns.names(f"{cloud}-net-") if name not in kept]
    for pid, _ in strays.in_namespaces(removed):
        strays.end(pid)
    for name in removed:
        try:
            netns.run(name, _remove_links)
        except HostError as exc:
            if exc.code != "not_found":
                raise
        netns.remove(name)
    return removed


def taps(namespace: str) -> list[str]:
    """The taps in a namespace of ours."""

    def look() -> list[str]:
        with IPRoute() as ip:
            return sorted(name for name in links.list_links(ip) if name.startswith("tap"))

    return netns.run(namespace, look)


def _apply_one(cloud: str, paths: StatePaths, wish: NetworkWish, around: Surroundings) -> bool:
    _check(wish)
    rules = firewall.ruleset(cloud, wish)
    namespace = namespace_name(cloud, wish.network_id)
    directory = paths.network(wish.network_id)
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory.chmod(0o755)
        changed = netns.create(namespace)
        changed |= netns.run(namespace, lambda: _wire(cloud, wish, rules))
        changed |= external.apply(cloud, wish, around.provider_interface)
        changed |= overlay.apply(cloud, wish, around)
        return dhcp.sync(namespace, directory, wish) or changed
    except OSError as exc:
        raise from_os_error(exc, f"wiring network {wish.network_id}") from exc
    except NetlinkError as exc:
        message = f"the kernel refused a link of network {wish.network_id}: {exc}"
        raise HostError("failed", message) from exc


def _check(wish: NetworkWish) -> None:
    if not 68 <= wish.mtu <= 65521:
        raise HostError("invalid", f"the MTU of network {wish.network_id} must be 68 to 65521, not {wish.mtu}")
    overlay.check(wish)
    for subnet in wish.subnets:
        check_cidr(subnet.cidr, f"the CIDR of subnet {subnet.subnet_id}")
    if wish.dhcp_port is not None:
        check_mac(wish.dhcp_port.mac_address, f"the MAC address of network {wish.network_id}'s DHCP port")
    names: dict[str, str] = {}
    for leg in wish.legs:
        check_uuid(leg, "port_id")
    for port in wish.ports:
        check_uuid(port.port_id, "port_id")
        check_mac(port.mac_address, f"the MAC address of port {port.port_id}")
        shaping.check(port)
        other = names.setdefault(tap_name(port.port_id), port.port_id)
        if other != port.port_id:
            raise HostError("invalid", f"ports {other} and {port.port_id} would share a tap's name")


def _wire(cloud: str, wish: NetworkWish, rules: str) -> bool:
    """Links and rules, from within the namespace."""
    changed = False
    local = {tap_name(port.port_id): port for port in wish.ports if port.local}
    mac = wish.dhcp_port.mac_address if wish.dhcp_port else _bridge_mac(wish.network_id)
    with IPRoute() as ip:
        links.harden_namespace(ip)
        changed |= links.sync_bridge(ip, wish.mtu, mac, _own_addresses(wish))
        present = links.list_links(ip)
        kept = {*local, *firewall.trusted_links(wish), *shaping.link_names(list(local.values()))}
        for name, link in present.items():
            ours = ("tap", "leg", shaping.PREFIX, external.HOST_LINK, firewall.TUNNEL)
            if name.startswith(ours) and name not in kept:
                links.remove_link(ip, link)
                changed = True
        for name in local:
            if name not in present:
                links.create_tap(name)
                changed = True
        changed |= _load_rules(cloud, rules)
        connections.judge(wish.network_id, rules, lambda: connections.end_unpermitted(wish))
        changed |= shaping.sync(ip, local, wish.mtu)
        present = links.list_links(ip)
        for name, port in local.items():
            changed |= links.plug(ip, present[name], present[links.BRIDGE], wish.mtu, port.admin_state_up)
    return changed


def _bridge_mac(network_id: str) -> str:
    """A bridge's own MAC, locally administered.  Left to itself it would take one of its links', another one whenever
    links come and go, and with each the kernel forgets all neighbours, permanent ones too."""
    return "02:" + hashlib.sha256(network_id.encode()).digest()[:5].hex(":")


def _own_addresses(wish: NetworkWish) -> set[str]:
    """The addresses of the network's own end, with the metadata service's of IPv6."""
    found = dhcp_files.addresses(wish)
    return found | {f"{dhcp_files.METADATA_IP6}/64"} if found and links.has_ipv6() else found


def _load_rules(cloud: str, rules: str) -> bool:
    nft = binaries.find("nft")
    tables = processes.run_tool([nft, "-t", "list", "ruleset"], "reading the firewall")
    if tables.count(f'comment "{firewall.comment_of(rules)}"') == 2:
        return False
    processes.run_tool([nft, "-f", "-"], "loading the firewall", input_text=rules)
    return True


def _remove_links() -> None:
    """The taps too: a machine that still runs would keep them, and with them the namespace, alive."""
    with IPRoute() as ip:
        for name, link in links.list_links(ip).items():
            ours = ("tap", "leg", shaping.PREFIX, external.HOST_LINK, firewall.TUNNEL, links.BRIDGE)
            if name.startswith(ours):
                links.remove_link(ip, link)
