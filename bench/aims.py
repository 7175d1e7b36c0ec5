"""What the figures are held against, and the table for the README.

`upstream` is OpenStack 2026.2 (keystone, placement, glance, neutron, nova with its fake driver, on MariaDB, RabbitMQ,
memcached and uWSGI with two workers each), measured once on a machine like the build machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench.measure import Report, Row


class Aim(NamedTuple):
    """A line of the table.  `best`: whether less or more is better; `unit` is put behind the figure."""

    work: str
    upstream: str
    aim: float
    unit: str
    bench: str
    figure: str  # of a report; or of the row below: per_s, p50_ms, or a name in its `more`
    row: str = ""
    concurrency: int = 0
    best: str = "less"


def _operation(
    work: str, upstream: str, aim: float, unit: str, figure: str, row: str, concurrency: int, best: str = "less"
) -> Aim:
    return Aim(work, upstream, aim, unit, "operations", figure, row, concurrency, best)


_POST = "POST /servers"
AIMS = (
    Aim("boot: on top of bare QEMU's time to the first answer", "", 1.0, "s", "boot", "difference_s"),
    Aim("disk of a server, worst of six: of bare QEMU's", "", 0.9, "", "disk", "root_least_ratio", best="more"),
    Aim("volume of a server, worst of six: of bare QEMU's", "", 0.9, "", "disk", "volume_least_ratio", best="more"),
    Aim("the same, of bare QEMU's through a plain storage daemon", "", 0.9, "", "disk", "volume_nbd_least_ratio",
        best="more"),
    Aim("TCP guest to host and back, the worse: of no rules", "", 0.9, "", "network", "least_ratio", best="more"),
    Aim("live migration: the guest's silence", "", 1.0, "s", "migrate", "silence_median_s"),
    Aim("scheduling decision, 10,000 hosts", "", 10, "ms", "decisions", "decision_10000_p50_ms"),
    Aim("idle memory (PSS)", "2,300 MiB", 120, "MiB", "idle", "idle_pss_mib"),
    Aim("start to first token", "49 to 89 s", 2, "s", "idle", "start_to_token_s"),
    Aim("recording of flows, of a request's CPU", "", 0.03, "", "flows", "recording_cost"),
    Aim(
        "token issue, first login: of bcrypt's own limit",
        "2.3/s",
        1.0,
        "",
        "operations",
        "first_logins_of_hash_limit",
        best="more",
    ),
    _operation(
        "token issue, password known, 8 at once", "2.3/s", 500, "/s", "per_s", "token issue, password", 8, "more"
    ),
    _operation("token validation, 8 at once", "60/s", 1500, "/s", "per_s", "token validation", 8, "more"),
    _operation("allocation candidates, 200 providers", "110 to 150 ms", 4, "ms", "p50_ms", "candidates of 200 ", 1),
    _operation("allocation candidates, 10,000 providers", "", 20, "ms", "p50_ms", "candidates of 10000 ", 1),
    _operation("list of 200 images", "170 to 240 ms", 8, "ms", "p50_ms", "list of 200 images", 1),
    _operation("list of 200 ports", "310 to 430 ms", 10, "ms", "p50_ms", "list of 200 ports", 1),
    _operation("port create", "270 ms", 8, "ms", "p50_ms", "port create", 1),
    _operation("list of 100 servers with details", "0.8 to 2 s", 20, "ms", "p50_ms", "list of 100 servers", 1),
    _operation("POST /servers, 4 at once", "2.4 to 3.9 s", 40, "ms", "p50_ms", _POST, 4),
    _operation("boots to ACTIVE, 20 at once", "24 to 30/min", 1500, "/min", "done_per_min", _POST, 20, "more"),
    _operation("100 servers deleted", "130 to 150 s", 5, "s", "until_done_s", "delete 100 servers", 8),
    _operation("image upload", "40 to 70 MiB/s", 400, "MiB/s", "mib_per_s", "image upload", 1, "more"),
    _operation("image download", "250 to 350 MiB/s", 1500, "MiB/s", "mib_per_s", "image download", 1, "more"),
)


def value_of(aim: Aim, reports: Sequence[Report]) -> tuple[float, Row | None] | None:
    """The measured figure and its row, from the latest report that has it; None when nothing measured it."""
    for report in reversed(reports):
        if report.bench != aim.bench:
            continue
        if not aim.row:
            if aim.figure in report.figures:
                return report.figures[aim.figure], None
            continue
        for row in report.rows:
            if row.name.startswith(aim.row) and row.concurrency == aim.concurrency and not row.errors:
                found = row.more.get(aim.figure)
                return (getattr(row, aim.figure) if found is None else found), row
    return None


def table(reports: Sequence[Report]) -> str:
    """Markdown.  `of aim`: 1 and above reaches it."""
    lines = [
        "| work | OpenStack | aim | measured | of aim | our CPU an operation |",
        "|---|---|---|---|---|---|",
    ]
    for aim in AIMS:
        found = value_of(aim, reports)
        if found is None:
            continue
        value, row = found
        cpu = f"{row.cpu_ms:.2g} ms" if row is not None and row.cpu_ms < 10 else f"{row.cpu_ms:.0f} ms" if row else ""
        cells = (aim.work, aim.upstream, _text(aim.aim, aim.unit), _text(value, aim.unit), _reached(aim, value), cpu)
        lines.append("| " + " | ".join(cells) + " |")
    if reports:
        busy = max(report.load_before for report in reports)
        lines += ["", f"{reports[-1].cpus} processors, shared: load average up to {busy:.1f} before a program began."]
    return "\n".join(lines)


def _text(value: float, unit: str) -> str:
    if not unit:
        return f"{100 * value:.1f} %"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".replace(" /", "/")


def _reached(aim: Aim, value: float) -> str:
    if aim.best == "more":
        return f"{value / aim.aim:.2f}"
    return f"{aim.aim / value:.2f}" if value > 0 else "reached"
