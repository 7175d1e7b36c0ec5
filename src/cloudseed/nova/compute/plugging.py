"""Which ports of servers that are being built are wired: neutron's events come early or late, here they meet.

Only servers under construction are watched; an event that was lost is made good by asking neutron now and then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PLUG_DEADLINE_S = 300.0
ASK_EVERY_S = 5.0


class Plugs:
    """Ports that neutron called plugged, by server."""

    def __init__(self) -> None:
        self._plugged: dict[str, set[str]] = {}
        self._failed: dict[str, set[str]] = {}
        self._news: dict[str, asyncio.Event] = {}

    def expect(self, server_id: str) -> None:
        """From now on remember this server's events."""
        self._plugged.setdefault(server_id, set())
        self._news.setdefault(server_id, asyncio.Event())

    def expects(self, server_id: str) -> bool:
        return server_id in self._plugged

    def forget(self, server_id: str) -> None:
        self._plugged.pop(server_id, None)
        self._failed.pop(server_id, None)
        self._news.pop(server_id, None)

    def plugged(self, server_id: str, port_id: str) -> None:
        if server_id in self._plugged:
            self._plugged[server_id].add(port_id)
            self._failed.get(server_id, set()).discard(port_id)
            self._news[server_id].set()

    def failed(self, server_id: str, port_id: str) -> None:
        """Neutron tried for a while and says that the port cannot be wired: nobody need wait for it."""
        if server_id in self._plugged and port_id not in self._plugged[server_id]:
            self._failed.setdefault(server_id, set()).add(port_id)
            self._news[server_id].set()

    def has_failed(self, server_id: str, port_ids: list[str]) -> bool:
        """Whether neutron gave one of these ports up."""
        return not self._failed.get(server_id, set()).isdisjoint(port_ids)

    async def wait(self, server_id: str, port_ids: list[str], active_ports: Callable[[], Awaitable[set[str]]],
                   deadline_s: float = PLUG_DEADLINE_S) -> list[str]:
        """Return when all are plugged; the ports that still are not when the time is up, or one of them has failed.

        `active_ports` asks neutron which of the server's ports are up.
        """
        self.expect(server_id)
        until, ask_at = time.monotonic() + deadline_s, time.monotonic() + 1.0
        while missing := [port for port in port_ids if port not in self._plugged[server_id]]:
            now = time.monotonic()
            if now >= until or self.has_failed(server_id, missing):
                return missing
            if now >= ask_at:
                self._plugged[server_id] |= await active_ports()
                ask_at = now + ASK_EVERY_S
                continue
            self._news[server_id].clear()
            try:
                async with asyncio.timeout(min(until, ask_at) - now):
                    await self._news[server_id].wait()
            except TimeoutError:
                pass
        return []
