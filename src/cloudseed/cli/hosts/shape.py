"""What was decided when a cloud of many hosts was made, and holds until it is purged: `<state>/run/hosts.json`.

Ranges and ports that were free then, and the passwords of the database and the broker.  Root's alone (0600).
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from pyroute2 import IPRoute

from cloudseed.cli import public_network
from cloudseed.cli.hosts.places import UNDERLAYS, Place, check_count, gateway, places
from cloudseed.cli.servers import rabbitmq
from cloudseed.host.external import in_use
from cloudseed.kernel.config import Config, ConfigError, data_directory

ACCOUNT = "cloudseed"  # the cloud's own, in the database and at the broker


class Shape(msgspec.Struct):
    """The cloud's decisions.  `count` hosts; ranges in CIDR notation; ports on this machine's loopback."""

    name: str
    count: int
    underlay: str
    provider: str
    database_port: int
    broker_port: int
    mapper_port: int  # the broker's own port mapper, and its node: see cli/servers/rabbitmq.py
    node_port: int
    database_password: str
    broker_password: str

    def places(self, state: Path) -> list[Place]:
        return places(state, self.name, self.underlay, self.count)

    @property
    def controller(self) -> str:
        """The controller's address among the hosts."""
        return gateway(self.underlay)

    @property
    def database_url(self) -> str:
        return f"postgresql://{ACCOUNT}:{self.database_password}@127.0.0.1:{self.database_port}/{ACCOUNT}"

    def broker_url(self, address: str) -> str:
        return f"amqp://{ACCOUNT}:{self.broker_password}@{address}:{self.broker_port}/{ACCOUNT}"


def path(state: Path) -> Path:
    return state / "run" / "hosts.json"


def load(state: Path) -> Shape | None:
    """The shape of a cloud of many hosts; None of any other, and for those who may not read it."""
    try:
        return msgspec.json.decode(path(state).read_bytes(), type=Shape)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def remember(config: Config) -> None:
    """A cloud that was made of many hosts is one, and keeps its name, also when nobody says so again."""
    known = load(config.state_path)
    if known is not None:
        config.hosts = config.hosts or known.count
        config.name = known.name


def ensure(config: Config) -> Shape:
    """The cloud's shape, decided now for a new one; more hosts than before are added.  Raises ConfigError."""
    check_count(config.hosts, config.name)
    known = load(config.state_path)
    if known is None:
        if (data_directory(config.state_path) / "db").exists():
            raise ConfigError(f"{config.state} holds a cloud of one process: name another with --state for --hosts, "
                              "or remove it with down --purge")  # fmt: skip
        known = _decide(config)
    elif config.name != known.name:
        raise ConfigError(f"name = {config.name!r}: the cloud in {config.state} is called {known.name!r}")
    elif config.hosts < known.count:
        raise ConfigError(f"hosts = {config.hosts}: the cloud has {known.count}; `up` takes none away")
    known.count = config.hosts
    _save(config.state_path, known)
    return known


def _decide(config: Config) -> Shape:
    database, broker, mapper, node = rabbitmq.free_ports(4)
    return Shape(
        name=config.name,
        count=config.hosts,
        underlay=_free_underlay(config.state),
        provider=str(public_network.choose(config.external_cidr)),
        database_port=database,
        broker_port=broker,
        mapper_port=mapper,
        node_port=node,
        database_password=secrets.token_urlsafe(18),
        broker_password=secrets.token_urlsafe(18),
    )


def _free_underlay(state: str) -> str:
    """A /24 of which no part is in use here; each cloud of this machine begins to look elsewhere."""
    first = zlib.crc32(state.encode())
    with IPRoute() as ip:
        for network in _underlays(first):
            if in_use(ip, network) is None:
                return str(network)
    raise ConfigError(f"all of {UNDERLAYS} is in use on this machine")


def _underlays(first: int) -> Iterator[ipaddress.IPv4Network]:
    every = list(UNDERLAYS.subnets(new_prefix=24))
    yield from (every[(first + step) % len(every)] for step in range(len(every)))


def _save(state: Path, shape: Shape) -> None:
    temporary = path(state).with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(shape))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path(state))
