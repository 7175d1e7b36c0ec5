"""What a rule says, how rules are registered, and how they look at a picture.

A picture is `Runtime.ledger()`: by service name what it holds, under "host" what the process's own host has, under
"hosts" what others have, and `taken_at` (Unix time).  A part that is absent from the picture is not judged, so that a
rule works on the services that a process hosts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

Picture = dict[str, Any]
Item = dict[str, Any]


class Violation(msgspec.Struct, frozen=True):
    """One broken invariant: `rule` names it, `subject` the object, `repair` what an operator does."""

    rule: str
    subject: str
    finding: str
    repair: str


Rule = Callable[[Picture], Iterator[Violation]]
RULES: list[Rule] = []
_HOST_RULES: set[Rule] = set()


def rule(function: Rule) -> Rule:
    """Register an invariant."""
    RULES.append(function)
    return function


def host_rule(function: Rule) -> Rule:
    """Register an invariant of a host: it is asked for each, which is then the picture's "host"."""
    _HOST_RULES.add(function)
    return rule(function)


def broken(asked: Rule, picture: Picture) -> Iterator[Violation]:
    """What the rule finds in the picture, on every host if it is a rule for hosts."""
    if asked not in _HOST_RULES:
        yield from asked(picture)
        return
    hosts = [*([picture["host"]] if isinstance(picture.get("host"), dict) else []), *picture.get("hosts", ())]
    for host in hosts:
        for violation in asked({**picture, "host": host}):
            where = f"on {host['name']}: " if "hosts" in picture else ""
            yield msgspec.structs.replace(violation, finding=where + violation.finding)


def held(picture: Picture, service: str, name: str) -> list[Item] | None:
    """What `service` says that it holds; None when the picture does not have that part."""
    part = picture.get(service)
    items = part.get(name) if isinstance(part, dict) else None
    return items if isinstance(items, list) else None


def moment(picture: Picture) -> float:
    """When the picture was taken."""
    return float(picture.get("taken_at") or time.time())


def operations(picture: Picture) -> Iterator[tuple[str, Item]]:
    """Every open operation with the service that runs it."""
    for service, part in picture.items():
        for operation in part.get("operations", []) if isinstance(part, dict) else []:
            yield service, operation


def busy(picture: Picture) -> set[str]:
    """The resources that an operation is at work on: what they hold meanwhile is its business."""
    return {operation["resource_id"] for _, operation in operations(picture)}
