"""A RabbitMQ of the tests' own: one for a whole run, ended with it.

Pytest finds the fixtures through tests/conftest.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
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


class Wire:
    """The way to a broker, through this test: it can be cut, kept shut, and stand still."""

    def __init__(self, broker: rabbitmq.Broker) -> None:
        self._broker = broker
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.shut = False
        self.still = False  # what is said is swallowed, and the connections stay

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = dataclasses.replace(self._broker, port=self._server.sockets[0].getsockname()[1]).url
        return self

    async def __aexit__(self, *_: object) -> None:
        self.shut = True
        self.cut()
        assert self._server is not None
        self._server.close()
        while self._connections:
            await asyncio.sleep(0.01)

    def cut(self) -> None:
        """End all connections as a broken network does."""
        for writer in self._connections:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.shut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._broker.port)
        both = {writer, far_writer}
        self._connections |= both

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    if not self.still:
                        sink.write(data)
                        await sink.drain()
            sink.transport.abort()

        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            for end in both:
                end.transport.abort()
            self._connections -= both
