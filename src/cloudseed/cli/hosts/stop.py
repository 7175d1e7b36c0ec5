"""Removing a cloud of many hosts from this machine, and killing one of its hosts as a power cut would."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from cloudseed.cli import control, processes
from cloudseed.cli.hosts import servers, shape, start, topology
from cloudseed.cli.hosts.places import Place
from cloudseed.cli.processes import HostProcesses, Process, Processes, host_socket
from cloudseed.host import inventory, netns, strays
from cloudseed.host.client import HostClient
from cloudseed.host.paths import StatePaths
from cloudseed.kernel.config import Config


def purge(config: Config, made: shape.Shape) -> None:
    """End every process and remove every namespace, link and rule; the state directory is left to the caller."""
    state = config.state_path
    known, hosts = processes.load(state), made.places(state)
    processes.end_together([pair.agent for pair in known.hosts.values()])
    processes.end(known.control)
    topology.build(made, hosts, nat=False)  # a host process needs its host
    for host in hosts:
        if host.state.exists():
            start.start_host_process(config, made, host, known)  # machines may have outlived it
            asyncio.run(_purge_host(host))
    control.stop(state)
    servers.clean(state, made)
    topology.remove(made, hosts)


async def _purge_host(host: Place) -> None:
    client = HostClient(host_socket(host.state))
    try:
        await client.purge()
    finally:
        await client.close()


def kill(host: Place, known: Processes) -> None:
    """kill -9 of every process of the host, its machines too, and no namespace of it is left: its power is gone."""
    pair = known.hosts.get(host.name, HostProcesses())
    for process in (pair.agent, pair.host):  # first those that would start others again
        if process is not None:
            _kill(process)
    found = inventory.read(host.cloud, StatePaths(host.state))
    pids = {*found.machine_pids.values(), *found.dnsmasq_pids.values(), *found.radvd_pids.values(),
            *found.exporter_pids.values(), *(int(text.split()[0]) for text in found.strays),
            *(pid for pid, _ in strays.in_namespaces([host.namespace, *netns.names(f"{host.cloud}-")]))}
    for pid in pids:
        _kill(Process(pid, processes.start_time(pid)))
    topology.remove_host(host)


def find(state: Path, name: str) -> tuple[shape.Shape, Place]:
    """The host of that name.  Raises LookupError with what there is."""
    made = shape.load(state)
    if made is None:
        raise LookupError(f"the cloud in {state} has no hosts of its own (up --hosts makes them)")
    hosts = made.places(state)
    for host in hosts:
        if host.name == name:
            return made, host
    raise LookupError(f"there is no host {name!r}: {', '.join(host.name for host in hosts)}")


def _kill(process: Process) -> None:
    if process.alive():
        os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while process.alive() and time.monotonic() < until:
        processes.reap(process.pid)
        time.sleep(0.01)
