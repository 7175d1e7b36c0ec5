"""Our own CLI's door to a running process: JSON lines over a unix socket in the state directory (mode 0600).

A request is {"command": name, "arguments": {...}}, an answer {"result": ...} or {"error": text}.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

log = logging.getLogger(__name__)
Command = Callable[..., Awaitable[Any]]


class ControlServer:
    """Serves `commands` (name -> coroutine function) on `path`."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=2**20)
        self._path.chmod(0o600)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line)
            return {"result": await self._commands[request["command"]](**request.get("arguments", {}))}
        except Exception as exc:
            log.warning("control command failed: %s", exc, exc_info=exc)
            return {"error": f"{type(exc).__name__}: {exc}"}

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)


class ControlError(RuntimeError):
    """The running process refused a command."""


def ask(path: Path, command: str, timeout_s: float = 30.0, **arguments: Any) -> Any:
    """Send one command and wait for its result.  Raises OSError when nobody listens, ControlError when refused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(msgspec.json.encode({"command": command, "arguments": arguments}) + b"\n")
        with connection.makefile("rb") as file:
            answer = msgspec.json.decode(file.readline())
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer["result"]
