"""A host process of the test's own: its state, its name, its namespaces, all gone afterwards whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cloudseed.host import inventory, processes
from cloudseed.host.client import HostClient
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import DhcpPort, FixedIp, NetworkWish, PortWish, RuleWish, SubnetWish

SOURCE = Path(__file__).parents[2] / "src"
ANY_EGRESS = RuleWish(direction="egress")


@pytest.fixture(autouse=True)
def _needs_root(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("real") and os.geteuid() != 0:
        pytest.skip("needs root for network namespaces and machines of its own user")


@pytest.fixture
def cloud() -> str:
    """A name that no other cloud on this machine has."""
    return f"t{secrets.token_hex(3)}"


@pytest.fixture
def state(tmp_path: Path, cloud: str) -> Iterator[StatePaths]:
    """A state directory; what a test left running in it is ended without help of the code under test's server."""
    paths = StatePaths(tmp_path / "state")
    yield paths
    for pid_file in paths.machines.glob("*/pid"):
        record = processes.load(pid_file)
        if record is not None:
            processes.end(record, grace_s=1.0)
    inventory.purge(cloud, paths)


class Host:
    """A running host process and a client of it."""

    cache = Path("/nonexistent")

    def __init__(self, cloud: str, paths: StatePaths, uid: int = 0, underlay: str = "") -> None:
        self.underlay = underlay
        self.cloud = cloud
        self.paths = paths
        self.uid = uid
        self.socket = paths.root.parent / "host.sock"
        self.client = HostClient(self.socket, timeout_s=30.0)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it accepts connections."""
        arguments = ["--state", str(self.paths.root), "--socket", str(self.socket), "--name", self.cloud]
        arguments += ["--underlay", self.underlay] if self.underlay else []
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cloudseed.host",
            *arguments,
            f"--uid={self.uid}",
            f"--gid={self.uid}",
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "CLOUDSEED_CACHE": str(self.cache)},
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 20)
        assert line == b"ready\n"

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Ask it to end, and see that it does so cleanly."""
        await self.client.close()
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                assert await asyncio.wait_for(self.process.wait(), 10) == 0
            if self.process.returncode is None:
                await self.kill()
                pytest.fail("the host process did not end within 10 s of SIGTERM")


@pytest.fixture(autouse=True, scope="session")
def _one_probe(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Acceleration is probed once for all tests: it takes seconds where it hangs."""
    Host.cache = tmp_path_factory.mktemp("cache")


@pytest.fixture
def image_cache() -> Path:
    """Where guest images are cached, between runs as well: to build one takes longer than all tests here."""
    return Path(os.environ.get("CLOUDSEED_CACHE") or "/var/cache/cloudseed")


@pytest.fixture
async def host(cloud: str, state: StatePaths) -> AsyncIterator[Host]:
    """A running host process."""
    running = Host(cloud, state)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


def new_id() -> str:
    """A fresh id."""
    return str(uuid.uuid4())


def network(
    *ports: PortWish, cidr_start: str = "10.0.0", mtu: int = 1450, network_id: str | None = None
) -> NetworkWish:
    """A network 10.0.0.0/24 with DHCP at .2 and these ports, which `port` made for it."""
    subnet = SubnetWish(
        subnet_id=SUBNET,
        cidr=f"{cidr_start}.0/24",
        gateway_ip=f"{cidr_start}.1",
        dns_nameservers=["192.0.2.53"],
    )
    server = DhcpPort(
        port_id=new_id(),
        mac_address="fa:16:3e:ff:ff:02",
        fixed_ips=[FixedIp(subnet_id=SUBNET, ip_address=f"{cidr_start}.2")],
    )
    return NetworkWish(
        network_id=network_id or new_id(), mtu=mtu, subnets=[subnet], dhcp_port=server, ports=list(ports)
    )


SUBNET = "5b5b5b5b-0000-4000-8000-000000000001"


def port(number: int, *rules: RuleWish, **fields: object) -> PortWish:
    """The local port with MAC fa:16:3e:00:00:<number> and address 10.0.0.<number>."""
    values: dict[str, object] = {
        "port_id": new_id(),
        "mac_address": f"fa:16:3e:00:00:{number:02x}",
        "fixed_ips": [FixedIp(subnet_id=SUBNET, ip_address=f"10.0.0.{number}")],
        "local": True,
        "rules": list(rules),
        **fields,
    }
    return PortWish(**values)  # type: ignore[arg-type]
