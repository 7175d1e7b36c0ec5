"""Minutes of harm at random, of all kinds and under all that servers go through: the bench's monkey with a fixed
seed, and its plan.  No time is asserted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from bench.measure import Report

from bench import harm
from cloudseed.cli.servers import postgres, rabbitmq
from tests.support.daemon import needs_root

ROOT = Path(__file__).parents[3]
SEED = 3446  # among its first kinds are those that no other test does at random, when there are servers


@needs_root
@pytest.mark.real
@pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                    reason="needs the packages postgresql and rabbitmq-server")
def test_minutes_of_harm() -> None:
    with tempfile.TemporaryDirectory(prefix="cst-", dir="/tmp") as place:  # unix sockets need short paths
        Path(place).chmod(0o711)
        done = subprocess.run(
            [sys.executable, "-m", "bench.monkey", "--json", f"--seed={SEED}", "--minutes=2", "--workers=4"],
            cwd=ROOT, text=True, capture_output=True, timeout=900,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "TMPDIR": place})
        assert done.returncode == 0, done.stdout + done.stderr
        assert os.listdir(place) == [], "it left its cloud behind"
    figures = msgspec.json.decode(done.stdout, type=Report).figures
    assert figures["wrong"] == 0 and figures["seed"] == SEED
    assert figures["done_create"] and figures["done_delete"]
    planned = harm.plan(SEED, 120, 3)
    assert figures["turns"] == len(planned)
    assert {turn.kind for turn in planned} >= {"evacuate", "failing-writes", "full-disk", "unruly-bus"}


def test_the_same_seed_does_the_same_and_every_kind_has_its_turn() -> None:
    turns = harm.plan(7, 600, 3)
    assert turns == harm.plan(7, 600, 3) != harm.plan(8, 600, 3)
    first = [turn.kind for turn in turns[:len(harm.KINDS)]]
    assert sorted(first) == sorted(harm.KINDS)
    assert {turn.host for turn in turns} == {1, 2, 3}
    assert {turn.kind for turn in harm.plan(7, 60, 3, ["unplug"])} == {"unplug"}
