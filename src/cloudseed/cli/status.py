"""`cloudseed status`: what runs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from rich.console import Console

from cloudseed.cli import control, options, processes
from cloudseed.host.processes import parent

DESCRIPTION = """Say whether the cloud runs, which processes it has, and what they use.

exit codes: 0 it runs, 1 it does not, 3 some of it does"""


def run(argv: list[str]) -> int:
    chosen = options.parser("status", DESCRIPTION).parse_args(argv)
    known = processes.load(chosen.state)
    answer = control.running(chosen.state)
    rows = [
        (name, process.pid, process.alive(), tree_mib(process.pid, name in known.servers) if process.alive() else 0.0)
        for name, process in reversed(processes.every(known))
    ]
    if chosen.json:
        sys.stdout.write(
            msgspec.json.encode(
                {
                    "running": answer is not None,
                    "url": known.url or None,
                    "state": str(chosen.state),
                    "services": (answer or {}).get("services", []),
                    "processes": [{"name": n, "pid": p, "alive": a, "pss_mib": round(m, 1)} for n, p, a, m in rows],
                }
            ).decode()
            + "\n"
        )
    else:
        out = Console(highlight=False)
        out.print(f"[green]running[/] at {known.url}" if answer else "[yellow]not running[/]")
        width = max((len(name) for name, *_ in rows), default=0) + 1
        for name, pid, alive, mib in rows:
            state = f"{f'pid {pid}':<12} {mib:.0f} MiB" if alive else "ended"
            out.print(f"  {name:<{width}} {state}")
        if answer is None:
            out.print("Start it with: sudo ./cloudseed up")
    states = [row[2] for row in rows]
    if answer is not None:
        return 0 if all(states) else 3
    return 3 if any(states) else 1


def memory_mib(pid: int) -> float:
    """Proportional set size of a process in MiB; 0 when it cannot be read."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):
        return 0.0


def tree_mib(pid: int, with_children: bool = True) -> float:
    """As `memory_mib`, with all that the process started, such as a database's workers."""
    total, parents = memory_mib(pid), [pid]
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if with_children else ():
        if entry.name.isdecimal() and (found := parent(int(entry.name))) is not None:
            children.setdefault(found, []).append(int(entry.name))
    while parents:
        below = children.get(parents.pop(), [])
        total += sum(map(memory_mib, below))
        parents += below
    return total
