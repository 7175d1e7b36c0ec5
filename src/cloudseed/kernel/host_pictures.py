"""What exists on hosts, for the audit: this process's own, and those of others, which their processes tell.

Whatever process has a host process listens on `host.<name>` and answers with what is there.  Which hosts there should
be, services say: their pictures' `agents` are their parts on hosts (host, binary, up).  A host that does not answer is
unknown: its picture says so and holds nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.config import Config
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError

PART = "cloudseed-audit"
_ANSWER_S = 20.0
_AT_ONCE = 16


class HostPictures:
    """`host` is the process's host process or None; it may be one that only pretends (`real` False)."""

    def __init__(self, config: Config, host: Any, bus: Bus) -> None:
        self._config = config
        self._host = host
        self._bus = bus

    def serve(self) -> Callable[[], None]:
        """Answer those who ask for this host.  Returns its end."""

        async def tell(ctx: Context) -> dict[str, Any] | None:
            return await self.mine()

        return self._bus.serve(f"host.{self._config.host}", {"picture": tell})

    async def mine(self) -> dict[str, Any] | None:
        """What exists on this host, and what of it is for us to have: `name` is the host's, as services know it."""
        if self._host is None:
            return None
        config = self._config
        # else it is there but used for nothing
        real = getattr(self._host, "real", True) and config.driver != "fake"
        mine = {"name": config.host, "wires_networks": real, "runs_servers": real, "computes": config.compute_names}
        try:
            return {**msgspec.to_builtins(await self._host.get_inventory()), **mine}
        except Exception as exc:  # the host process's own errors; the kernel does not know their class
            return {**mine, "error": str(exc)}

    async def others(self, picture: dict[str, Any]) -> list[dict[str, Any]]:
        """The pictures of all hosts but this one that have parts of the services in `picture`, by name."""
        up: dict[str, bool] = {}
        for part in picture.values():
            for agent in part.get("agents", ()) if isinstance(part, dict) else ():
                up[agent["host"]] = up.get(agent["host"], False) or agent["up"]
        limit = asyncio.Semaphore(_AT_ONCE)
        names = sorted(up.keys() - set(self._config.compute_names))
        asked = await asyncio.gather(*(self._ask(name, up[name], limit) for name in names))
        # a process may be several hosts, of which one answers for all
        told = {name for answer in asked if "error" not in answer for name in answer["computes"]}
        return [answer for answer in asked if "error" not in answer or answer["name"] not in told]

    async def _ask(self, name: str, up: bool, limit: asyncio.Semaphore) -> dict[str, Any]:
        try:
            async with limit:
                answer = await self._bus.call(Context(), f"host.{name}", "picture", timeout_s=_ANSWER_S)
            if isinstance(answer, dict) and answer.get("name") == name:
                return answer
            reason = "it has no host process"
        except CloudseedError as exc:
            reason = str(exc)
        return {"name": name, "computes": [name], "error": reason, "services_up": up}
