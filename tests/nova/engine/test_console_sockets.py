"""The way to a machine's screen, when the machine's own user has put something else there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cloudseed.nova.compute.consoles import ConsoleAddress, ConsoleNotReady, connect


async def test_a_link_to_a_socket_that_trusts_us_gets_no_byte(tmp_path: Path) -> None:
    heard: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()
        ended.set()

    trusting = await asyncio.start_unix_server(serve, str(tmp_path / "host.sock"))
    (tmp_path / "vnc").mkdir()
    (tmp_path / "vnc" / "vnc.sock").symlink_to("../host.sock")
    machine = os.getppid()  # any process but the one that listens
    async with trusting:
        with pytest.raises(ConsoleNotReady, match=f"does not lead to process {machine}"):
            await connect(ConsoleAddress(kind="novnc", path=str(tmp_path / "vnc" / "vnc.sock"), pid=machine))
        await ended.wait()
    assert heard == [b""]


@pytest.mark.parametrize("left", ["nothing", "a file", "a dead socket", "a loop"])
async def test_what_is_no_console_is_said_plainly(tmp_path: Path, left: str) -> None:
    path = tmp_path / "vnc.sock"
    if left == "a file":
        path.write_text("")
    elif left == "a dead socket":
        server = await asyncio.start_unix_server(lambda r, w: None, str(path))
        server.close()
        await server.wait_closed()
    elif left == "a loop":
        path.symlink_to(path)
    with pytest.raises(ConsoleNotReady):
        await connect(ConsoleAddress(kind="novnc", path=str(path), pid=1))
