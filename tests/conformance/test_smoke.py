"""Tempest's own smoke set, unmodified, with real machines: all of it passes, nothing is skipped.

`smoke.txt` lists its 107 tests by the ids of the pinned Tempest.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import ROOT, needs_root


@needs_root
@pytest.mark.real
def test_smoke(tmp_path: Path) -> None:
    listed = Path(__file__).with_name("smoke.txt")
    ids = [line for line in listed.read_text().splitlines() if line.strip()]
    output = tmp_path / "out"
    command = [str(ROOT / "cloudseed"), "conformance", "--list", str(listed), "--output", str(output), "--json"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=2400)
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout)
    assert answer["areas"]["total"] == {"passed": len(ids), "failed": 0, "skipped": 0, "missing": 0}, answer["failed"]
