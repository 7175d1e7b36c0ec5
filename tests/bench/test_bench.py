"""Each benchmark, with tiny sizes: it runs, leaves nothing, and its figures reach the table.  No time is asserted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from bench.measure import Report, Row, percentile

from bench import aims
from cloudseed.cli.servers import rabbitmq
from tests.support.daemon import needs_root

ROOT = Path(__file__).parents[2]
SMALL = ("--repeat=4", "--images=3", "--image-mib=1", "--ports=4", "--servers=6", "--providers=3", "--hash-rounds=4")


def measure(name: str, *options: str) -> Report:
    """The program's JSON line; fails when something of its cloud is left."""
    with tempfile.TemporaryDirectory(prefix="cst-", dir="/tmp") as place:  # unix sockets need short paths
        Path(place).chmod(0o711)
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{name}", "--json", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "TMPDIR": place},
            text=True,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert os.listdir(place) == [], "it left its cloud behind"
    report: Report = msgspec.json.decode(done.stdout, type=Report, strict=True)
    assert report.bench == name
    return report


def test_operations() -> None:
    report = measure("operations", *SMALL)
    assert {row.name.split(",")[0] for row in report.rows} >= {
        "token issue",
        "token validation",
        "list of 3 images",
        "image upload",
        "image download",
        "port create",
        "list of 4 ports",
        "POST /servers",
        "server show",
        "candidates of 3 providers",
    }
    assert all(row.errors == 0 and row.per_s > 0 and row.cpu_ms > 0 for row in report.rows)
    assert report.figures["first_logins_of_hash_limit"] > 0


def test_a_failed_operation_is_told() -> None:
    row = Row(name="x", concurrency=1, count=2, errors=2, per_s=0, p50_ms=0, p99_ms=0, cpu_ms=0, first_error="409")
    report = Report(bench="operations", started="", cpus=1, load_before=0, wall_s=0, rows=[row])
    assert aims.table([report]).count("\n") == 3  # no line of the table is filled from it


def test_flows() -> None:
    report = measure("flows", "--rounds=1", "--repeat=2")
    assert set(report.figures) >= {"recording_cost", "token_validation_cost", "port_create_and_delete_cpu_ms"}


def test_bus() -> None:
    if not rabbitmq.is_installed():
        pytest.skip("RabbitMQ is not installed")
    report = measure("bus", "--calls=50", "--rounds=1")
    assert report.figures["calls_per_s_32_at_once"] > 0 < report.figures["ratio_1_at_once"]


@pytest.mark.real
@needs_root
def test_decisions() -> None:
    report = measure("decisions", "--hosts=3,6", "--decisions=4")
    assert report.figures["decision_6_cpu_ms"] > 0 and report.figures["decision_3_p50_ms"] > 0


def test_idle() -> None:
    report = measure("idle", "--starts=1", "--settle=0")
    assert report.figures["idle_pss_mib"] > 0
    assert report.figures["start_to_token_s"] >= report.figures["up_command_s"] > 0


@pytest.mark.real
@needs_root
def test_boot() -> None:
    figures = measure("boot", "--rounds=1").figures
    assert figures["ours_s"] > figures["ours_qemu_started_s"] > figures["ours_accepted_s"] > 0
    assert figures["bare_ssh_s"] >= figures["bare_s"] > 0


@pytest.mark.real
@needs_root
def test_disk() -> None:
    figures = measure("disk", "--rounds=1", "--mib=4", "--operations=50").figures
    for disk in ("root", "volume", "volume_nbd"):
        assert figures[f"{disk}_bare_write_mib_per_s"] > 0 and figures[f"{disk}_bare_read_iops"] > 0
        assert figures[f"{disk}_least_ratio"] > 0


@pytest.mark.real
@needs_root
def test_network() -> None:
    figures = measure("network", "--rounds=1", "--mib=4").figures
    assert figures["guest_to_host_bare_mib_per_s"] > 0 and figures["least_ratio"] > 0


@needs_root
@pytest.mark.real
def test_migrate() -> None:
    figures = measure("migrate", "--rounds=1", "--still=1").figures
    assert figures["numbers_written"] > 0 and figures["numbers_missing"] == 0
    assert figures["silence_median_s"] > 0


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, q) for q in (50, 99, 100)] == [50, 99, 100]
    assert percentile([], 50) == 0
    assert percentile([7.0], 99) == 7


def test_the_table_says_how_much_of_an_aim_is_reached() -> None:
    def row(name: str, concurrency: int, per_s: float, p50_ms: float) -> Row:
        return Row(
            name=name, concurrency=concurrency, count=1, errors=0, per_s=per_s, p50_ms=p50_ms, p99_ms=0, cpu_ms=0.25
        )

    rows = [row("token validation", 1, 1, 1), row("token validation", 8, 3000, 1), row("list of 200 ports", 1, 1, 20)]
    report = Report(bench="operations", started="", cpus=2, load_before=0, wall_s=0, rows=rows)
    text = aims.table([report])
    assert "| token validation, 8 at once | 60/s | 1,500/s | 3,000/s | 2.00 | 0.25 ms |" in text
    assert "| list of 200 ports | 310 to 430 ms | 10.0 ms | 20.0 ms | 0.50 |" in text
    assert "boots" not in text
