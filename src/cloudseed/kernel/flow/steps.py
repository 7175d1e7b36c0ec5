"""The fifteen steps by which a machine is provisioned, found in a flow.

The names are those of the talk that this project stands on ("OpenStack in action: architecture and request flow").
A step is marked at the first exchange that carries it; what happens within one part (a record that is written, a
process that is started) is marked at the exchange that causes it.  A step that a flow does not need is missing with
the reason: an image that lies on the host already is not fetched again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from cloudseed.kernel.flow.store import StoredExchange

Match = Callable[[StoredExchange], bool]
CLIENTS = ("openstack", "browser", "dashboard")
_SERVERS = re.compile(r"/compute/v2(\.1)?(/[0-9a-f-]+)?/servers$")
_IMAGE = re.compile(r"/v2/images/[^/]+$")
_FILE = re.compile(r"/v2/images/[^/]+/file$")
_ATTACHMENT = re.compile(r"/volume/v3(/[0-9a-f-]+)?/attachments(/[^/]+)?$")


class StepRule(NamedTuple):
    """How a step is found.  `matches` in the order of preference; `absent` says what it means when it is missing."""

    number: int
    title: str
    matches: tuple[Match, ...]
    after_order: bool  # only what comes after the client's order counts
    absent: str


class MarkedStep(msgspec.Struct, frozen=True):
    """A step and the exchange that carries it; `position` is its place in the flow, null when there is none."""

    number: int
    title: str
    position: int | None
    exchange: StoredExchange | None
    absent: str = ""


def _http(method: str, callee: str, path: str | re.Pattern[str], *callers: str) -> Match:
    pattern = re.compile(path) if isinstance(path, str) else path

    def match(e: StoredExchange) -> bool:
        return (e.kind == "http" and e.method == method and e.callee == callee and bool(pattern.search(e.path))
                and (not callers or e.caller in callers))

    return match


def _bus(caller: str, callee: str, *methods: str) -> Match:
    def match(e: StoredExchange) -> bool:
        return e.kind != "http" and e.caller == caller and e.callee == callee and (not methods or e.method in methods)

    return match


def _checks(e: StoredExchange) -> bool:
    return e.kind == "http" and e.caller == "nova-api" and e.callee in ("glance-api", "neutron-server", "cinder-api")


def _asks(e: StoredExchange) -> bool:
    return e.kind == "http" and e.caller in CLIENTS


_COMPUTE = "nova-compute"
_FETCHERS = (_COMPUTE, "cinder-volume")  # a new root volume is filled by who keeps it
_CACHED = "the image's bytes were on the host already, or the machine boots from a volume that has them"
RULES = (
    StepRule(1, "Request VM Provisioning via UI/CLI", (_asks,), False, "no client asked for it"),
    StepRule(2, "Validate Auth Data", (_http("POST", "keystone", "/auth/tokens$", *CLIENTS),), False,
             "the client had a token already"),
    StepRule(3, "Send API request to nova-api", (_http("POST", "nova-api", _SERVERS, *CLIENTS),), False,
             "no server was ordered"),
    StepRule(4, "Validate API Token", (
        _http("GET", "keystone", "/auth/tokens$", "nova-api"), _http("GET", "keystone", "/auth/tokens$")), False,
        "the token was known to the services"),
    StepRule(5, "Process API request", (_checks,), True, "nothing had to be checked with another service"),
    StepRule(6, "Publish provisioning request to queue", (_bus("nova-api", "nova-conductor"),), True,
             "nothing was published"),
    StepRule(7, "Schedule provisioning", (
        _http("PUT", "placement-api", "/allocations/", "nova-scheduler"),
        _bus("nova-conductor", "nova-scheduler")), True, "no host was chosen"),
    StepRule(8, "Start VM provisioning on compute node", (
        _bus("nova-conductor", _COMPUTE),), True, "no host took it up"),
    StepRule(9, "Start VM rendering via hypervisor", (_bus("nova-conductor", _COMPUTE, "start_new"),), True,
             "the machine was not started"),
    StepRule(10, "Request VM Image from Glance", (
        *(_http("GET", "glance-api", _IMAGE, caller) for caller in _FETCHERS),), True, _CACHED),
    StepRule(11, "Get Image URI from Glance", (
        *(_http("GET", "glance-api", _FILE, caller) for caller in _FETCHERS),), True, _CACHED),
    StepRule(12, "Download image from Swift", (
        _http("GET", "swift-proxy-server", "/object-store/", "glance-api"),), True, _CACHED),
    StepRule(13, "Configure network", (_http("POST", "neutron-server", "/ports$", _COMPUTE),
                                       _http("PUT", "neutron-server", "/ports/", _COMPUTE)), True,
             "the machine has no network"),
    StepRule(14, "Allocate and associate network", (
        _http("POST", "nova-api", "/os-server-external-events$", "neutron-server"),
        _http("PUT", "neutron-server", "/ports/", _COMPUTE)), True, "no port came up"),
    StepRule(15, "Request volume attachment", (
        _http("PUT", "cinder-api", _ATTACHMENT, _COMPUTE), _http("POST", "cinder-api", _ATTACHMENT, _COMPUTE)), True,
        "the machine has no volume"),
)


def mark(exchanges: Sequence[StoredExchange]) -> list[MarkedStep]:
    """Each of the fifteen steps with the exchange of the flow that carries it."""
    ordered = next((n for n, e in enumerate(exchanges) if RULES[2].matches[0](e)), len(exchanges))
    marked = []
    for rule in RULES:
        first = ordered + 1 if rule.after_order else 0
        position = next((n for match in rule.matches for n, e in enumerate(exchanges[first:], first) if match(e)), None)
        marked.append(MarkedStep(rule.number, rule.title, position,
                                 exchanges[position] if position is not None else None,
                                 rule.absent if position is None else ""))
    return marked


def notes(marked: Sequence[MarkedStep]) -> dict[int, str]:
    """What a diagram says at an exchange, by its place in the flow."""
    found: dict[int, str] = {}
    for step in marked:
        if step.position is not None:
            text = f"Step {step.number}: {step.title}"
            found[step.position] = f"{found[step.position]}; {text}" if step.position in found else text
    return found


def report(marked: Sequence[MarkedStep]) -> str:
    """The steps for a person, a line each, and how many were found."""
    out = []
    for step in marked:
        if step.exchange is None:
            out.append(f"{step.number:2}  {step.title}: not in this flow ({step.absent})")
        else:
            e = step.exchange
            out.append(f"{step.number:2}  {step.title}: {e.caller}->>{e.callee}: "
                       f"{e.method if e.kind == 'http' else e.kind} {e.path if e.kind == 'http' else e.method}")
    out.append(f"{sum(step.exchange is not None for step in marked)} of {len(marked)} steps")
    return "\n".join(out)
