"""`cloudseed simulate`, small: every server boots, figures are told, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli.servers import postgres, rabbitmq
from tests.support.daemon import wait_for

SOURCE = Path(__file__).parents[2] / "src"


def simulate(*options: str, code: int = 0) -> tuple[dict[str, Any], str]:
    with tempfile.TemporaryDirectory(prefix="cst-", dir="/tmp") as place:  # unix sockets need short paths
        Path(place).chmod(0o711)
        done = subprocess.run(
            [sys.executable, "-m", "cloudseed.cli", "simulate", "--json", *options],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "TMPDIR": place}, text=True, capture_output=True, timeout=400)
        assert done.returncode == code, done.stdout + done.stderr
        assert os.listdir(place) == [], "it left its cloud behind"
    return json.loads(done.stdout) if done.stdout else {}, done.stderr


def check(found: dict[str, Any], processes: set[str]) -> None:
    assert found["failed"] == 0 and found["boots_per_minute"] > 0 and found["deletes_per_minute"] > 0
    counts = {row["operation"]: row["count"] for row in found["latencies"]}
    assert counts["create server"] == 8 and counts["delete server"] == 1 and "show" in counts
    assert {used["name"] for used in found["processes_used"]} == processes
    assert all(used["memory_mib"] > 0 for used in found["processes_used"])


def test_in_one_process() -> None:
    found, _ = simulate("--embedded", "--hosts=4", "--servers=8", "--concurrency=4")
    check(found, {"control"})


def test_on_postgresql_and_rabbitmq() -> None:
    if not rabbitmq.is_installed() or postgres.find_binaries() is None:
        pytest.skip("PostgreSQL or RabbitMQ is not installed")
    found, _ = simulate("--hosts=5", "--processes=2", "--servers=8", "--concurrency=4")
    check(found, {"control", "hosts 1", "hosts 2", "RabbitMQ", "PostgreSQL"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_removes_its_cloud(number: signal.Signals) -> None:
    """Also where SIGINT was ignored when it began, as a shell's background commands are."""
    with tempfile.TemporaryDirectory(prefix="cst-", dir="/tmp") as place:
        Path(place).chmod(0o711)
        with subprocess.Popen(
            ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-m", "cloudseed.cli", "simulate",
             "--embedded", "--hosts=4", "--servers=1000000"],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "TMPDIR": place}, stderr=subprocess.PIPE) as process:
            wait_for(lambda: any(Path(place).glob("cssim-*/state/control/db/nova*")), 60, "its cloud to start")
            time.sleep(1)
            process.send_signal(number)
            assert process.wait(60) == 128 + number
        assert os.listdir(place) == [], "it left its cloud behind"
    assert not [name for name in os.listdir("/proc") if name.isdecimal() and place in _command(name)]


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("option", ["--hosts=0", "--servers=x", "--concurrency=-1", "--processes=9"])
def test_a_wrong_option_is_refused(option: str) -> None:
    _, said = simulate("--hosts=8", option, code=2)
    assert option.split("=")[0] in said
