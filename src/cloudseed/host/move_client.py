"""The control process's calls about machines that move, as in `client.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from cloudseed.host import records
from cloudseed.host.records import Door, MachineSpec, SendStatus

_T = TypeVar("_T")


class MoveClient(ABC):
    """Every method raises HostError and may be called twice."""

    @abstractmethod
    async def _ask(self, command: records.AnyCommand, answer: type[_T], timeout_s: float | None = None) -> _T: ...

    @abstractmethod
    async def _tell(self, command: records.AnyCommand, timeout_s: float | None = None) -> None: ...

    async def receive_disks(self, server_id: str, owner: str) -> Door:
        """Expect the files of a machine that is off."""
        return await self._ask(records.ReceiveDisks(server_id=server_id, owner=owner), Door)

    async def settle_disks(self, server_id: str) -> None:
        """They have come; `conflict` when they have not."""
        await self._tell(records.SettleDisks(server_id=server_id))

    async def receive_machine(self, spec: MachineSpec) -> Door:
        """Expect a machine that runs."""
        return await self._ask(records.ReceiveMachine(spec=spec), Door)

    async def send_disks(self, server_id: str, door: Door) -> SendStatus:
        """Begin to send the files of a machine that is off, or tell how far that is."""
        return await self._ask(records.SendDisks(server_id=server_id, door=door), SendStatus)

    async def send_machine(self, server_id: str, door: Door) -> SendStatus:
        """Begin to send a machine that runs, or tell how far that is."""
        return await self._ask(records.SendMachine(server_id=server_id, door=door), SendStatus)

    async def sending(self, server_id: str) -> SendStatus:
        """How far a machine is on its way."""
        return await self._ask(records.GetSending(server_id=server_id), SendStatus)

    async def hurry_machine(self, server_id: str) -> None:
        """Let a machine on its way stand still."""
        await self._tell(records.HurryMachine(server_id=server_id))

    async def take_back(self, server_id: str, *, paused: bool) -> None:
        """Send no more, and let the machine go on here."""
        await self._tell(records.TakeBack(server_id=server_id, paused=paused))

    async def run_machine(self, server_id: str, *, paused: bool) -> None:
        """Let a machine that has come go on."""
        await self._tell(records.RunMachine(server_id=server_id, paused=paused))
