"""This host has the namespaces, taps and DHCP servers that neutron wishes for it, and no others.

Names are computed as the host process does (`host/paths.py`), which the ledger must not import: it would then
agree with a mistake there.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Item, Picture, Violation, held, host_rule

SEE_AGENT = "see the end of the host process's log; neutron's agent mends it within 10 s by itself"


def _suffix(network_id: str) -> str:
    return f"-net-{network_id.replace('-', '')[:12]}"


def _tap(port_id: str) -> str:
    return f"tap{port_id[:11]}"


class _Wired:
    """What neutron wishes wired on this host."""

    def __init__(self, picture: Picture, host: Item) -> None:
        wishes = [wish for wish in held(picture, "neutron", "wishes") or [] if wish["host"] == host["name"]]
        self.networks = sorted({network for wish in wishes for network in wish["networks"]})
        here = {port_id for wish in wishes for port_id in wish["ports"]}
        self.ports = {port["id"]: port["network_id"] for port in held(picture, "neutron", "ports") or []
                      if port["id"] in here}
        with_dhcp = {subnet["network_id"] for subnet in held(picture, "neutron", "subnets") or []
                     if subnet["enable_dhcp"]}
        served = {network for wish in wishes for network in wish["dhcp"]}
        self.dhcp = [network for network in self.networks if network in with_dhcp & served]
        self.tunnels = {network: number for wish in wishes for network, number in wish["tunnels"].items()}


def _look(picture: Picture) -> tuple[Item, _Wired] | None:
    host = picture.get("host")
    if not isinstance(host, dict) or not host.get("wires_networks") or "namespaces" not in host:
        return None
    if held(picture, "neutron", "wishes") is None:
        return None
    return host, _Wired(picture, host)


@host_rule
def networks_are_wired(picture: Picture) -> Iterator[Violation]:
    """Every network with a port here has its namespace, every port its tap, every network with DHCP its dnsmasq."""
    found = _look(picture)
    if found is None:
        return
    host, wish = found
    names = {network: next((n for n in host["namespaces"] if n.endswith(_suffix(network))), None)
             for network in wish.networks}
    for network, name in names.items():
        if name is None:
            yield Violation("namespace-missing", network, "network has ports here but no namespace", SEE_AGENT)
    for port_id, network in sorted(wish.ports.items()):
        name = names.get(network)
        if name is not None and _tap(port_id) not in host["taps"].get(name, []):
            yield Violation("tap-missing", port_id, f"port is bound here but {name} has no {_tap(port_id)}", SEE_AGENT)
    for network in wish.dhcp:
        if network not in host["dnsmasq_pids"]:
            yield Violation("dnsmasq-missing", network, "network has DHCP subnets and ports here but no dnsmasq runs",
                            SEE_AGENT)


@host_rule
def wiring_has_an_owner(picture: Picture) -> Iterator[Violation]:
    """No namespace, tap or dnsmasq that no wish explains."""
    found = _look(picture)
    if found is None:
        return
    host, wish = found
    wanted = [_suffix(network) for network in wish.networks]
    taps = {_tap(port_id) for port_id in wish.ports}
    for name in host["namespaces"]:
        if not any(name.endswith(suffix) for suffix in wanted):
            yield Violation("namespace-leaked", name, "no port of its network is bound to this host",
                            f"{SEE_AGENT}; by hand: ip netns delete {name}")
            continue
        for tap in host["taps"].get(name, []):
            if tap not in taps:
                yield Violation("tap-leaked", tap, f"no port explains it in {name}",
                                f"{SEE_AGENT}; by hand: ip netns exec {name} ip link delete {tap}")
    for network, pid in sorted(host["dnsmasq_pids"].items()):
        if network not in wish.dhcp:
            yield Violation("dnsmasq-leaked", network, f"dnsmasq {pid} serves a network without ports here",
                            f"{SEE_AGENT}; by hand: kill {pid}")


@host_rule
def tunnels_are_those_of_neutron(picture: Picture) -> Iterator[Violation]:
    """A network that hosts share has its tunnel here, with its segment's id; no other has one."""
    found = _look(picture)
    if found is None:
        return
    host, wish = found
    tunnels = host.get("tunnels", {})
    wanted = {name: wish.tunnels[network] for network in wish.tunnels for name in host["namespaces"]
              if name.endswith(_suffix(network))}
    for name in sorted(wanted.keys() | tunnels.keys()):
        if tunnels.get(name) == wanted.get(name):
            continue
        if name not in tunnels:
            yield Violation("tunnel-missing", name, f"its network is segment {wanted[name]} for all hosts but has no "
                            "link to others", SEE_AGENT)
        elif name not in wanted:
            yield Violation("tunnel-leaked", name, f"a link to other hosts (segment {tunnels[name]}) that neutron does "
                            "not wish", f"{SEE_AGENT}; by hand: ip netns exec {name} ip link delete vxlan")
        else:
            yield Violation("tunnel-wrong", name, f"its link has segment {tunnels[name]}, the network {wanted[name]}",
                            SEE_AGENT)
    if host.get("underlay_rules") and not wish.tunnels:
        yield Violation("underlay-rules-leaked", host["name"], "the host has rules for tunnels without any",
                        f"{SEE_AGENT}; by hand: nft delete table inet <the cloud's name>-underlay")
