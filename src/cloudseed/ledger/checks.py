"""The invariants, each a pure function: a picture of the cloud in, violations out.

A picture is `Runtime.ledger()`: by service name what it holds, and under "host" what the host has.  A part that
is absent from the picture is not judged.  Transient states count only past their deadline, so that an audit of a
busy cloud is not full of what is merely under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

Picture = dict[str, Any]


class Violation(msgspec.Struct, frozen=True):
    """One broken invariant: `rule` names it, `subject` the object, `repair` what an operator does."""

    rule: str
    subject: str
    finding: str
    repair: str


Rule = Callable[[Picture], Iterator[Violation]]
_rules: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Register an invariant."""
    _rules.append(function)
    return function


def check(picture: Picture) -> list[Violation]:
    """Every violation in the picture, in the order of the rules."""
    return [violation for one in _rules for violation in one(picture)]


def counts(picture: Picture) -> dict[str, int]:
    """How many things of each kind were looked at."""
    return {
        f"{service} {name}": len(items)
        for service, held in sorted(picture.items())
        if isinstance(held, dict)
        for name, items in sorted(held.items())
        if isinstance(items, list | dict)
    }


def _held(picture: Picture, service: str, name: str) -> list[dict[str, Any]] | None:
    items = picture.get(service, {}).get(name)
    return items if isinstance(items, list) else None


OPERATION_DEADLINE_S = 3600.0


@rule
def operations_end(picture: Picture) -> Iterator[Violation]:
    """No operation is open beyond its deadline."""
    for service, held in picture.items():
        for operation in held.get("operations", []) if isinstance(held, dict) else []:
            age = time.time() - operation["updated_at"]
            if age > OPERATION_DEADLINE_S:
                yield Violation(
                    "operation-stuck",
                    operation["id"],
                    f"{operation['kind']} of {operation['resource_id']} ({service}) is {operation['status']} "
                    f"and did not move for {age:.0f} s",
                    "look at its steps with `cloudseed explain`, mend the cause; it is tried again by itself",
                )


@rule
def transient_states_have_an_owner(picture: Picture) -> Iterator[Violation]:
    """A server with a task state, or still building, has an open operation."""
    servers = _held(picture, "nova", "servers")
    busy = {operation["resource_id"] for operation in _held(picture, "nova", "operations") or []}
    for server in servers or []:
        if (server["task_state"] or server["vm_state"] == "building") and server["id"] not in busy:
            yield Violation(
                "state-without-owner",
                server["id"],
                f"server is {server['vm_state']}/{server['task_state']} and no operation carries it on",
                "reset its state: openstack server set --state error, then delete it",
            )
