"""`cloudseed flow`: list flows, draw one, hold one against a recording."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from cloudseed.cli import control, options
from cloudseed.kernel import control as kernel_control
from cloudseed.kernel.config import data_directory
from cloudseed.kernel.flow import compare, diagram, picture, steps
from cloudseed.kernel.flow.store import FlowStore, StoredExchange

DESCRIPTION = """List the latest flows, or print one as a Mermaid sequence diagram.  A flow is everything that one run
of a client caused, behind its answers too.  FLOW is an id, the beginning of one, or `last`: the latest flow that
changed something (polls, lists and logins do not count).

With --steps the fifteen steps by which a machine is provisioned are marked in the diagram (and in the picture), and
listed below it; with --json the list alone.

exit codes: 0 done, 1 no such flow, or it differs from the recording"""


def run(argv: list[str]) -> int:
    parser = options.parser("flow", DESCRIPTION)
    parser.add_argument("flow", nargs="?", metavar="FLOW", help="an id, the beginning of one, or `last`")
    parser.add_argument("--rpc", action="store_true", help="draw the messages on the bus too")
    parser.add_argument(
        "--timing", action="store_true", help="say when each arrow was drawn, and how long answers took"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw it as a picture")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="hold it against this recording")
    parser.add_argument(
        "--ignore-caller",
        action="append",
        default=[],
        metavar="NAME",
        help="with --compare: leave out what this caller chooses itself (such as openstack)",
    )
    parser.add_argument(
        "--steps", action="store_true", help="mark the fifteen steps of a machine's provisioning, messages drawn too"
    )
    parser.add_argument("--all", action="store_true", help="also list what the services did of themselves")
    parser.add_argument("--limit", type=int, default=20, help="how many flows to list (default %(default)s)")
    chosen = parser.parse_args(argv)
    store = open_store(chosen.state)
    if store is None:
        print(f"cloudseed: there are no flows in {chosen.state}; start the cloud with `cloudseed up`", file=sys.stderr)
        return 1
    if chosen.flow is None:
        return _list(store, chosen.limit, chosen.json, background=chosen.all)
    exchanges = find(store, chosen.flow)
    if not exchanges:
        print(f"cloudseed: there is no flow {chosen.flow!r}; `cloudseed flow` lists them", file=sys.stderr)
        return 1
    marked = steps.mark(exchanges) if chosen.steps else []
    notes = steps.notes(marked)
    if chosen.svg is not None:
        chosen.svg.write_text(picture.svg(exchanges, title=f"flow {exchanges[0].trace_id}", notes=notes))
    if chosen.compare is not None:
        try:
            recording = compare.parse_recording(chosen.compare.read_text())
        except OSError as exc:
            print(f"cloudseed: the recording cannot be read: {exc}", file=sys.stderr)
            return 1
        result = compare.compare(compare.kinds_of(exchanges), recording, set(chosen.ignore_caller))
        if chosen.json:
            sys.stdout.buffer.write(msgspec.json.encode({"ok": result.ok, **msgspec.to_builtins(result)}) + b"\n")
        else:
            print(compare.report(result))
        return 0 if result.ok else 1
    if chosen.json:
        sys.stdout.buffer.write(msgspec.json.encode(marked if chosen.steps else exchanges) + b"\n")
        return 0
    sys.stdout.write(diagram.mermaid(exchanges, rpc=chosen.rpc or chosen.steps, timing=chosen.timing, notes=notes))
    if chosen.steps:  # as comments: what follows the diagram must not break it
        sys.stdout.write("".join(f"%% {line}\n" for line in steps.report(marked).splitlines()))
    return 0


def open_store(state: Path) -> FlowStore | None:
    """The flows of a cloud, with what its process still held back; None when there never were any."""
    try:
        kernel_control.ask(control.control_socket(state), "flush", timeout_s=5)
    except (OSError, kernel_control.ControlError, msgspec.DecodeError):
        pass  # it does not run: what it wrote is all there is
    path = data_directory(state) / "flows.sqlite"
    return FlowStore(path, readonly=True) if path.exists() else None


def find(store: FlowStore, name: str) -> list[StoredExchange]:
    """The exchanges of the flow that `name` means; empty when it means none, or more than one."""
    flow_id = store.last_changed() if name == "last" else name.lower()
    exchanges = store.exchanges(flow_id) if flow_id else []
    return exchanges if len({exchange.trace_id for exchange in exchanges}) == 1 else []


def _list(store: FlowStore, limit: int, as_json: bool, *, background: bool) -> int:
    flows = store.flows(limit, background=background)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(flows) + b"\n")
        return 0
    table = Table("flow", "started", "took", "exchanges", "what", box=None)
    for flow in flows:
        began = datetime.datetime.fromtimestamp(flow.started / 1e9).astimezone()
        table.add_row(
            flow.flow_id[:12],
            began.strftime("%H:%M:%S"),
            f"{(flow.ended - flow.started) / 1e6:.0f} ms",
            str(flow.exchanges),
            flow.first_change or "(reads)",
        )
    Console(highlight=False).print(table)
    return 0
