"""One compute host: topic `compute.<host>`."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.runtime import Environment


class ComputeService:
    """The machines of one host, driven by `driver`."""

    def __init__(self, env: Environment, host_name: str, driver: Any) -> None:
        self.host = host_name

    async def start(self) -> None:
        """Listen, report in, look after the machines."""

    async def stop(self) -> None:
        """Let go of the machines (they run on)."""


def build_computes(env: Environment) -> list[ComputeService]:
    """The computes of this process, as the configuration says: one, or `fake_hosts` of them."""
    return [ComputeService(env, env.config.host, None)]
