"""Several hosts of a test's own: a namespace each, joined by an underlay, which nothing leaves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from cloudseed.host import inventory, netns, networks
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import ApplyResult, NetworkWish, PortWish, RemoteEnd, RouterLeg, RouterWish
from cloudseed.host.surroundings import Surroundings

_T = TypeVar("_T")


@dataclass
class Machine:
    """One host: its namespace, its cloud name, its state directory and its address on the underlay."""

    name: str
    cloud: str
    paths: StatePaths
    underlay: str
    provider: str = ""
    shown: list[ApplyResult] = field(default_factory=list)

    def inside(self, work: Callable[[], _T]) -> _T:
        return netns.run(self.name, work)

    def apply(self, *wishes: NetworkWish, routers: Sequence[RouterWish] = ()) -> ApplyResult:
        around = Surroundings(underlay=self.underlay, provider_interface=self.provider)
        result = self.inside(lambda: networks.apply(self.cloud, self.paths, list(wishes), True, list(routers), around))
        errors = [status.error for status in (*result.networks, *result.routers) if status.error]
        assert not errors, errors
        return result

    def shell(self, command: str, namespace: str | None = None) -> str:
        done = netns.run(namespace or self.name, lambda: subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sent(self) -> int:
        """How many tunnel packets left for the underlay since the beginning."""
        shown = self.shell("nft list table inet seen")
        return int(shown.partition("packets ")[2].split()[0])


class Fleet:
    """`machines` on one underlay 198.18.77.0/24, each of which counts the tunnel packets that it sends."""

    def __init__(self, cloud: str, path: Path, count: int, provider: bool = False) -> None:
        self.cloud = cloud
        self.switch = f"{cloud}-under"
        netns.create(self.switch)
        self.machines: list[Machine] = []
        _run(self.switch, "ip link set lo up; ip link add under type bridge; ip link set under up;"
                          "ip link add prov type bridge; ip link set prov up; ip addr add 172.24.4.1/24 dev prov")
        for number in range(count):
            name, address = f"{cloud}-m{number}", f"198.18.77.{11 + number}"
            netns.create(name)
            machine = Machine(name, f"{cloud}{'abcdef'[number]}", StatePaths(path / name), address,
                              "prov0" if provider else "")
            self.machines.append(machine)
            for bridge, link in (("under", "eth0"), *([("prov", "prov0")] if provider else [])):
                _run(self.switch, f"ip link add {bridge}{number} type veth peer name {link} netns {name};"
                                  f"ip link set {bridge}{number} master {bridge} up")
            _run(name, f"ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up;"
                       "nft add table inet seen; nft 'add chain inet seen out { type filter hook output priority 0; }';"
                       "nft add rule inet seen out udp dport 4789 counter")

    def close(self) -> None:
        for machine in self.machines:
            machine.inside(lambda machine=machine: inventory.purge(machine.cloud, machine.paths))  # type: ignore[misc]
            left = netns.names(f"{machine.cloud}-")
            netns.remove(machine.name)
            assert not left, left
        netns.remove(self.switch)


def _run(namespace: str, commands: str) -> None:
    done = netns.run(namespace, lambda: subprocess.run(["sh", "-ec", commands], capture_output=True, text=True))
    assert done.returncode == 0, done.stderr


def end_of(port: PortWish, host: Machine, **more: object) -> RemoteEnd:
    """A guest's port as other hosts are told of it."""
    return RemoteEnd(mac_address=port.mac_address, ip_addresses=[f.ip_address for f in port.fixed_ips],
                     underlay=host.underlay, **more)  # type: ignore[arg-type]


def end_of_leg(leg: RouterLeg, host: Machine) -> RemoteEnd:
    """A router's port likewise."""
    return RemoteEnd(mac_address=leg.mac_address, ip_addresses=[a.partition("/")[0] for a in leg.addresses],
                     underlay=host.underlay, router=True)


def on(wish: NetworkWish, here: Sequence[PortWish], remotes: Sequence[RemoteEnd], **changes: object) -> NetworkWish:
    """A network as one host sees it: `here` are its ports, the wish's others are known to DHCP alone."""
    ids = {port.port_id for port in here}
    others = [msgspec.structs.replace(port, local=False) for port in wish.ports if port.port_id not in ids]
    return msgspec.structs.replace(wish, ports=[*here, *others], remotes=list(remotes),
                                   segmentation_id=wish.segmentation_id or 4242, **changes)
