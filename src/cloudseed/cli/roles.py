"""Which parts of the cloud a process runs: from the names of roles and services to what builds them.

A role is what a machine does (`control`, `compute`, `network`, `storage`).  A service's name stands for its control
part.  This table is the one place that knows all parts; no part knows which others run in its process.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable
from typing import Any

from cloudseed.kernel.runtime import Environment, Service

Builder = Callable[[Environment], Service]
CONTROL = ("keystone", "placement", "swift", "glance", "cinder", "neutron", "nova", "dashboard")
ROLES: dict[str, tuple[str, ...]] = {
    "control": CONTROL,
    "storage": ("cinder-volume", "cinder-backup"),
    "network": ("neutron-l2-agent", "neutron-l3-agent"),
    "compute": ("neutron-l2-agent", "neutron-dhcp-agent", "nova-compute"),
}
_AGENTS = ("neutron-l2-agent", "neutron-dhcp-agent", "neutron-l3-agent")  # one loop has those of a process
# in the order in which they start: who is asked comes before who asks
_MODULES = {
    **{name: f"cloudseed.{name}.service" for name in CONTROL},
    "cinder-volume": "cloudseed.cinder.volume.service", "cinder-backup": "cloudseed.cinder.backup.service",
    **dict.fromkeys(_AGENTS, "cloudseed.neutron.agent.service"),
    "nova-compute": "cloudseed.nova.compute.service",
}
# service -> its parts on hosts, which speak with it over the bus
ON_HOSTS = {"cinder": ROLES["storage"], "neutron": _AGENTS, "nova": ("nova-compute",)}
NAMES = (*ROLES, *_MODULES)


class UnknownRole(ValueError):
    """No role, service or part has this name; the text says which there are."""


def parts_of(names: Iterable[str]) -> list[str]:
    """The parts that roles, services and parts by these names are, in their order of start.  Raises UnknownRole."""
    wanted: set[str] = set()
    for name in names:
        if name not in NAMES:
            raise UnknownRole(f"{name!r} is no role and no service: {', '.join(NAMES)}")
        wanted.update(ROLES.get(name, (name,)))
    return [part for part in _MODULES if part in wanted]


def whole(services: Iterable[str] = CONTROL) -> list[str]:
    """The parts of whole services: also what they have on hosts.  This is a cloud in one process."""
    return parts_of(part for service in services for part in (service, *ON_HOSTS.get(service, ())))


def speaks_with_others(parts: Iterable[str]) -> bool:
    """Whether a process of these parts needs a broker: what a service has on hosts is, wholly or partly, elsewhere."""
    parts = set(parts)
    return any(0 < len(parts & {service, *there}) <= len(there) for service, there in ON_HOSTS.items())


def needed_secrets(parts: Iterable[str]) -> tuple[set[str], bool]:
    """The service users that these parts log in as; and whether they need all secrets, as control parts do."""
    parts = set(parts)
    users = {user for part, user in (("nova-compute", "nova"), ("cinder-volume", "cinder"),
                                     ("cinder-backup", "cinder")) if part in parts}
    return users, not parts.isdisjoint(CONTROL)


def builders(parts: Iterable[str]) -> list[Builder]:
    """What builds these parts."""
    parts, found = list(parts), dict[str, Builder]()
    for part in parts:
        module = _MODULES[part]
        if module in found:
            continue
        build: Any = importlib.import_module(module).build
        if part in _AGENTS:
            build = functools.partial(build, parts=[name for name in parts if name in _AGENTS])
        found[module] = build
    return list(found.values())
