"""A host without privileges: takes every network wish and calls it done, touching nothing.

For clouds without root (CI jobs, laptops, `driver = "fake"`) and for scale work.  It speaks HostClient's
language for networks and facts; it has no machines: the fake hypervisor keeps its own.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Sequence

from cloudseed.host.errors import HostError
from cloudseed.host.records import (
    ApplyResult,
    HostFacts,
    InventoryReport,
    MachineExited,
    MachineInfo,
    NetworkStatus,
    NetworkWish,
    PortStatus,
    RouterStatus,
    RouterWish,
)


class FakeHost:
    """In memory; what was applied last is in `networks` and `routers`, by id."""

    real = False

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.networks: dict[str, NetworkWish] = {}
        self.routers: dict[str, RouterWish] = {}

    async def get_facts(self) -> HostFacts:
        return HostFacts(
            hostname=platform.node(),
            kernel=platform.release(),
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            cpu_model="fake",
            memory_mib=1024,
            memory_available_mib=1024,
            disk_total_gib=1.0,
            disk_free_gib=1.0,
            qemu_version=None,
            accel="tcg",
            accel_reason="a fake host runs no machines",
            boot_id="fake",
            name=self.name,
        )

    async def apply_networks(
        self, networks: Sequence[NetworkWish], *, full: bool, routers: Sequence[RouterWish] = ()
    ) -> ApplyResult:
        """Every local port that is administratively up is up at once, and every router."""
        done = [RouterStatus(router_id=r.router_id, changed=self.routers.get(r.router_id) != r) for r in routers]
        self.routers = {**({} if full else self.routers), **{router.router_id: router for router in routers}}
        removed = [known for known in self.networks if full and known not in {n.network_id for n in networks}]
        statuses = [
            NetworkStatus(network_id=wish.network_id, changed=self.networks.get(wish.network_id) != wish)
            for wish in networks
        ]
        for network_id in removed:
            del self.networks[network_id]
        self.networks.update({wish.network_id: wish for wish in networks})
        ports = [
            PortStatus(port_id=port.port_id, up=port.admin_state_up)
            for wish in networks
            for port in wish.ports
            if port.local
        ]
        return ApplyResult(ports=ports, networks=statuses, routers=done, removed_namespaces=removed)

    async def list_machines(self) -> list[MachineInfo]:
        return []

    async def get_inventory(self) -> InventoryReport:
        return InventoryReport(
            namespaces=[], networks={}, taps={}, dnsmasq_pids={}, machine_pids={}, machines=[], images=[], files=[]
        )

    async def ensure_machine(self, spec: object) -> MachineInfo:
        raise HostError(
            "unavailable",
            "this cloud runs without the privileged host process, so it can start no "
            'real machines: run `sudo ./cloudseed up`, or use driver = "fake"',
        )

    async def watch(self) -> AsyncIterator[MachineExited]:
        await asyncio.Event().wait()
        yield MachineExited(server_id="", reason="")

    async def close(self) -> None:
        self.networks.clear()
