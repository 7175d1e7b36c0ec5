"""`cloudseed explain server X`: one resource's story."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import msgspec
from rich.console import Console

from cloudseed.cli import control, options
from cloudseed.kernel import control as kernel_control

DESCRIPTION = """Tell a resource's story from the records of its operations: each step, when, how long, and why it
failed.

exit codes: 0 told, 1 there is no such resource, or the cloud does not run"""


def run(argv: list[str]) -> int:
    parser = options.parser("explain", DESCRIPTION)
    kinds = ("server", "image", "port", "network", "router", "floatingip", "volume", "snapshot", "backup")
    parser.add_argument("type", choices=kinds, help="what kind of resource")
    parser.add_argument("name", metavar="NAME_OR_ID")
    chosen = parser.parse_args(argv)
    try:
        story = kernel_control.ask(control.control_socket(chosen.state), "explain", kind=chosen.type, name=chosen.name)
    except OSError:
        print("cloudseed: the cloud does not run; start it with `cloudseed up`", file=sys.stderr)
        return 1
    if story is None:
        print(f"cloudseed: there is no {chosen.type} {chosen.name!r}", file=sys.stderr)
        return 1
    if chosen.json:
        sys.stdout.buffer.write(msgspec.json.encode(story) + b"\n")
    else:
        tell(story, Console(highlight=False))
    return 0


def tell(story: dict[str, Any], out: Console) -> None:
    """The story for a person."""
    operations = story.pop("operations", [])
    for name, value in story.items():
        if isinstance(value, str | int | float) and value != "":
            out.print(f"{name}: {value}", markup=False)
    for operation in operations:
        out.print(
            f"\n{_clock(operation['created_at'])}  {operation['kind']}: {operation['status']}"
            f"   (request {operation.get('request_id') or '-'})",
            markup=False,
        )
        for step in operation["steps"]:
            took = (step["ended_at"] - step["started_at"]) * 1000
            verb = "undo " if step["action"] == "undo" else ""
            out.print(
                f"  {_clock(step['started_at'])}  {verb + step['step']:<20} {step['outcome']:<10} {took:8.0f} ms"
                f"  {step['message']}",
                markup=False,
            )
        if operation.get("error"):
            out.print(f"  because: {operation['error']['message']}", markup=False)


def _clock(when: float) -> str:
    return datetime.datetime.fromtimestamp(when).astimezone().strftime("%H:%M:%S.%f")[:-3]
