"""Guests that stand still because a disk of theirs is full, of this host or of the one that has their volume.

QEMU stops such a guest and keeps the write that did not fit (its default, `werror=enospc`): nothing is lost and the
guest sees no error.  Here the write is tried again now and then, so that the guest goes on as soon as there is space,
and nobody has to ask for it.  A guest that its user paused, or that is being sent to another host, is left as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from cloudseed.host.errors import HostError
from cloudseed.host.qmp import QmpMonitor

log = logging.getLogger("cloudseed.host")
AGAIN_S = 2.0
_STATUS = "io-error"
_MOVING = ("setup", "active", "pre-switchover", "device", "cancelling")  # of query-migrate


class FullDisk:
    """Of one running machine.  `held`: it is not for us to let it go on."""

    def __init__(self, server_id: str, monitor: QmpMonitor) -> None:
        self._server_id = server_id
        self._monitor = monitor
        self._task: asyncio.Task[None] | None = None
        self._said = False
        self.held = False

    def found(self, status: str) -> None:
        """What QEMU said of the machine when it was taken up."""
        if status == _STATUS:
            self._begin()

    def heard(self, event: Mapping[str, Any]) -> None:
        """What QEMU tells."""
        if event["event"] == "BLOCK_IO_ERROR" and event.get("data", {}).get("action") == "stop":
            self._begin()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._try_again(), name=f"full-disk-{self._server_id}")

    async def _try_again(self) -> None:
        if not self._said:  # once: a guest can have it happen all the time
            self._said = True
            log.warning("server %s stands still: a disk of it is full; what it wrote is tried again every %g s",
                        self._server_id, AGAIN_S)
        try:
            while True:
                await asyncio.sleep(AGAIN_S)
                moving = (await self._monitor.execute("query-migrate")).get("status") in _MOVING
                if await self._monitor.status() != _STATUS:
                    return
                if not moving and not self.held:  # no pause between this and the command: see Departures
                    await self._monitor.resume()
        except HostError:  # it ended, or does not answer
            return
