"""QEMU machines that come from other hosts and go to them."""

from __future__ import annotations

from cloudseed.nova.compute.drivers.base import CachedImage, Door, Progress
from cloudseed.nova.compute.errors import HostFailed
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.spec import ServerSpec


class QemuMoves:
    """What `QemuDriver` does for moves: refused, until hosts have a channel to one another."""

    _name: str

    async def receive_disks(self, spec: ServerSpec, image: CachedImage | None,
                            config_drive: dict[str, bytes]) -> Door:
        raise self._alone(spec.id)

    async def send_disks(self, spec: ServerSpec, door: Door) -> None:
        raise self._alone(spec.id)

    async def settle_disks(self, spec: ServerSpec) -> None:
        raise self._alone(spec.id)

    async def receive_live(self, spec: ServerSpec, vifs: list[Vif], image: CachedImage | None,
                           config_drive: dict[str, bytes]) -> Door:
        raise self._alone(spec.id)

    async def send_live(self, spec: ServerSpec, door: Door) -> None:
        raise self._alone(spec.id)

    async def run_here(self, spec: ServerSpec, *, paused: bool) -> None:
        raise self._alone(spec.id)

    async def take_back(self, server_id: str, *, paused: bool) -> None:
        """Nothing was sent."""

    async def hurry(self, server_id: str) -> None:
        raise self._alone(server_id)

    async def progress(self, server_id: str) -> Progress | None:
        return None

    def _alone(self, server_id: str) -> HostFailed:
        return HostFailed(host=self._name, doing=f"move server {server_id}",
                          reason="it has no channel to other hosts (underlay_address is not set)")
