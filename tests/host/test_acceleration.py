"""The acceleration probe: its guest really runs, its limits hold, its cache forgets what no longer holds."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from cloudseed.host import acceleration
from cloudseed.host.acceleration import LONG_MODE_STATUS, Acceleration, boot_sector, probe, try_guest

needs_qemu = pytest.mark.skipif(shutil.which(acceleration.QEMU) is None, reason="needs qemu-system-x86_64")


def fake_qemu(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


async def ends(pid_file: Path) -> None:
    """Wait until the process is gone, or dead and only not yet collected by its new parent."""
    status = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    async with asyncio.timeout(10):
        while True:
            try:
                if status.read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            await asyncio.sleep(0.01)


def test_boot_sector_is_one_that_a_bios_starts() -> None:
    sector = boot_sector()
    assert len(sector) == 512
    assert sector[-2:] == b"\x55\xaa"


@pytest.mark.real
@needs_qemu
async def test_guest_reaches_long_mode_under_tcg() -> None:
    found = await try_guest("tcg", timeout_s=30)
    assert found == Acceleration("tcg", "a guest under tcg reached 64-bit mode")


@pytest.mark.real
@needs_qemu
async def test_guest_that_is_not_in_long_mode_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 64-bit code decoded as 16-bit code does not pass: without the switch there is no good answer."""
    sector = bytearray(boot_sector())
    sector[2:5] = b"\xe9" + (0xA0 - 5).to_bytes(2, "little")  # jmp straight to the 64-bit code
    monkeypatch.setattr(acceleration, "boot_sector", lambda: bytes(sector))
    found = await try_guest("tcg", timeout_s=3)
    assert "reached" not in found.reason


async def test_hanging_guest_is_killed_at_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    monkeypatch.setattr(acceleration, "QEMU", fake_qemu(tmp_path / "qemu", f"echo $$ >{pid_file}; exec sleep 60"))
    begin = time.monotonic()
    found = await try_guest("kvm", timeout_s=0.5)
    assert time.monotonic() - begin < 5
    assert found == Acceleration("tcg", "a guest under kvm did not reach 64-bit mode within 0.5 s")
    await ends(pid_file)


async def test_cancelled_probe_leaves_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    monkeypatch.setattr(acceleration, "QEMU", fake_qemu(tmp_path / "qemu", f"echo $$ >{pid_file}; exec sleep 60"))
    task = asyncio.create_task(try_guest("kvm", timeout_s=60))
    async with asyncio.timeout(10):
        while not (pid_file.exists() and pid_file.read_text().strip()):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ends(pid_file)


@pytest.mark.real
async def test_hanging_guest_ends_though_its_prober_was_killed(tmp_path: Path) -> None:
    """kill -9 of the prober: the guest has its own limit, and no file is left."""
    pid_file = tmp_path / "pid"
    qemu = fake_qemu(tmp_path / "qemu", f"echo $$ >{pid_file}; exec sleep 60")
    script = (
        "import asyncio\nfrom cloudseed.host import acceleration\n"
        f"acceleration.QEMU = {qemu!r}\nasyncio.run(acceleration.try_guest('kvm', 0.5))\n"
    )
    source = Path(acceleration.__file__).parents[2]
    prober = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env={**os.environ, "PYTHONPATH": str(source)}
    )
    async with asyncio.timeout(20):
        while not (pid_file.exists() and pid_file.read_text().strip()):
            await asyncio.sleep(0.01)
        prober.kill()
        await prober.wait()
    await ends(pid_file)


async def test_finding_is_kept_for_this_boot_and_this_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script = f'[ "$1" = --version ] && {{ echo "QEMU 9"; exit; }}; echo run >>{runs}; exit {LONG_MODE_STATUS}'
    monkeypatch.setattr(acceleration, "QEMU", fake_qemu(tmp_path / "qemu", script))
    monkeypatch.setattr(acceleration, "KVM_DEVICE", Path("/dev/null"))
    cache = tmp_path / "cache"
    for _ in range(2):
        assert (await probe(cache)).name == "kvm"
    assert runs.read_text().count("run") == 1
    fake_qemu(tmp_path / "qemu", script.replace("QEMU 9", "QEMU 10"))
    await probe(cache)
    assert runs.read_text().count("run") == 2
    (cache / "acceleration.json").write_text("{torn")
    assert (await probe(cache)).name == "kvm"


async def test_failing_qemu_gives_its_own_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(acceleration, "QEMU", fake_qemu(tmp_path / "qemu", "echo 'no such accelerator' >&2; exit 1"))
    found = await try_guest("kvm", timeout_s=5)
    assert found.name == "tcg"
    assert "status 1: no such accelerator" in found.reason


async def test_without_kvm_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(acceleration, "KVM_DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(acceleration, "QEMU", fake_qemu(tmp_path / "qemu", f"touch {tmp_path}/started"))
    found = await probe(tmp_path)
    assert found.name == "tcg" and "does not exist" in found.reason
    assert not (tmp_path / "started").exists()
