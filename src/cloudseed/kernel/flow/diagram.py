"""A flow as a sequence diagram: Mermaid text in the recording's notation, one line a request, one an answer.

openstack->>keystone: GET /identity/
keystone-->>openstack: 300 MULTIPLE CHOICES /identity/
nova-api-)nova-conductor: cast wake                          (with rpc)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from cloudseed.kernel.flow.store import StoredExchange

# Participants in the order in which a reader expects them, left to right.
ORDER = (
    "browser",
    "openstack",
    "dashboard",
    "keystone",
    "glance-api",
    "swift-proxy-server",
    "nova-api",
    "nova-conductor",
    "nova-scheduler",
    "placement-api",
    "nova-compute",
    "neutron-server",
    "neutron-dhcp-agent",
    "neutron-l2-agent",
    "neutron-l3-agent",
    "cinder-api",
    "cinder-volume",
)


class Line(NamedTuple):
    """One arrow.  `at` in Unix nanoseconds; `took` (nanoseconds) on answers; `style` request, answer or oneway;
    `exchange` is the place in the flow of what a request begins, -1 on answers."""

    at: int
    source: str
    target: str
    text: str
    style: str
    took: int
    exchange: int = -1


def phrase(callee: str, status: int) -> str:
    """A status with its reason as the recorded services spell it: keystone shouts."""
    try:
        words = HTTPStatus(status).phrase
    except ValueError:
        words = "Unknown"
    return f"{status} {words.upper() if callee == 'keystone' else words}"


def lines(exchanges: Iterable[StoredExchange], *, rpc: bool = False) -> list[Line]:
    """The arrows of a flow in the order in which they happened."""
    arrows: list[tuple[int, int, Line]] = []
    for number, e in enumerate(exchanges):
        if e.kind == "http":
            request, answer = f"{e.method} {e.path}", f"{phrase(e.callee, e.status)} {e.path}"
        elif not rpc:
            continue
        else:
            request, answer = f"{e.kind} {e.method}", "ok" if e.status == 200 else f"error {e.status}"
        style = "oneway" if e.kind in ("cast", "fanout") else "request"
        arrows.append((e.started, 2 * number, Line(e.started, e.caller, e.callee, request, style, 0, number)))
        if style == "request" and e.ended:
            arrows.append(
                (e.ended, 2 * number + 1, Line(e.ended, e.callee, e.caller, answer, "answer", e.ended - e.started))
            )
    arrows.sort(key=lambda arrow: arrow[:2])
    return [line for _, _, line in arrows]


def participants(arrows: Sequence[Line]) -> list[str]:
    """Everybody in the diagram: known parts in their usual order, others behind them as they appear."""
    seen = dict.fromkeys(name for line in arrows for name in (line.source, line.target))
    return sorted(seen, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def mermaid(exchanges: Iterable[StoredExchange], *, rpc: bool = False, timing: bool = False,
            notes: Mapping[int, str] | None = None) -> str:
    """The diagram as Mermaid.  `timing` adds when each arrow was drawn and how long each answer took; `notes` are
    written above the requests of exchanges, by their places in the flow."""
    arrows = lines(exchanges, rpc=rpc)
    out = ["sequenceDiagram"]
    start = arrows[0].at if arrows else 0
    marks = {"request": "->>", "answer": "-->>", "oneway": "-)"}
    for line in arrows:
        if notes and line.exchange in notes:
            out.append(f"Note over {line.source},{line.target}: {notes[line.exchange]}")
        when = f" [+{(line.at - start) / 1e6:.1f} ms" + (f", took {line.took / 1e6:.1f} ms]" if line.took else "]")
        out.append(f"{line.source}{marks[line.style]}{line.target}: {line.text}{when if timing else ''}")
    return "\n".join(out) + "\n"
