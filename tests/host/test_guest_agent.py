"""The guest's agent: asked in its protocol, and nothing that it says is trusted."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloudseed.host import guest_agent
from cloudseed.host.errors import HostError
from cloudseed.host.guest_agent import GuestAgent
from cloudseed.host.paths import StatePaths
from cloudseed.kernel.errors import Conflict
from cloudseed.nova.compute.drivers.qemu_guest import quiesced, set_password
from cloudseed.nova.compute.spec import ServerSpec

SERVER = "22222222-0000-4000-8000-000000000001"
Answer = Callable[[str, dict[str, Any]], bytes]


@contextlib.asynccontextmanager
async def guest(path: Path, answer: Answer) -> AsyncIterator[list[str]]:
    """A guest whose agent answers so; the commands that it got."""
    asked: list[str] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(b"what an earlier conversation left")
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                request = msgspec.json.decode(line.lstrip(b"\xff"))
                asked.append(request["execute"])
                if request["execute"] == "guest-sync-delimited":
                    writer.write(b"\xff" + msgspec.json.encode({"return": request["arguments"]["id"]}) + b"\n")
                else:
                    writer.write(answer(request["execute"], request.get("arguments", {})))
                await writer.drain()
        writer.close()

    path.parent.mkdir(parents=True, exist_ok=True)
    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield asked
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def fine(command: str, arguments: dict[str, Any]) -> bytes:
    return b'{"return": 1}\n'


def spec(**properties: str) -> ServerSpec:
    return ServerSpec(id=SERVER, name="vm", hostname="vm", project_id="p", user_id="u", vcpus=1, memory_mib=64,
                      root_gib=1, image_properties=properties)


@pytest.fixture
def paths() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="qga-") as directory:  # a unix socket's path must be short
        yield StatePaths(Path(directory))


async def test_it_is_asked_and_answers(paths: StatePaths) -> None:
    path = paths.machine(SERVER).agent_socket
    async with guest(path, fine) as asked, GuestAgent(path) as agent:
        assert await agent.execute("guest-ping") == 1
    assert asked == ["guest-sync-delimited", "guest-ping"]


@pytest.mark.parametrize(("answer", "code"), [
    (b'{"error": {"desc": "no"}}\n', "failed"), (b"[1]\n", "failed"), (b"{\n", "failed"), (b"{}\n", "failed"),
    (b'{"return": "' + b"x" * (2 << 20) + b'"}\n', "failed"), (b"", "timeout"), (b'{"error": 5}\n', "failed")])
async def test_whatever_it_says_is_an_error(paths: StatePaths, answer: bytes, code: str) -> None:
    path = paths.machine(SERVER).agent_socket
    async with guest(path, lambda command, arguments: answer), GuestAgent(path) as agent:
        with pytest.raises(HostError) as caught:
            await agent.execute("guest-ping", timeout_s=0.3)
        assert caught.value.code == code


async def test_nobody_answers(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_agent, "_SYNC_TIMEOUT_S", 0.2)
    path = paths.machine(SERVER).agent_socket
    with pytest.raises(HostError) as caught:
        async with GuestAgent(path):
            pass
    assert caught.value.code == "unavailable"
    path.parent.mkdir(parents=True)
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda reader, writer: silent.append(writer), str(path))
    with pytest.raises(HostError) as caught:
        async with GuestAgent(path):
            pass
    server.close()
    silent[0].close()
    await silent[0].wait_closed()
    assert caught.value.code == "timeout"


async def test_the_copy_is_begun_while_the_guest_stands_still(paths: StatePaths) -> None:
    async with guest(paths.machine(SERVER).agent_socket, fine) as asked:
        async with quiesced(paths, spec(hw_qemu_guest_agent="yes"), True):
            assert asked[-1] == "guest-fsfreeze-freeze"
        assert asked[-1] == "guest-fsfreeze-thaw"
        asked.clear()
        async with quiesced(paths, spec(), True), quiesced(paths, spec(hw_qemu_guest_agent="yes"), False):
            assert asked == []


async def test_a_guest_that_cannot_is_copied_all_the_same_unless_it_must(paths: StatePaths) -> None:
    def refuse(command: str, arguments: dict[str, Any]) -> bytes:
        return b'{"error": {"desc": "busy"}}\n'

    async with guest(paths.machine(SERVER).agent_socket, refuse) as asked:
        async with quiesced(paths, spec(hw_qemu_guest_agent="yes"), True):
            pass
        assert "guest-fsfreeze-thaw" in asked
        with pytest.raises(Conflict, match="busy"):
            async with quiesced(paths, spec(hw_qemu_guest_agent="yes", os_require_quiesce="yes"), True):
                raise AssertionError


async def test_a_password_is_set(paths: StatePaths) -> None:
    told: dict[str, Any] = {}

    def note(command: str, arguments: dict[str, Any]) -> bytes:
        told.update(arguments)
        return b'{"return": {}}\n'

    async with guest(paths.machine(SERVER).agent_socket, note):
        await set_password(paths, spec(hw_qemu_guest_agent="yes"), "root", "secret")
    assert told == {"username": "root", "password": base64.b64encode(b"secret").decode(), "crypted": False}
    for properties in ({}, {"hw_qemu_guest_agent": "yes"}):
        with pytest.raises(Conflict):
            await set_password(paths, spec(**properties), "root", "secret")
