"""Measuring, and saying what was measured: the one shape of every program's output."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from bench.cloud import BenchCloud
from cloudseed.cli import signals


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Repetitions of one operation as a client saw them, and what they cost the control process."""

    name: str
    concurrency: int
    count: int
    errors: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float  # of the control process, an operation
    first_error: str = ""
    more: dict[str, float] = {}


class Report(msgspec.Struct, kw_only=True):
    """One program's run.  `figures` are its results by name, in the units that the names end with."""

    bench: str
    started: str
    cpus: int
    load_before: float
    wall_s: float
    figures: dict[str, float] = {}
    rows: list[Row] = []


def percentile(values: list[float], q: float) -> float:
    """By nearest rank; 0 for no values."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(q * len(ordered)) // 100) - 1)] if ordered else 0.0


def median(values: list[float]) -> float:
    """The middle one, or the mean of the two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Meter:
    """Runs operations against a cloud, and keeps and tells what they took."""

    def __init__(self, cloud: BenchCloud, tell: Callable[[str], None]) -> None:
        self._cloud = cloud
        self._tell = tell
        self.rows: list[Row] = []

    async def run(
        self,
        name: str,
        count: int,
        concurrency: int,
        operation: Callable[[int], Awaitable[Any]],
        *,
        then: Callable[[], Awaitable[Any]] | None = None,
        mib: float = 0,
    ) -> Row:
        """`operation(0..count-1)`, `concurrency` at once.  `then` waits for what goes on behind the answers: its
        time is no operation's, its CPU is.  `mib`: what one operation moves."""
        numbers, took, errors = iter(range(count)), list[float](), list[str]()

        async def work() -> None:
            for number in numbers:
                began = time.perf_counter()
                try:
                    await operation(number)
                except (RuntimeError, OSError, EOFError, TimeoutError, KeyError) as exc:
                    errors.append(f"{type(exc).__name__}: {exc}"[:300])
                else:
                    took.append(time.perf_counter() - began)

        cpu, began = self._cloud.cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        wall = time.perf_counter() - began
        if then is not None:
            await then()
        all_wall = time.perf_counter() - began
        row = Row(
            name=name,
            concurrency=concurrency,
            count=count,
            errors=len(errors),
            per_s=round(len(took) / wall, 2),
            p50_ms=round(percentile(took, 50) * 1e3, 2),
            p99_ms=round(percentile(took, 99) * 1e3, 2),
            cpu_ms=round((self._cloud.cpu_seconds() - cpu) / count * 1e3, 3),
            first_error=errors[0] if errors else "",
        )
        if mib:
            row.more["mib_per_s"] = round(row.per_s * mib, 1)
        if then is not None:
            row.more["until_done_s"] = round(all_wall, 3)
            row.more["done_per_min"] = round(60 * count / all_wall, 1)
        self.rows.append(row)
        self._tell(line(row))
        return row


def line(row: Row) -> str:
    """A row for people."""
    more = "".join(f"  {name} {value:g}" for name, value in row.more.items())
    wrong = f"  ERRORS {row.errors}: {row.first_error}" if row.errors else ""
    return (
        f"{row.name:<34} c={row.concurrency:<3} n={row.count:<5} {row.per_s:>9.1f}/s  p50 {row.p50_ms:>8.2f} ms  "
        f"p99 {row.p99_ms:>8.2f} ms  cpu {row.cpu_ms:>7.2f} ms{more}{wrong}"
    )


class Program:
    """The frame of a program: its options, what it prints, its exit code.

    exit codes: 0 measured, 1 an operation failed, 2 wrong options, 3 this machine cannot do it
    """

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self.parser = argparse.ArgumentParser(
            prog=f"cloudseed bench {name}",
            description=f"{description}\n\nexit codes: 0 measured, 1 an operation failed, 3 this machine cannot do it",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.parser.add_argument("--json", action="store_true", help="print one line of JSON only")
        self._as_json = False
        self._began = time.monotonic()
        self._load = os.getloadavg()[0]

    def parse(self, argv: list[str]) -> argparse.Namespace:
        chosen = self.parser.parse_args(argv)
        self._as_json = chosen.json
        signals.end_in_order()
        return chosen

    def tell(self, text: str) -> None:
        """Progress and results, for people."""
        if not self._as_json:
            print(text, flush=True)

    def impossible(self, reason: str) -> int:
        print(f"cloudseed bench {self.name}: {reason}", file=sys.stderr)
        return 3

    def finish(self, figures: dict[str, float] | None = None, rows: list[Row] | None = None) -> int:
        """Print the JSON line, the last of the output."""
        report = Report(
            bench=self.name,
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            cpus=os.cpu_count() or 1,
            load_before=round(self._load, 2),
            wall_s=round(time.monotonic() - self._began, 1),
            figures=figures or {},
            rows=rows or [],
        )
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        sys.stdout.flush()
        return 1 if any(row.errors for row in report.rows) else 0
