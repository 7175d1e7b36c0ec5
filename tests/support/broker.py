"""A RabbitMQ of the tests' own: one for a whole run, ended with it.

Pytest finds the fixtures through tests/conftest.py.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudseed.cli.servers import rabbitmq


def make_broker(directory: Path) -> rabbitmq.Broker:
    """One on free ports of loopback, not started."""
    port, mapper_port, node_port = rabbitmq.free_ports(3)
    return rabbitmq.Broker(directory / "broker", port, mapper_port, node_port, password="not-secret-in-a-test")


def broker_directory() -> Path:
    """A new directory that the account `rabbitmq` can come to; pytest's own are for one user."""
    directory = Path(tempfile.mkdtemp(prefix="cloudseed-broker-"))
    directory.chmod(0o711)
    return directory


@pytest.fixture(scope="session")
def broker() -> Iterator[rabbitmq.Broker]:
    """A running broker, one for all tests of the run: use topics of your own."""
    if not rabbitmq.is_installed():
        pytest.skip("RabbitMQ is not installed")
    directory = broker_directory()
    made = make_broker(directory)
    try:
        rabbitmq.start(made)
        rabbitmq.wait_ready(made)
        yield made
    finally:
        rabbitmq.stop(made.directory, at_once=True)
        shutil.rmtree(directory)
