"""Candidate hosts as columns (NumPy): what filters and weighers look at, so that 10,000 hosts cost milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Objects = NDArray[np.object_]


@dataclass(frozen=True)
class HostColumns:
    """Hosts, one a row.  `zones`, `types`, `addresses`: texts; `machine_types`: frozensets of texts."""

    node_ids: Objects
    hosts: Objects
    nodes: Objects
    zones: Objects
    types: Objects
    machine_types: Objects
    addresses: Objects
    up: Bools
    enabled: Bools
    free_vcpus: Floats  # by placement, with overcommitment
    free_memory_mib: Floats
    free_disk_gib: Floats

    def __len__(self) -> int:
        return len(self.hosts)

    def take(self, rows: NDArray[np.intp]) -> HostColumns:
        """These rows, in this order."""
        return HostColumns(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class HostPicture:
    """All hosts, made once for each change of them; `candidates` picks those that placement offers."""

    def __init__(self, hosts: Sequence[Mapping[str, Any]]) -> None:
        self._row = {host["node_id"]: number for number, host in enumerate(hosts)}
        self._named = {name: host["node_id"] for host in hosts for name in (host["node"], host["host"])}
        zeros = np.zeros(len(hosts))
        self._all = HostColumns(
            node_ids=_texts(host["node_id"] for host in hosts), hosts=_texts(host["host"] for host in hosts),
            nodes=_texts(host["node"] for host in hosts), zones=_texts(host["zone"] for host in hosts),
            types=_texts(host["type"] for host in hosts),
            machine_types=_texts(frozenset(host["machine_types"]) for host in hosts),
            addresses=_texts(host.get("ip") or "" for host in hosts),
            up=np.array([host["up"] for host in hosts], dtype=bool),
            enabled=np.array([host["enabled"] for host in hosts], dtype=bool),
            free_vcpus=zeros, free_memory_mib=zeros, free_disk_gib=zeros)

    def __len__(self) -> int:
        return len(self._all)

    def knows(self, node_id: str) -> str | None:
        """The host of a node; None for an unknown one."""
        row = self._row.get(node_id)
        return None if row is None else self._all.hosts[row]

    def node_of(self, host: str | None, node: str | None) -> str | None:
        """The id of the node that a host, or a node, is asked for by name; None for an unknown one, or for neither."""
        name = host or node
        return self._named.get(name) if name else None

    def candidates(self, summaries: Mapping[str, Mapping[str, Any]]) -> HostColumns:
        """The hosts among placement's provider summaries, with what they have free."""
        known = [(self._row[node_id], summary["resources"]) for node_id, summary in summaries.items()
                 if node_id in self._row]
        columns = self._all.take(np.array([row for row, _ in known], dtype=np.intp))
        free = {name: np.array([_free(resources, name) for _, resources in known])
                for name in ("VCPU", "MEMORY_MB", "DISK_GB")}
        values = {field.name: getattr(columns, field.name) for field in fields(columns)}
        return HostColumns(**{**values, "free_vcpus": free["VCPU"], "free_memory_mib": free["MEMORY_MB"],
                              "free_disk_gib": free["DISK_GB"]})


def _free(resources: Mapping[str, Mapping[str, int]], name: str) -> float:
    stock = resources.get(name)
    return float(stock["capacity"] - stock["used"]) if stock else 0.0


def _texts(values: Any) -> Objects:
    items = list(values)
    column = np.empty(len(items), dtype=object)
    column[:] = items
    return column
