"""Keeps the machines of a host as the conductor wishes them: reads the whole wish, compares, mends.

`decide` is pure and small on purpose; every act goes through the server's own task.  A server with an operation
under way is left to it, and so is what a server that moves has on either host.  Only the machine of a server that
the conductor calls deleted or elsewhere is removed: a machine that nobody knows is reported and left alone, since a
lost database must not destroy what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from cloudseed.nova.compute.drivers.base import Machine
from cloudseed.nova.server_states import PowerState


class Mend(StrEnum):
    START = "start"  # it ran when the host went down
    PAUSE = "pause"  # its guest goes on though the user paused it
    STOP = "stop"  # it runs though the user stopped it
    TELL_OFF = "tell_off"  # it ended by itself
    REMOVE = "remove"
    UNKNOWN = "unknown"  # nobody knows the server: say so, touch nothing


class Action(NamedTuple):
    mend: Mend
    server_id: str
    wish: Mapping[str, Any] | None = None


def decide(machines: Iterable[Machine], wish: Iterable[Mapping[str, Any]], fates: Mapping[str, str], *,
           rebooted: bool) -> list[Action]:
    """What to do.  `machines` must have been read before `wish` (else a server made in between looks unknown);
    `rebooted`: the host has booted since its machines were looked after."""
    here = {machine.server_id: machine for machine in machines}
    actions = []
    for server in wish:
        machine = here.pop(server["id"], None)
        if server["busy"]:
            continue
        runs = machine is not None and machine.running
        match server["vm_state"], runs:
            case "active" | "rescued", False if rebooted:
                actions.append(Action(Mend.START, server["id"], server))
            case "active" | "paused", False:
                actions.append(Action(Mend.TELL_OFF, server["id"], server))
            case "paused", True if machine is not None and not machine.paused:
                actions.append(Action(Mend.PAUSE, server["id"], server))
            case "resized", False if rebooted and server["power_state"] == PowerState.RUNNING:
                actions.append(Action(Mend.START, server["id"], server))
            case "stopped", True:
                actions.append(Action(Mend.STOP, server["id"], server))
            case _:
                pass
    for server_id in here:
        fate = fates.get(server_id, "unknown")
        if fate == "moving":
            continue
        actions.append(Action(Mend.UNKNOWN if fate == "unknown" else Mend.REMOVE, server_id))
    return actions
