"""What a host does to a server's power: on, off, restart, and telling of a machine that is off."""

from __future__ import annotations

import asyncio
import time

from cloudseed.kernel.errors import Unavailable
from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.spec import ServerSpec, decode_spec
from cloudseed.nova.compute.volume_work import with_connections
from cloudseed.nova.compute.worker import Work

PRESS_AGAIN_S = 10.0  # a guest that was still booting did not hear the first press


class PowerWork:
    """The verbs of power."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self.verbs: dict[Kind, Verb] = {
            Kind.POWER_ON: self._power_on, Kind.POWER_OFF: self._power_off, Kind.REBOOT: self._reboot,
            Kind.SYNC_POWER: self._sync_power}

    async def _power_on(self, work: Work) -> None:
        await self._start(work, decode_spec(work.arguments["spec"]))

    async def _start(self, work: Work, spec: ServerSpec) -> None:
        """With its volumes as cinder exports them now."""
        await self._parts.driver.start(await with_connections(self._parts, work.ctx, spec), spec.network_info)

    async def _power_off(self, work: Work) -> None:
        await self.power_off(work, work.arguments["soft_timeout_s"])

    async def power_off(self, work: Work, soft_timeout_s: float) -> None:
        """The power button first, more than once; the plug when the guest has not gone within `soft_timeout_s`."""
        until = time.monotonic() + soft_timeout_s
        try:
            while (left_s := until - time.monotonic()) > 0 and await self._runs(work.server_id):
                await self._parts.driver.stop(work.server_id, hard=False)
                if await work.wait(self._off(work.server_id, min(left_s, PRESS_AGAIN_S))):
                    return
        except Unavailable:
            pass  # a machine whose monitor is lost can still be ended
        await self._parts.driver.stop(work.server_id, hard=True)

    async def _reboot(self, work: Work) -> None:
        spec, given = decode_spec(work.arguments["spec"]), work.arguments
        machine = await self._parts.driver.machine(spec.id)
        if machine is not None and machine.running and machine.start != given["start"]:
            return  # restarted since the conductor looked: we were asked before
        await self.power_off(work, 0 if given["hard"] else given["soft_timeout_s"])
        await self._start(work, spec)

    async def _runs(self, server_id: str) -> bool:
        machine = await self._parts.driver.machine(server_id)
        return machine is not None and machine.running

    async def _off(self, server_id: str, timeout_s: float) -> bool:
        """Whether the machine is off before the time is up."""
        until, pause = time.monotonic() + timeout_s, 0.02
        while await self._runs(server_id):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        return True

    async def _sync_power(self, work: Work) -> None:
        """Tell the conductor of a machine that is off; it knows whether that was wanted."""
        if not await self._runs(work.server_id):
            await self._parts.publisher.machine_off(work.ctx, work.server_id, work.arguments["reason"])
