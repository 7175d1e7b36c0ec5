"""Logs are cut to their latest part while others write them."""

from __future__ import annotations

from pathlib import Path

from cloudseed.host import logs
from cloudseed.host.paths import StatePaths
from tests.host.conftest import new_id


def test_a_log_that_grows_is_cut_and_written_on(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    machine = paths.machine(new_id())
    machine.directory.mkdir(parents=True)
    with open(machine.console_log, "ab", buffering=0) as guest:
        guest.write(b"old " * logs.MAX_BYTES + b"latest words")
        logs.trim(paths)
        guest.write(b" and more")
    text = machine.console_log.read_bytes()
    assert len(text) == logs.KEEP_BYTES + len(b" and more")
    assert text.endswith(b"latest words and more")


def test_short_logs_stay(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    log = paths.network(new_id()) / "dnsmasq.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * logs.MAX_BYTES)
    logs.trim(paths)
    assert log.stat().st_size == logs.MAX_BYTES
