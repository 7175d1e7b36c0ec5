"""The actions of a server, a module a subject.

Each module has `HANDLERS`: the action's name in the body -> a coroutine of (nova, request, response, server id,
the action's value).  The answer is an empty 202 unless the handler says otherwise.  `GONE` names actions of old
microversions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova.api.actions import (
    addresses,
    consoles,
    guests,
    locks,
    power,
    rebuild,
    rescue,
    resize,
    security_groups,
    shelve,
    snapshots,
    suspend,
)

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Handler = Callable[["Nova", Request, Response, str, Any], Awaitable[None]]

MODULES = (addresses, consoles, guests, locks, power, rebuild, rescue, resize, security_groups, shelve, snapshots,
           suspend)
HANDLERS: dict[str, Handler] = {
    name: handler for module in MODULES for name, handler in module.HANDLERS.items()}
