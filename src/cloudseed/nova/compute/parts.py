"""What the verbs of a host share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cloudseed.kernel.http.client import ServiceSession
from cloudseed.nova.compute.drivers.base import Driver
from cloudseed.nova.compute.images import ImageCache
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.compute.plugging import Plugs
from cloudseed.nova.compute.publishing import Publisher
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.compute.worker import Work

Verb = Callable[[Work], Awaitable[Any]]


@dataclass(frozen=True)
class HostParts:
    """One host's parts.  `network_host` is the name under which neutron's agent of this machine is known."""

    host: str
    network_host: str
    address: str
    node_id: str
    driver: Driver
    session: ServiceSession
    images: ImageCache | None
    plugs: Plugs
    publisher: Publisher
    networks: Networks
    volumes: Volumes
    vendor_data: dict[str, Any]
