"""Which networks a host cannot wire for good: what fails a few times in a row is no passing weakness."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from cloudseed.host.records import NetworkWish

TRIES = 3
LASTING_S = 2.0
FIRST_S, LONGEST_S = 1.0, 10.0


class Failures:
    """Counts failures in a row, and remembers whose ports were given up, so that it is said once."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, int]] = {}  # by network: when it began, how often it was seen
        self._told: set[str] = set()

    def count(self, wish: Sequence[NetworkWish], errors: Mapping[str, str]) -> list[str]:
        """Take one look's errors (by network); ports of servers here that are given up now."""
        moment = time.monotonic()
        self._since = {network_id: (self._since.get(network_id, (moment, 0))[0],
                                    self._since.get(network_id, (moment, 0))[1] + 1) for network_id in errors}
        lasting = {network_id for network_id, (since, tries) in self._since.items()
                   if tries >= TRIES and moment - since >= LASTING_S}
        ports = {port.port_id for network in wish if network.network_id in lasting
                 for port in network.ports if port.local}
        new = sorted(ports - self._told)
        self._told = ports
        return new

    def again_s(self) -> float:
        """When to look again: soon at first, then ever later."""
        tries = min((tries for _, tries in self._since.values()), default=1)
        return min(FIRST_S * 1.5 ** max(0, tries - TRIES), LONGEST_S)
