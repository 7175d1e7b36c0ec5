"""What a cloud of real guests goes through while it is harmed: guests that ping one another, and every disk watched.

A ping may be lost only where the harm is the network's own: to and from a host that has no power, or whose link to
the others is down.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from bench import harm
from bench.cloud import BenchCloud
from bench.load import COMPUTE, Customer, status_of
from bench.pings import Guest, Guests, Heard, Pings
from bench.watcher import Watcher
from cloudseed.cli.api import ApiError

_CUTS = ("power-off", "evacuate", "unplug")  # harm to the network itself
_PATIENCE_S = 240.0


class DataPlane:
    """A guest on each host.  What is wrong is in `wrong`; `figures` has what each kind of harm did to pings."""

    def __init__(self, cloud: BenchCloud, site: harm.Site, customer: Customer) -> None:
        self._customer = customer
        places = site.shape.places(cloud.state)
        self._watcher = Watcher(cloud.state, [place.namespace for place in places])
        self._watcher.start()
        self.guests = Guests(cloud.api(), [place.name for place in places])
        self._pings = Pings(cloud.state, self.guests)
        self._pings.start()
        self._heard: dict[str, list[Heard]] = {}
        self._wrong: list[str] = []
        self._pings.settle(seconds=_PATIENCE_S)

    @property
    def wrong(self) -> list[str]:
        return self._wrong + self._watcher.wrong

    @contextmanager
    def harmed(self, turn: harm.Turn) -> Iterator[None]:
        """Around one turn, its mending included."""
        hurt = f"host-{turn.host}" if turn.kind in _CUTS else ""
        self._follow()
        before, others = self._pings.now(), [guest for guest in self.guests.every if guest.host != hurt]
        yield
        if len(others) > 1:
            self._settle(f"{turn}", others)
            heard = self._pings.since(before, others)
            self._heard.setdefault(turn.kind, []).append(heard)
            self._wrong += [f"{turn}: pings from {text}" for text in heard.wrong]
        if hurt:
            self._settle(f"{turn}, mended", ())

    def _settle(self, when: str, among: Collection[Guest]) -> None:
        """Until they answer one another; those that have lost their power are started."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            if not among:
                self._follow(start=True)
            try:
                self._pings.settle(among, seconds=5.0)
            except TimeoutError as exc:
                if time.monotonic() > until:
                    self._wrong.append(f"{when}: {exc}, and that for {_PATIENCE_S:g} s")
                    return
            else:
                return

    def _follow(self, start: bool = False) -> None:
        """Where the guests are now; `start` those that are off."""
        for guest in self.guests.every:
            server: dict[str, Any] | None = self._customer.server(guest.server_id)
            if server is None:
                self._wrong.append(f"server {guest.server_id}, which nobody deleted, is gone")
                continue
            guest.host = str(server["OS-EXT-SRV-ATTR:host"])
            if start and server["status"] == "SHUTOFF" and server["OS-EXT-STS:task_state"] is None:
                try:
                    self._customer.ask("POST", f"{COMPUTE}/servers/{guest.server_id}/action", {"os-start": None})
                except ApiError as exc:
                    if status_of(exc) != 409:
                        raise

    def figures(self) -> dict[str, float]:
        """Of each kind of harm, and of all: pings sent and lost, and the longest silence."""
        found = {}
        every = [one for several in self._heard.values() for one in several]
        for name, heard in {"": every, **self._heard}.items():
            prefix = f"{name.replace('-', '_')}_" if name else ""
            found |= {f"{prefix}pings": float(sum(one.sent for one in heard)),
                      f"{prefix}pings_lost": float(sum(one.lost for one in heard)),
                      f"{prefix}pings_dropped_by_guests": float(sum(one.dropped for one in heard)),
                      f"{prefix}silence_s": round(max((one.silent_s for one in heard), default=0.0), 1)}
        return found | {"watcher_looks": float(self._watcher.looks),
                        "machines_watched": float(len(self._watcher.machines_seen))}

    def close(self) -> None:
        self._pings.stop()
        self._watcher.stop()
