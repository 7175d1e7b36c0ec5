"""The network between the hosts: a namespace each, and one with two bridges that joins them.

    this machine            <name>-under              <name>-h1
    <name>-u0 (.1) -------- bridge `under` ---------- eth0 (.11)     the underlay: hosts and the controller
    <name>-x0 (gateway) --- bridge `prov`  ---------- prov0          the provider's network: floating addresses

A host has no route but to the underlay, so nothing of it reaches the world; guests do by their routers, the
provider's network and this machine, which forwards for them as it does in a cloud of one host (host/external.py),
but never into the underlay.  Everything here is safe to repeat and mends what is missing.  All of it is gone with
a reboot, and made again by the next `up`.
"""

from __future__ import annotations

from pyroute2 import IPRoute

from cloudseed.cli.hosts.places import (
    Place,
    controller_link,
    gateway,
    host_namespace,
    provider_link,
    switch_namespace,
)
from cloudseed.cli.hosts.shape import Shape
from cloudseed.host import external, links, netns

UNDERLAY_LINK, PROVIDER_LINK = "eth0", "prov0"  # their names on a host
_UNDER, _PROV = "under", "prov"


def build(shape: Shape, hosts: list[Place], *, nat: bool) -> None:
    """Make the switch, this machine's ends, and every host's namespace with its links."""
    cloud = shape.name
    switch = switch_namespace(cloud)
    netns.create(switch)
    netns.run(switch, _bridges)
    netns.run_here(lambda: _ends_here(shape))
    external.forward_for(cloud, nat, closed=[controller_link(cloud)])
    for host in hosts:
        build_host(shape, host)


def build_host(shape: Shape, host: Place) -> None:
    """Make one host's namespace and plug its links in."""
    netns.create(host.namespace)
    switch = switch_namespace(shape.name)
    prefix = shape.underlay.partition("/")[2]
    netns.run(host.namespace, _harden)
    ends = ((UNDERLAY_LINK, host.underlay_port, _UNDER, {f"{host.address}/{prefix}"}),
            (PROVIDER_LINK, host.provider_port, _PROV, set[str]()))
    for name, port, bridge, addresses in ends:
        _cable(host.namespace, name, switch, port, bridge, addresses)


def remove_host(host: Place) -> None:
    """Take one host's namespace and those of its networks away, as when its power goes.  Its processes first."""
    for name in netns.names(f"{host.cloud}-"):
        netns.remove(name)
    netns.remove(host.namespace)


def remove(shape: Shape, hosts: list[Place]) -> None:
    """Leave nothing of `build`."""
    cloud = shape.name
    for host in hosts:
        remove_host(host)
    netns.run_here(lambda: _remove_ends(cloud))
    netns.remove(switch_namespace(cloud))
    external.stop_forwarding(cloud)


def names(cloud: str) -> list[str]:
    """The namespaces that `build` makes, of those there are."""
    wanted = {switch_namespace(cloud), *(host_namespace(cloud, number) for number in range(1, 17))}
    return [name for name in netns.names(f"{cloud}-") if name in wanted]


def _bridges() -> None:
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        links.write_sysctl("net/ipv4/ip_forward", "0")
        links.write_sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        for family in ("ip", "ip6"):  # a switch looks at no packet
            links.write_sysctl(f"net/bridge/bridge-nf-call-{family}tables", "0")
        present = links.list_links(ip)
        for name in (_UNDER, _PROV):
            if name not in present:
                ip.link("add", ifname=name, kind="bridge", br_stp_state=0, br_forward_delay=0, br_mcast_snooping=0)
            ip.link("set", index=links.list_links(ip)[name].index, state="up")


def _harden() -> None:
    with IPRoute() as ip:
        links.harden_namespace(ip)


def _ends_here(shape: Shape) -> None:
    """This machine's own ends: the controller among the hosts, the gateway of the provider's network."""
    switch = switch_namespace(shape.name)
    for name, port, bridge, network, group in (
        (controller_link(shape.name), "u0", _UNDER, shape.underlay, 0),
        (provider_link(shape.name), "x0", _PROV, shape.provider, external.GROUP),
    ):
        prefix = network.partition("/")[2]
        _cable(None, name, switch, port, bridge, {f"{gateway(network)}/{prefix}"}, group)


def _cable(namespace: str | None, name: str, switch: str, port: str, bridge: str, addresses: set[str],
           group: int = 0) -> None:
    """A link `name` here or in the namespace, with these addresses; its other end `port` is on the switch's bridge."""

    def end() -> None:
        with IPRoute() as ip, netns.descriptor(switch) as there:
            present = links.list_links(ip)
            if name in present and not netns.run(switch, lambda: _has(port)):
                links.remove_link(ip, present.pop(name))
            if name not in present:
                netns.run(switch, lambda: _remove(port))  # of a namespace that ends
                ip.link("add", ifname=name, kind="veth", group=group, peer={"ifname": port, "net_ns_fd": there})
            link = links.list_links(ip)[name]
            links.write_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
            if not link.up:
                ip.link("set", index=link.index, state="up")
            if addresses:
                links.sync_addresses(ip, link.index, addresses)

    def plug() -> None:
        with IPRoute() as ip:
            present = links.list_links(ip)
            if present[port].master != present[bridge].index or not present[port].up:
                ip.link("set", index=present[port].index, master=present[bridge].index, state="up")

    netns.run(namespace, end) if namespace is not None else netns.run_here(end)
    netns.run(switch, plug)


def _has(name: str) -> bool:
    with IPRoute() as ip:
        return name in links.list_links(ip)


def _remove(name: str) -> None:
    with IPRoute() as ip:
        found = links.list_links(ip).get(name)
        if found is not None:
            links.remove_link(ip, found)


def _remove_ends(cloud: str) -> None:
    _remove(controller_link(cloud))
    _remove(provider_link(cloud))
