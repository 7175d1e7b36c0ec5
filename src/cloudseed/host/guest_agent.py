"""The agent inside a guest, over the machine's virtio-serial port: asked from the control process alone.

Whatever comes from there a guest wrote: it is read with limits on time and size, and nothing in it is trusted.  An
agent that is not there is not told from one that is slow: both raise HostError `timeout`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from cloudseed.host.errors import HostError
from cloudseed.host.wire import connect

_MAX_ANSWER_BYTES = 1 << 20
_SYNC_TIMEOUT_S = 3.0
_DELIMITER = b"\xff"


class GuestAgent:
    """One conversation: `async with GuestAgent(path) as agent`.  Raises HostError: `unavailable` (no machine),
    `timeout` (no agent answers), `failed` (it refused)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> GuestAgent:
        try:
            sock = await connect(self._path)
        except OSError as exc:
            raise HostError("unavailable", f"no machine answers on {self._path.name}: {exc}") from exc
        self._reader, self._writer = await asyncio.open_unix_connection(sock=sock, limit=_MAX_ANSWER_BYTES)
        try:
            await self._sync()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _sync(self) -> None:
        """Bring both sides to the beginning of a message, past what an earlier conversation left."""
        mark = secrets.randbelow(1 << 31)
        request = {"execute": "guest-sync-delimited", "arguments": {"id": mark}}
        try:
            async with asyncio.timeout(_SYNC_TIMEOUT_S):
                self._writer.write(_DELIMITER + msgspec.json.encode(request) + b"\n")
                await self._writer.drain()
                while True:
                    await self._reader.readuntil(_DELIMITER)
                    if (await self._answer()).get("return") == mark:
                        return
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError, ConnectionError, TimeoutError) as exc:
            raise HostError("timeout", "no guest agent answers within the machine") from exc

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None, timeout_s: float = 10.0) -> Any:
        """What the agent returns."""
        request = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(msgspec.json.encode(request) + b"\n")
                await self._writer.drain()
                answer = await self._answer()
        except (ValueError, asyncio.IncompleteReadError, ConnectionError, TimeoutError) as exc:
            raise HostError("timeout", f"the guest agent did not answer {command}") from exc
        if "return" not in answer:
            error = answer.get("error")
            words = error.get("desc") if isinstance(error, dict) else None
            raise HostError("failed", f"the guest agent refused {command}: {str(words)[:200]}")
        return answer["return"]

    async def _answer(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
            found = msgspec.json.decode(line)
        except (ValueError, msgspec.DecodeError) as exc:
            raise HostError("failed", "the guest agent does not speak its protocol") from exc
        if not isinstance(found, dict):
            raise HostError("failed", "the guest agent does not speak its protocol")
        return found
