"""Who is where in a cloud of many hosts on one machine: names, addresses and directories, computed and nothing else."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cloudseed.cli.processes import CONTROL_UID
from cloudseed.kernel.config import ConfigError

MAX_HOSTS = 16
UNDERLAYS = ipaddress.IPv4Network("198.18.0.0/15")  # RFC 2544: for benches, never routed
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_FIRST_HOST = 10  # hosts have the addresses from .11 on


@dataclass(frozen=True)
class Place:
    """One hypervisor host.  `number` counts from 1."""

    number: int
    cloud: str  # the name that starts its networks' namespaces
    namespace: str
    address: str  # in the underlay
    state: Path

    @property
    def name(self) -> str:
        """As services know it."""
        return f"host-{self.number}"

    @property
    def uid(self) -> int:
        """Its agent process's user: hosts would not share one, had they a machine each."""
        return CONTROL_UID + self.number

    @property
    def underlay_port(self) -> str:
        """The end of its link to the other hosts that lies in the switch's namespace."""
        return f"u{self.number}"

    @property
    def provider_port(self) -> str:
        """The same of its link to the provider's network."""
        return f"p{self.number}"


def check_count(count: int, cloud: str) -> None:
    """Raises ConfigError when a cloud of that name cannot have so many hosts."""
    if not 1 <= count <= MAX_HOSTS:
        raise ConfigError(f"hosts = {count}: it must be 1 to {MAX_HOSTS}")
    if len(cloud) > 6:
        raise ConfigError(f"name = {cloud!r}: a cloud of many hosts has a name of at most 6 characters")


def places(state: Path, cloud: str, underlay: str, count: int) -> list[Place]:
    """Every host of the cloud."""
    network = ipaddress.IPv4Network(underlay)
    return [
        Place(
            number=number,
            cloud=f"{cloud}h{_DIGITS[number]}",
            namespace=host_namespace(cloud, number),
            address=str(network[_FIRST_HOST + number]),
            state=state / "hosts" / f"host-{number}",
        )
        for number in range(1, count + 1)
    ]


def host_namespace(cloud: str, number: int) -> str:
    return f"{cloud}-h{_DIGITS[number]}"


def switch_namespace(cloud: str) -> str:
    """The namespace that holds the bridges between hosts."""
    return f"{cloud}-under"


def controller_link(cloud: str) -> str:
    """The machine's own end in the underlay: the controller's."""
    return f"{cloud}-u0"


def provider_link(cloud: str) -> str:
    """The machine's own end in the provider's network.  Named as the ends of external networks are
    (host/external.py), whose rules it shares."""
    return f"{cloud}-x0"


def gateway(network: str) -> str:
    """The machine's own address in one of the cloud's ranges: the first."""
    return str(ipaddress.IPv4Network(network)[1])
