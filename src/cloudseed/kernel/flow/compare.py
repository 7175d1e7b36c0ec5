"""A flow held against a recording: every kind of exchange present, and each caller's in the recorded order.

A kind is (caller, callee, method, path with ids abstracted, status).  Order is causal, not total: for each
caller, kinds must first occur in the order in which they first occur in the recording.  More repetitions,
fewer repetitions and other kinds in between are no fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from cloudseed.kernel.flow.store import StoredExchange

_ID = re.compile(r"\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})\b", re.I)
_REQUEST = re.compile(r"^([\w.-]+?)->>([\w.-]+): ([A-Z]+) (\S+)")
_ANSWER = re.compile(r"^([\w.-]+?)-->>([\w.-]+): (\d{3})\b.*?(\S+)$")


class Kind(NamedTuple):
    """One kind of exchange."""

    caller: str
    callee: str
    method: str
    path: str
    status: int

    def __str__(self) -> str:
        return f"{self.caller}->>{self.callee}: {self.method} {self.path} ({self.status})"


class Disorder(NamedTuple):
    """`kind` first occurs after `before`, which the recording has later."""

    kind: Kind
    before: Kind


class Comparison(msgspec.Struct, frozen=True):
    """The result; `ok` when nothing is missing or out of order."""

    recorded: int
    present: int
    missing: list[Kind]
    disorder: list[Disorder]
    additional: list[Kind]

    @property
    def ok(self) -> bool:
        return not self.missing and not self.disorder


def abstract(callee: str, path: str) -> str:
    """A path without ids, without glance's own prefix (the recording's ran at a root of its own), and without
    a slash at its end."""
    path = path.partition("?")[0]
    if callee == "glance-api" and (path == "/image" or path.startswith("/image/")):
        path = path[len("/image") :]
    return _ID.sub("{id}", path).rstrip("/") or "/"


def parse_recording(text: str) -> list[Kind]:
    """The exchanges of a recording in the order of their requests; unanswered ones have status 0."""
    requests: list[list[str | int]] = []
    waiting: dict[tuple[str, str, str], list[int]] = {}
    for line in text.splitlines():
        line = line.strip()
        if match := _REQUEST.match(line):
            caller, callee, method, path = match.groups()
            requests.append([caller, callee, method, path, 0])
            waiting.setdefault((caller, callee, path), []).append(len(requests) - 1)
        elif match := _ANSWER.match(line):
            callee, caller, status, path = match.groups()
            queue = waiting.get((caller, callee, path)) or waiting.get((caller, callee, "/")) or []
            if queue:
                requests[queue.pop(0)][4] = int(status)
    return [Kind(str(r[0]), str(r[1]), str(r[2]), abstract(str(r[1]), str(r[3])), int(r[4])) for r in requests]


def kinds_of(exchanges: Iterable[StoredExchange]) -> list[Kind]:
    """A flow's HTTP exchanges as kinds, in the order of their requests."""
    return [
        Kind(e.caller, e.callee, e.method, abstract(e.callee, e.path), e.status) for e in exchanges if e.kind == "http"
    ]


def compare(flow: list[Kind], recording: list[Kind], ignore_callers: Collection[str] = ()) -> Comparison:
    """Hold `flow` against `recording`; the callers in `ignore_callers` choose for themselves."""
    wanted = list(dict.fromkeys(k for k in recording if k.caller not in ignore_callers))
    first = {kind: position for position, kind in reversed(list(enumerate(flow)))}
    missing = [kind for kind in wanted if kind not in first]
    disorder = []
    for caller in dict.fromkeys(kind.caller for kind in wanted):
        latest: Kind | None = None
        for kind in wanted:
            if kind.caller == caller and kind in first:
                if latest is not None and first[kind] < first[latest]:
                    disorder.append(Disorder(latest, kind))
                else:
                    latest = kind
    known = set(wanted)
    additional = [k for k in dict.fromkeys(flow) if k not in known and k.caller not in ignore_callers]
    return Comparison(len(wanted), len(wanted) - len(missing), missing, disorder, additional)


def report(result: Comparison) -> str:
    """The comparison for a person: a line for each fault, and a last line that sums up."""
    out = [f"missing: {kind}" for kind in result.missing]
    out += [f"out of order: {d.kind} comes after {d.before}" for d in result.disorder]
    out += [f"additional: {kind}" for kind in result.additional]
    verdict = "matches the recording" if result.ok else "DIFFERS from the recording"
    out.append(
        f"{result.present} of {result.recorded} kinds of exchange present, {len(result.disorder)} out of order, "
        f"{len(result.additional)} additional: {verdict}"
    )
    return "\n".join(out)
