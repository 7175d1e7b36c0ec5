"""The way to the metadata service, as a guest in a network walks it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator

import msgspec
import pytest

from cloudseed.host.paths import namespace_name
from cloudseed.host.records import NetworkWish
from cloudseed.host.wire import short_address
from tests.host.conftest import Host, network

pytestmark = pytest.mark.real


@pytest.fixture
async def service(host: Host) -> AsyncIterator[list[dict[str, str]]]:
    """A metadata service that notes who asked and answers with the question's first line."""
    asked: list[dict[str, str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(msgspec.json.decode(await reader.readline()))
        line = await reader.readline()
        writer.write(b"you asked: " + line)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    host.paths.metadata_socket.parent.mkdir(mode=0o700, exist_ok=True)  # the control process's own part
    with short_address(host.paths.metadata_socket) as address:
        server = await asyncio.start_unix_server(answer, address)
    yield asked
    server.close()
    await server.wait_closed()


async def ask(host: Host, wish: NetworkWish, question: str) -> str:
    """What a process in the network's namespace, which stands in for a guest, is answered."""
    program = (
        "import socket, sys; s = socket.create_connection(('169.254.169.254', 80), 5);"
        "s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().read())"
    )
    namespace = namespace_name(host.cloud, wish.network_id)
    done = await asyncio.to_thread(
        subprocess.run,
        ["ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", program, question],
        capture_output=True,
        text=True,
    )
    return (done.stdout + done.stderr).strip()


async def test_each_question_arrives_with_its_network(host: Host, service: list[dict[str, str]]) -> None:
    first, second = network(), network()
    await host.client.apply_networks([first, second], full=True)
    answers = await asyncio.gather(ask(host, first, "GET /a"), ask(host, second, "GET /b"))
    assert answers == ["you asked: GET /a", "you asked: GET /b"]
    assert {entry["network_id"] for entry in service} == {first.network_id, second.network_id}
    assert {entry["remote_address"] for entry in service} == {"169.254.169.254"}


async def test_without_a_service_the_connection_ends(host: Host) -> None:
    wish = network()
    await host.client.apply_networks([wish], full=True)
    assert "you asked" not in await ask(host, wish, "GET /")
    assert await host.client.list_machines() == []


async def test_it_is_there_again_after_a_restart_and_gone_with_the_network(
    host: Host, service: list[dict[str, str]]
) -> None:
    wish = network()
    await host.client.apply_networks([wish], full=True)
    await host.kill()
    await host.start()
    await host.client.apply_networks([wish], full=True)
    assert await ask(host, wish, "GET /") == "you asked: GET /"
    await host.client.apply_networks([], full=True)
    await host.client.apply_networks([wish], full=True)
    assert await ask(host, wish, "GET /again") == "you asked: GET /again"
    without = msgspec.structs.replace(wish, dhcp_port=None)
    await host.client.apply_networks([without], full=True)
    assert "you asked" not in await ask(host, wish, "GET /")
