"""The network `public`, which a new cloud has: floating IPs come from it, and routers lead to it.

Made once, by `up` as root; somebody who deletes it is not given it again.  Nothing on the machine changes until a
router uses it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import IPRoute

from cloudseed.cli.api import Api
from cloudseed.host.external import in_use
from cloudseed.kernel.config import Config, load_secrets

NAME = "public"
OTHERS = ipaddress.IPv4Network("172.24.0.0/16")  # where another range is taken from when the wished one is in use


class NoRange(RuntimeError):
    """Every range that could be taken is in use on this machine; the text says what to do."""


def ensure(config: Config, taken: str | None = None) -> str | None:
    """Make the network unless this was done before or there is an external one; its range when it was made now.

    `taken`: the range that this machine's own link to it has already."""
    done = _mark(config)
    if done.exists():
        return None
    api = Api(config.public_url, "admin", load_secrets(config.state_path).passwords["admin"], "admin")
    made = None
    if not api.get("/networking/v2.0/networks?router:external=true&fields=id")["networks"]:
        made = taken or str(choose(config.external_cidr))
        network = {"name": NAME, "router:external": True, "provider:network_type": "flat",
                   "provider:physical_network": NAME}  # fmt: skip
        network_id = api.send("POST", "/networking/v2.0/networks", {"network": network})["network"]["id"]
        subnet = {"network_id": network_id, "name": NAME, "ip_version": 4, "cidr": made, "enable_dhcp": False}
        api.send("POST", "/networking/v2.0/subnets", {"subnet": subnet})
    done.touch()
    return made


def choose(wished: str) -> ipaddress.IPv4Network:
    """The wished range, or one like it in 172.24.0.0/16 of which no part is in use on this machine."""
    first = ipaddress.IPv4Network(wished, strict=False)
    with IPRoute() as ip:
        for network in _candidates(first):
            if in_use(ip, network) is None:
                return network
    raise NoRange(f"{first} and all of {OTHERS} are in use on this machine: name a free range with "
                  "--set external_cidr=CIDR")  # fmt: skip


def _candidates(first: ipaddress.IPv4Network) -> Iterator[ipaddress.IPv4Network]:
    yield first
    yield from (network for network in list(OTHERS.subnets(new_prefix=24))[4:] if network != first)


def _mark(config: Config) -> Path:
    return config.state_path / "run" / "public-network"
