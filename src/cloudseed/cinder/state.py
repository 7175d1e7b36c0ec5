"""What cinder's functions stand on, within one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.config import Config
from cloudseed.kernel.db import Database
from cloudseed.kernel.hearing import Hearing
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.operations import Engine
from cloudseed.kernel.policy import Policy

if TYPE_CHECKING:
    from cloudseed.cinder.managers import Managers

DEFAULT_TYPE = "__DEFAULT__"
DEFAULT_ZONE = "nova"  # upstream's storage_availability_zone


@dataclass
class Cinder:
    """cinder-api (and cinder-scheduler, which shares its database).  The managers are reached over the bus only."""

    config: Config
    db: Database
    policy: Policy
    engine: Engine
    session: ServiceSession
    bus: Bus
    scheduler_bus: Bus
    managers: Managers
    hearing: Hearing = field(init=False)

    def __post_init__(self) -> None:
        self.hearing = Hearing(self.db.now, self.config.service_down_s)
