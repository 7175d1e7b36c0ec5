"""What `operations` measures, one module a service.  Each leaves behind what it made: the cloud is purged."""

from __future__ import annotations

from typing import NamedTuple

from bench.client import Client
from bench.cloud import BenchCloud
from bench.measure import Meter


class Bench(NamedTuple):
    """What a section works with, and the sizes that the command line chose."""

    cloud: BenchCloud
    client: Client  # logged in as the admin
    meter: Meter
    repeat: int  # of a cheap request; lists a quarter of it
    images: int
    image_mib: int
    ports: int
    servers: int
    providers: tuple[int, ...]

    @property
    def lists(self) -> int:
        return max(1, self.repeat // 4)
