"""`cloudseed audit`: check the invariants across services and host."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console

from cloudseed.cli import control, options
from cloudseed.kernel import control as kernel_control
from cloudseed.ledger import checks

DESCRIPTION = """Compare what the services say with what the host has: allocations, processes, ports, taps, files,
states.  Each violation comes with its repair.  What is merely under way is none: something that looks wrong is
looked at twice.

exit codes: 0 clean, 1 violations, 3 the cloud does not run"""


SECOND_LOOK_S = 1.0


def run(argv: list[str]) -> int:
    chosen = options.parser("audit", DESCRIPTION).parse_args(argv)
    try:
        violations, picture = _audit(chosen.state)
    except OSError:
        print("cloudseed: the cloud does not run; start it with `cloudseed up`", file=sys.stderr)
        return 3
    if chosen.json:
        sys.stdout.buffer.write(msgspec.json.encode({"clean": not violations, "violations": violations}) + b"\n")
        return 1 if violations else 0
    out = Console(highlight=False)
    for violation in violations:
        out.print(f"[red]{violation.rule}[/] {violation.subject}: {violation.finding}\n  repair: {violation.repair}")
    counts = checks.counts(picture)
    out.print(
        ("[green]clean[/]" if not violations else f"[red]{len(violations)} violations[/]")
        + ": "
        + ", ".join(f"{number} {name}" for name, number in counts.items())
    )
    return 1 if violations else 0


def _audit(state: Path) -> tuple[list[checks.Violation], checks.Picture]:
    """The violations that stand, and the picture that has them."""
    picture = kernel_control.ask(control.control_socket(state), "ledger", timeout_s=120)
    if not checks.check(picture):
        return [], picture
    time.sleep(SECOND_LOOK_S)
    later = kernel_control.ask(control.control_socket(state), "ledger", timeout_s=120)
    return checks.standing(picture, later), later
