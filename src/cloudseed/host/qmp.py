"""QMP with time limits: how a running QEMU is asked and listened to, from either process.

A machine has two monitors, since QEMU serves one client on each: `qmp.sock` for the control process and
`host.sock` for the host process.  A machine whose monitor does not answer may still run: `unavailable` and
`timeout` say nothing of the guest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError, Runstate
from qemu.qmp.events import EventListener

from cloudseed import points
from cloudseed.host.errors import HostError
from cloudseed.host.wire import connect


class QmpMonitor:
    """One monitor of one machine: `async with QmpMonitor(path) as monitor`, or `connect` and `close`.

    Methods raise HostError: `unavailable` (no QEMU there, or it went), `timeout`, or `failed` with QEMU's words.
    """

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self._path = Path(path)
        self._timeout_s = timeout_s
        self._client = QMPClient(self._path.parent.name)
        self._events = EventListener()

    async def __aenter__(self) -> QmpMonitor:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect and negotiate; events are kept from then on."""
        self._client.register_listener(self._events)
        try:
            async with asyncio.timeout(self._timeout_s):
                sock = await connect(self._path)
                try:
                    await self._client.connect(sock)
                except BaseException:
                    sock.close()
                    raise
        except TimeoutError:
            message = f"QEMU does not answer on {self._path}: another client may hold the monitor"
            raise HostError("timeout", message) from None
        except (OSError, QMPError) as exc:
            raise HostError("unavailable", f"no QEMU answers on {self._path}: {exc}") from exc

    async def close(self) -> None:
        """Disconnect; the machine runs on."""
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, timeout_s: float | None = None
    ) -> Any:
        """Run a QMP command and return its `return` value."""
        if not command.startswith("query-"):
            points.point(f"tell QEMU {command}")
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await self._client.execute(command, arguments)
        except TimeoutError:
            raise HostError("timeout", f"QEMU did not answer {command} in time: ask again") from None
        except ExecuteError as exc:
            raise HostError("failed", f"QEMU refused {command}: {exc}") from exc
        except (QMPError, OSError, EOFError) as exc:
            raise HostError("unavailable", f"QEMU went away during {command}: {exc}") from exc

    async def execute_with_fd(
        self, command: str, descriptor: int, arguments: Mapping[str, object] | None = None
    ) -> Any:
        """As `execute`, and hand over a descriptor with it (getfd, add-fd)."""
        try:
            self._client.send_fd_scm(descriptor)
        except (QMPError, OSError) as exc:
            raise HostError("unavailable", f"QEMU went away before {command}: {exc}") from exc
        return await self.execute(command, arguments)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """QEMU's events from the connection on, until it is lost or closed."""
        ended = asyncio.create_task(self._wait_ended())
        try:
            while True:
                event = asyncio.create_task(self._events.get())
                await asyncio.wait({event, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not event.done():
                    event.cancel()
                    await asyncio.gather(event, return_exceptions=True)
                    # what came just before the end is told too: it says why
                    while not self._events.empty():
                        yield dict(await self._events.get())
                    return
                yield dict(event.result())
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _wait_ended(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    # ---- what callers ask for most

    async def status(self) -> str:
        """The run state: running, paused, shutdown, prelaunch, ..."""
        answer = await self.execute("query-status")
        return str(answer["status"])

    async def system_powerdown(self) -> None:
        """Press the ACPI power button."""
        await self.execute("system_powerdown")

    async def reset(self) -> None:
        """Press the reset button."""
        await self.execute("system_reset")

    async def pause(self) -> None:
        """Stop the guest's processors (QMP `stop`)."""
        await self.execute("stop")

    async def resume(self) -> None:
        """Let the guest's processors go on (QMP `cont`)."""
        await self.execute("cont")

    async def quit(self) -> None:
        """End QEMU at once, with its disks flushed."""
        with contextlib.suppress(HostError):  # it may be gone before it answers
            await self.execute("quit")

    async def query_block(self) -> list[dict[str, Any]]:
        """The block devices, as QMP's query-block tells them."""
        return [dict(item) for item in await self.execute("query-block")]
