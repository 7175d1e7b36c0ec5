"""What exists on this host and carries our name, read from the system: the ledger's view, and purge's list."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cloudseed.host import (
    advertising,
    dhcp,
    external,
    netns,
    networks,
    overlay,
    processes,
    routers,
    strays,
    volume_files,
)
from cloudseed.host.errors import HostError
from cloudseed.host.exporters import Exporter
from cloudseed.host.paths import StatePaths, namespace_name, router_namespace
from cloudseed.host.records import InventoryReport


def read(cloud: str, paths: StatePaths) -> InventoryReport:
    """Everything of ours: namespaces, taps, processes, directories and files."""
    ids = [p.name for p in sorted(paths.dhcp.iterdir())] if paths.dhcp.is_dir() else []
    machines = [p.name for p in sorted(paths.machines.iterdir())] if paths.machines.is_dir() else []
    namespaces = netns.names(f"{cloud}-net-")
    taps, tunnels = {}, {}
    for name in namespaces:
        try:
            taps[name] = networks.taps(name)
            number = overlay.tunnel(name)
        except HostError:
            taps[name], number = [], None
        if number is not None:
            tunnels[name] = number
    dnsmasq = {i: record.pid for i in ids if (record := dhcp.running(paths.dhcp / i)) is not None}
    running = {
        server_id: record.pid
        for server_id in machines
        if (record := processes.load(paths.machines / server_id / "pid")) is not None and record.alive
    }
    router_ids = [p.name for p in sorted(paths.routers.iterdir())] if paths.routers.is_dir() else []
    by_name = {router_namespace(cloud, i): i for i in router_ids}
    router_names = netns.names(f"{cloud}-rtr-")
    router_links = {}
    for name in router_names:
        try:
            router_links[name] = routers.legs(name)
        except HostError:
            router_links[name] = []
    radvd = {i: record.pid for i in router_ids if (record := advertising.running(paths.routers / i)) is not None}
    found = strays.in_namespaces([*namespaces, *router_names])
    found += [(pid, "qemu") for pid in strays.machines(machines).values()]
    volumes = volume_files.volume_ids(paths)
    daemons = [Exporter(volume_id, read_only).name for volume_id in volumes for read_only in (False, True)]
    exporters = {}
    for volume_id in volumes:
        for read_only in (False, True):
            record = processes.load(paths.volume(volume_id).exporter(read_only).pid)
            if record is not None and record.alive:
                exporters[Exporter(volume_id, read_only).name] = record.pid
    found += [(pid, "qemu-storage-daemon") for pid in strays.exporters(daemons).values()]
    known = {*dnsmasq.values(), *running.values(), *radvd.values(), *exporters.values()}
    for router_id in radvd:
        known |= advertising.helpers(paths.routers / router_id, (pid for pid, name in found if name == "radvd"))
    return InventoryReport(
        namespaces=namespaces,
        networks={namespace_name(cloud, i): i for i in ids},
        taps=taps,
        tunnels=tunnels,
        dnsmasq_pids=dnsmasq,
        machine_pids=running,
        machines=machines,
        images=sorted(p.name.removesuffix(".info") for p in paths.images.glob("*.info")),
        volumes=volumes,
        snapshots=volume_files.snapshot_ids(paths),
        packs=volume_files.pack_ids(paths),
        exports={a: volume_id for volume_id in volumes for a in volume_files.load_exports(paths, volume_id)},
        exporter_pids=exporters,
        files=_files(paths),
        routers={name: by_name.get(name, "") for name in router_names},
        router_links=router_links,
        radvd_pids=radvd,
        host_links=external.link_names(cloud),
        host_rules=external.has_rules(cloud),
        underlay_rules=overlay.has_rules(cloud),
        strays=[f"{pid} {command}" for pid, command in sorted(found) if pid not in known],
    )


def purge(cloud: str, paths: StatePaths) -> None:
    """End every process of ours and remove every namespace and file.

    The host process ends its machines in order before; those that are found here lost theirs.
    """
    report = read(cloud, paths)
    recorded = [*report.machine_pids.values(), *report.exporter_pids.values()]
    for pid in [*recorded, *(int(text.split()[0]) for text in report.strays)]:
        strays.end(pid)
    routers.remove_others(cloud, paths, ())
    networks.remove_others(cloud, paths, set())
    external.remove_others(cloud, set())
    external.leave_segment(cloud)
    overlay.remove_rules(cloud)
    external.stop_forwarding(cloud)
    for directory in (*_listed(paths), paths.volumes, paths.cache):
        shutil.rmtree(directory, ignore_errors=True)


def _listed(paths: StatePaths) -> tuple[Path, ...]:
    """The directories whose files the report lists."""
    return paths.machines, paths.images, paths.outgoing, paths.dhcp, paths.routers


def _files(paths: StatePaths) -> list[str]:
    found = []
    for top in _listed(paths):
        for directory, _, names in os.walk(top):
            found += [str((Path(directory) / name).relative_to(paths.root)) for name in names]
    return sorted(found)
