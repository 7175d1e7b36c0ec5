"""Filters: pure functions over columns, each says which hosts may stay.  Names are upstream's.

`apply` runs them in order and remembers which one removed how many, since "no valid host" without that is no
answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from cloudseed.nova.scheduler import host_query
from cloudseed.nova.scheduler.columns import Bools, HostColumns
from cloudseed.nova.scheduler.request import Request

Filter = Callable[[HostColumns, Request], Bools]


def compute_filter(hosts: HostColumns, request: Request) -> Bools:
    """The host's nova-compute reports in and nobody disabled it."""
    return hosts.up & hosts.enabled


def retry_filter(hosts: HostColumns, request: Request) -> Bools:
    """The host has not failed with this server before."""
    return ~_among(hosts, request.excluded)


def requested_host_filter(hosts: HostColumns, request: Request) -> Bools:
    """The host, or the node, that an admin asked for."""
    keep = np.ones(len(hosts), dtype=bool)
    if request.host is not None:
        keep &= hosts.hosts == request.host
    if request.node is not None:
        keep &= hosts.nodes == request.node
    return keep


def availability_zone_filter(hosts: HostColumns, request: Request) -> Bools:
    return np.ones(len(hosts), dtype=bool) if request.zone is None else np.asarray(hosts.zones == request.zone)


def compute_capabilities_filter(hosts: HostColumns, request: Request) -> Bools:
    """`capabilities:hypervisor_type` of the flavor; others are not known of any host here."""
    keep = np.ones(len(hosts), dtype=bool)
    for name, value in request.capabilities.items():
        wanted = value.removeprefix("s==").strip().lower()
        if name != "hypervisor_type":
            return np.zeros(len(hosts), dtype=bool)
        keep &= np.array([kind.lower() == wanted for kind in hosts.types], dtype=bool)
    return keep


def image_properties_filter(hosts: HostColumns, request: Request) -> Bools:
    """The hypervisor's kind and machine type that the image wants."""
    keep = np.ones(len(hosts), dtype=bool)
    if request.hypervisor_type is not None:
        wanted = request.hypervisor_type.lower()
        # images made for KVM run under QEMU whichever way it executes
        kinds = {"qemu", "kvm"} if wanted in ("qemu", "kvm") else {wanted}
        keep &= np.array([kind.lower() in kinds for kind in hosts.types], dtype=bool)
    if request.machine_type is not None:
        kind = "q35" if "q35" in request.machine_type else "pc" if request.machine_type.startswith("pc") \
            else request.machine_type
        keep &= np.array([kind in known for known in hosts.machine_types], dtype=bool)
    return keep


def server_group_anti_affinity_filter(hosts: HostColumns, request: Request) -> Bools:
    group = request.group
    if group is None or group["policy"] != "anti-affinity":
        return np.ones(len(hosts), dtype=bool)
    full = {host for host, members in group["hosts"].items() if members >= group["limit"]}
    return ~_among(hosts, full)


def server_group_affinity_filter(hosts: HostColumns, request: Request) -> Bools:
    group = request.group
    if group is None or group["policy"] != "affinity" or not group["hosts"]:
        return np.ones(len(hosts), dtype=bool)
    return _among(hosts, group["hosts"])


def same_host_filter(hosts: HostColumns, request: Request) -> Bools:
    """The hint same_host: a host of one of the servers that it names."""
    if request.same_hosts is None:
        return np.ones(len(hosts), dtype=bool)
    return _among(hosts, request.same_hosts)


def different_host_filter(hosts: HostColumns, request: Request) -> Bools:
    """The hint different_host: no host of the servers that it names."""
    return ~_among(hosts, request.different_hosts)


def json_filter(hosts: HostColumns, request: Request) -> Bools:
    """The hint query."""
    if not request.query_of_hosts:
        return np.ones(len(hosts), dtype=bool)
    rows = zip(hosts.free_memory_mib, hosts.free_disk_gib, hosts.hosts, hosts.nodes, hosts.types, strict=True)
    return np.array([host_query.holds(request.query_of_hosts, {
        "free_ram_mb": memory, "free_disk_mb": disk * 1024, "host": host, "hypervisor_hostname": node,
        "hypervisor_type": kind}) for memory, disk, host, node, kind in rows], dtype=bool)


def simple_cidr_affinity_filter(hosts: HostColumns, request: Request) -> Bools:
    """The hint build_near_host_ip."""
    if request.near is None:
        return np.ones(len(hosts), dtype=bool)
    return np.array([host_query.is_near(request.near, address) for address in hosts.addresses], dtype=bool)


def _among(hosts: HostColumns, names: Collection[str]) -> Bools:
    if not names:
        return np.zeros(len(hosts), dtype=bool)
    return np.array([host in names for host in hosts.hosts], dtype=bool)


FILTERS: tuple[tuple[str, Filter], ...] = (
    ("RetryFilter", retry_filter),
    ("RequestedHostFilter", requested_host_filter),
    ("ComputeFilter", compute_filter),
    ("AvailabilityZoneFilter", availability_zone_filter),
    ("ComputeCapabilitiesFilter", compute_capabilities_filter),
    ("ImagePropertiesFilter", image_properties_filter),
    ("DifferentHostFilter", different_host_filter),
    ("SameHostFilter", same_host_filter),
    ("JsonFilter", json_filter),
    ("SimpleCIDRAffinityFilter", simple_cidr_affinity_filter),
    ("ServerGroupAntiAffinityFilter", server_group_anti_affinity_filter),
    ("ServerGroupAffinityFilter", server_group_affinity_filter))
# a forced host is taken as it is, as upstream does: even disabled, but not when it failed or is another
FORCED = FILTERS[:2]


class Filtered(NamedTuple):
    """The hosts that are left, and how many there were before and after each filter."""

    hosts: HostColumns
    counts: list[tuple[str, int, int]]

    def explain(self) -> str:
        """For people: which filter removed the last host, after which."""
        counts = [item for item in self.counts if item[1] != item[2]]
        if not counts:
            return "There were no candidates."
        name, before, _ = counts[-1]
        earlier = "".join(f"; before it {n} removed {b - a} of {b}" for n, b, a in counts[:-1])
        return f"{name} removed the last {before} of {self.counts[0][1]} candidate hosts{earlier}."


def apply(hosts: HostColumns, request: Request) -> Filtered:
    """The hosts that pass every filter; stops at the first that leaves none."""
    counts = []
    for name, keep in FORCED if request.forced else FILTERS:
        before = len(hosts)
        mask = keep(hosts, request)
        if not mask.all():
            hosts = hosts.take(np.flatnonzero(mask))
        counts.append((name, before, len(hosts)))
        if not len(hosts):
            break
    return Filtered(hosts, counts)
