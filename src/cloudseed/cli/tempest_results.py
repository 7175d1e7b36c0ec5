"""What became of each test of a Tempest run: told from its subunit stream.

Tempest's own environment can read that stream and ours cannot, so this file is also a program for its interpreter:

    <tempest's python> tempest_results.py < run.subunit

prints one JSON object a line: id, status, seconds, reason.  `settle` then answers for every test that was wanted,
since a class that fails or skips as a whole reports itself and not its tests.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

OUTCOMES = ("passed", "failed", "skipped", "missing")
_STATUS = {"success": "passed", "xfail": "passed", "skip": "skipped", "fail": "failed", "uxsuccess": "failed"}
_FIXTURE = re.compile(r"^(setUp|tearDown)(?:Class|Module) \(([^)]*)\)")


class Outcome(NamedTuple):
    """`status` is one of OUTCOMES; `missing`: the run has no word on this test."""

    status: str
    seconds: float
    reason: str


def bare(test: str) -> str:
    """A test's id without its tags (`[id-...,smoke]`)."""
    return test.split("[", 1)[0].split(" (", 1)[0].strip()


def area(test: str) -> str:
    """What a test belongs to in the table: tempest.api.compute, tempest.scenario, ..."""
    parts = test.split(".")
    return ".".join(parts[:3] if parts[1:2] == ["api"] else parts[:2])


def settle(wanted: Iterable[str], records: Iterable[Mapping[str, Any]]) -> dict[str, Outcome]:
    """Each wanted test's outcome.  `records`: what this file prints as a program."""
    own: dict[str, Outcome] = {}
    groups: dict[str, Outcome] = {}
    for record in records:
        if record["status"] not in _STATUS:
            continue  # listed or begun, never ended
        outcome = Outcome(_STATUS[record["status"]], record["seconds"], record["reason"])
        fixture = _FIXTURE.match(record["id"])
        if fixture is None:
            own[bare(record["id"])] = outcome
        elif fixture[1] == "setUp" and outcome.status != "passed":
            groups[fixture[2]] = outcome
    return {test: own.get(bare(test)) or _of_group(bare(test), groups) for test in wanted}


def _of_group(test: str, groups: Mapping[str, Outcome]) -> Outcome:
    group = test.rpartition(".")[0]
    while group:
        if group in groups:
            return groups[group]
        group = group.rpartition(".")[0]
    return Outcome("missing", 0.0, "no result: the run ended before it, or its module did not load")


def by_area(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, int]]:
    """area -> outcome -> number of tests, areas in order, the sum of all under "total" at the end."""
    table: dict[str, dict[str, int]] = {}
    for test in sorted(outcomes):
        for row in (area(test), "total"):
            table.setdefault(row, dict.fromkeys(OUTCOMES, 0))[outcomes[test].status] += 1
    table["total"] = table.pop("total", dict.fromkeys(OUTCOMES, 0))
    return table


def reason(status: str, details: Mapping[str, str]) -> str:
    """One line that says why: the skip's text, or the exception at the end of the trace with what the cloud said."""
    if status == "skip":
        return " ".join(details.get("reason", "").split())[:300]
    traces = [text for name, text in sorted(details.items()) if name.startswith("traceback") and text.strip()]
    if not traces:
        return "no trace"
    lines = [line.rstrip() for line in traces[0].splitlines() if line.strip()]
    # the exception is the first line that is not indented after the last frame; its details follow
    frames = [number for number, line in enumerate(lines) if line.startswith(('  File "', "    "))]
    return " ".join(" ".join(lines[frames[-1] + 1 if frames else 0 :]).split())[:300]


def _main() -> None:
    import subunit  # type: ignore[import-not-found,unused-ignore]
    import testtools  # type: ignore[import-not-found,unused-ignore]

    def tell(test: Mapping[str, Any]) -> None:
        begun, ended = test["timestamps"][0], test["timestamps"][-1]
        texts = {}
        for name, content in test["details"].items():
            try:
                texts[name] = content.as_text()
            except (UnicodeDecodeError, ValueError):
                continue
        record = {
            "id": test["id"],
            "status": test["status"],
            "seconds": round((ended - begun).total_seconds(), 2) if begun and ended else 0.0,
            "reason": "" if test["status"] == "success" else reason(test["status"], texts),
        }
        if test["status"] == "fail":
            record["details"] = {name: text[-20_000:] for name, text in texts.items() if text.strip()}
        print(json.dumps(record))

    result = testtools.StreamToDict(tell)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
    result.stopTestRun()


if __name__ == "__main__":
    _main()
