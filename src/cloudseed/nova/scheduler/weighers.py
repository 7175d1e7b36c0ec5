"""Weighers: which of the hosts that may be used is best.  Pure, over columns; upstream's RAM, CPU and disk weighers.

Each column is normalized to 0..1 over the candidates and added up, so servers spread over the cloud.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from cloudseed.nova.scheduler.columns import Floats, HostColumns

SOFT = 10.0  # more than all other weighers together


def _normalized(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return np.zeros_like(values) if high == low else (values - low) / (high - low)


def weigh(hosts: HostColumns) -> Floats:
    """One weight a host; the more the better."""
    return (_normalized(hosts.free_memory_mib) + _normalized(hosts.free_vcpus)
            + _normalized(hosts.free_disk_gib))


def togetherness(hosts: HostColumns, group: Mapping[str, Any] | None) -> Floats:
    """Upstream's soft affinity weighers: a host counts more, or less, the more members of the group it has."""
    policy = group["policy"] if group is not None else ""
    if group is None or policy not in ("soft-affinity", "soft-anti-affinity"):
        return np.zeros(len(hosts))
    members = _normalized(np.array([float(group["hosts"].get(host, 0)) for host in hosts.hosts]))
    return members * SOFT if policy == "soft-affinity" else -members * SOFT


def ranked(hosts: HostColumns, generator: random.Random, group: Mapping[str, Any] | None = None) -> list[int]:
    """Row numbers, best first; equals in random order, so that boots side by side do not all want the same host.

    A group's soft policy outweighs what is free on the hosts, which only decides among equals.
    """
    weights = weigh(hosts) + togetherness(hosts, group)
    order = list(range(len(hosts)))
    generator.shuffle(order)
    order.sort(key=lambda row: -weights[row])
    return order
