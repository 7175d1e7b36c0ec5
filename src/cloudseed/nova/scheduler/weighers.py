"""Weighers: which of the hosts that may be used is best.  Pure, over columns; upstream's RAM, CPU and disk weighers.

Each column is normalized to 0..1 over the candidates and added up, so servers spread over the cloud.
"""

from __future__ import annotations

import random

import numpy as np

from cloudseed.nova.scheduler.columns import Floats, HostColumns


def _normalized(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return np.zeros_like(values) if high == low else (values - low) / (high - low)


def weigh(hosts: HostColumns) -> Floats:
    """One weight a host; the more the better."""
    return (_normalized(hosts.free_memory_mib) + _normalized(hosts.free_vcpus)
            + _normalized(hosts.free_disk_gib))


def ranked(hosts: HostColumns, generator: random.Random) -> list[int]:
    """Row numbers, best first; equals in random order, so that boots side by side do not all want the same host."""
    weights = weigh(hosts)
    order = list(range(len(hosts)))
    generator.shuffle(order)
    order.sort(key=lambda row: -weights[row])
    return order
