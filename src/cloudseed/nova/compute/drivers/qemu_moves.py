"""QEMU machines that come from other hosts and go to them; the host processes speak with one another."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from cloudseed.host.client import HostClient
from cloudseed.host.errors import HostError
from cloudseed.host.records import Door as HostDoor
from cloudseed.host.records import MachineSpec, SendStatus
from cloudseed.kernel.errors import Unavailable
from cloudseed.nova.compute.drivers.base import CachedImage, Door, Progress
from cloudseed.nova.compute.errors import HostFailed
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.spec import ServerSpec

T = TypeVar("T")


class QemuMoves(ABC):
    """What `QemuDriver` does for moves."""

    _name: str
    _host: HostClient

    @abstractmethod
    async def _ask(self, doing: str, command: Awaitable[T]) -> T: ...

    @abstractmethod
    async def prepare(self, spec: ServerSpec, image: CachedImage | None, config_drive: dict[str, bytes]) -> None: ...

    @abstractmethod
    async def fit_disks(self, spec: ServerSpec) -> None: ...

    @abstractmethod
    def _machine_spec(self, spec: ServerSpec, vifs: list[Vif]) -> MachineSpec: ...

    async def _check_not_here(self, server_id: str) -> None:
        """Computes that share a host share its machines' files: there is nothing that could move between them."""
        for machine in await self._ask("list machines", self._host.list_machines()):
            if machine.server_id == server_id and machine.owner != self._name:
                raise HostFailed(host=self._name, doing=f"take server {server_id}",
                                 reason="it runs on this very machine, for another compute")

    async def receive_disks(self, spec: ServerSpec, image: CachedImage | None,
                            config_drive: dict[str, bytes]) -> Door:
        await self._check_not_here(spec.id)
        return _door(await self._ask(f"expect server {spec.id}", self._host.receive_disks(spec.id, self._name)))

    async def send_disks(self, spec: ServerSpec, door: Door) -> None:
        await self._send(spec, door, self._host.send_disks)

    async def settle_disks(self, spec: ServerSpec) -> None:
        await self._ask(f"take the disks of server {spec.id}", self._host.settle_disks(spec.id))
        await self.fit_disks(spec)

    async def receive_live(self, spec: ServerSpec, vifs: list[Vif], image: CachedImage | None,
                           config_drive: dict[str, bytes]) -> Door:
        await self._check_not_here(spec.id)
        await self.prepare(spec, image, config_drive)
        return _door(await self._ask(f"expect server {spec.id}", self._expect(self._machine_spec(spec, vifs))))

    async def _expect(self, machine: MachineSpec) -> HostDoor:
        try:
            return await self._host.receive_machine(machine)
        except HostError as exc:
            if exc.code == "not_found":  # its ports are not wired yet
                raise HostError("unavailable", exc.message) from exc
            raise

    async def send_live(self, spec: ServerSpec, door: Door) -> None:
        await self._send(spec, door, self._host.send_machine)

    async def _send(self, spec: ServerSpec, door: Door,
                    send: Callable[[str, HostDoor], Awaitable[SendStatus]]) -> None:
        """Ask until all of it is there; who gives up waiting gives up sending."""
        try:
            while not (await self._ask(f"send server {spec.id}", send(spec.id, HostDoor(
                    address=door.address, port=door.port, ticket=door.ticket)))).done:
                pass  # it answers when it is done, or after seconds
        except asyncio.CancelledError:
            await asyncio.shield(self._stop_sending(spec.id))
            raise

    async def _stop_sending(self, server_id: str) -> None:
        try:
            await self._host.take_back(server_id, paused=True)
        except HostError:
            pass  # the undo of this step says the same again

    async def run_here(self, spec: ServerSpec, *, paused: bool) -> None:
        await self._ask(f"let server {spec.id} go on", self._host.run_machine(spec.id, paused=paused))

    async def take_back(self, server_id: str, *, paused: bool) -> None:
        await self._ask(f"let server {server_id} go on", self._host.take_back(server_id, paused=paused))

    async def hurry(self, server_id: str) -> None:
        await self._ask(f"hurry server {server_id}", self._host.hurry_machine(server_id))

    async def progress(self, server_id: str) -> Progress | None:
        try:
            status = await self._host.sending(server_id)
        except HostError as exc:
            if exc.code == "not_found":
                return None
            raise Unavailable(f"The host process of {self._name} does not answer: {exc.message}") from exc
        fields: dict[str, Any] = msgspec.structs.asdict(status)
        del fields["done"]
        return Progress(**fields)


def _door(door: HostDoor) -> Door:
    return Door(address=door.address, port=door.port, ticket=door.ticket)

