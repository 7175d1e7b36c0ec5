"""`cloudseed bench`: run the benchmarks, and hold their figures against what we promise."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cloudseed.cli import openstack

PROGRAMS = ("boot", "disk", "network", "idle", "hosts", "flows", "operations", "decisions", "bus", "migrate")
LONG = ("monkey",)  # only when asked for: it proves, and measures little
DESCRIPTION = """Measure, each with a cloud of its own that is purged at the end.

  cloudseed bench                       all of it: about nine minutes
  cloudseed bench operations --help     one program, with its own options
  cloudseed bench monkey --seed 7       harm a cloud of many hosts at random, and see that all is whole in the end
  cloudseed bench --table               all of it, then a table in markdown
  cloudseed bench --table --from FILE   the table of what was measured before (JSON lines, as --json prints them)

exit codes: 0 measured, 1 an operation failed, 2 wrong command line, 3 this machine cannot do it (boot, disk and network
need root)"""


def run(argv: list[str]) -> int:
    root = openstack.launcher().parent
    if not (root / "bench" / "__init__.py").exists():
        print(f"cloudseed bench: {root} has no benchmarks; run it from a checkout", file=sys.stderr)
        return 3
    if argv and argv[0] in (*PROGRAMS, *LONG):
        with subprocess.Popen(_command(argv[0], *argv[1:]), cwd=root, env=_environment(root)) as child, _ending(child):
            return child.wait()
    parser = argparse.ArgumentParser(
        prog="cloudseed bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", nargs="?", choices=PROGRAMS, help="which one (default: all); its options follow")
    parser.add_argument("--json", action="store_true", help="print JSON lines only, one for each program")
    parser.add_argument("--table", action="store_true", help="print a table in markdown at the end")
    parser.add_argument("--from", dest="file", type=Path, metavar="FILE", help="measure nothing, read these JSON lines")
    chosen = parser.parse_args(argv)
    worst, lines = 0, list[str]()
    if chosen.file is not None:
        try:
            lines = [line for line in chosen.file.read_text().splitlines() if line.startswith("{")]
        except OSError as exc:
            print(f"cloudseed bench: {chosen.file}: {exc.strerror}", file=sys.stderr)
            return 2
    else:
        for name in PROGRAMS:
            code, line = _measure(root, name, quiet=chosen.json or chosen.table)
            worst = max(worst, code)
            lines += [line] if line else []
    if chosen.json:
        print("\n".join(lines))
    if chosen.table:
        sys.path.insert(0, str(root))
        from bench import aims, measure  # type: ignore[import-not-found,unused-ignore]

        try:
            print(aims.table([msgspec.json.decode(line, type=measure.Report) for line in lines]))
        except msgspec.DecodeError as exc:
            print(f"cloudseed bench: {chosen.file} holds no benchmark's JSON lines: {exc}", file=sys.stderr)
            return 2
    return worst


def _measure(root: Path, name: str, *, quiet: bool) -> tuple[int, str]:
    """Run a program; its exit code and its JSON line.  What it tells people goes on unless `quiet`."""
    print(f"== {name}", file=sys.stderr, flush=True)
    line = ""
    with subprocess.Popen(_command(name), cwd=root, env=_environment(root), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        with _ending(child):
            for text in child.stdout:
                if text.startswith("{"):
                    line = text.strip()
                elif not quiet:
                    print(text, end="", flush=True)
    return child.returncode, line


@contextlib.contextmanager
def _ending(child: subprocess.Popen[Any]) -> Iterator[None]:
    """When we are asked to end, so is the program, which removes its cloud."""
    try:
        yield
    except BaseException:
        child.terminate()
        raise


def _command(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"bench.{name}", *options]


def _environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
