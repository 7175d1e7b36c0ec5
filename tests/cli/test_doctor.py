"""`cloudseed doctor`: each judgement on facts that are given, and the whole on this machine."""

from __future__ import annotations

import io
import json
import shutil
import socket
from pathlib import Path

import pytest
from rich.console import Console

from cloudseed.cli import doctor
from cloudseed.cli.doctor import Check, Program
from cloudseed.host.acceleration import Acceleration

QEMU = Program("qemu-system-x86_64", "--version", "qemu-system-x86", "runs machines")


def test_missing_program_names_its_package() -> None:
    check = doctor.check_program(QEMU, None, None)
    assert check.status == "fail"
    assert check.fix == "sudo apt-get install --no-install-recommends qemu-system-x86"


def test_program_that_does_not_start_fails() -> None:
    assert doctor.check_program(QEMU, "/usr/bin/qemu-system-x86_64", None).status == "fail"
    assert doctor.check_program(QEMU, "/usr/bin/qemu-system-x86_64", "QEMU 9").status == "ok"


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Acceleration("kvm", "a guest under kvm reached 64-bit mode"), "ok"),
        (Acceleration("tcg", "a guest under kvm did not reach 64-bit mode within 2 s"), "warn"),
        (Acceleration("tcg", "/dev/kvm does not exist: no hardware virtualization"), "warn"),
    ],
)
def test_acceleration_is_never_a_reason_to_fail(found: Acceleration, status: str) -> None:
    check = doctor.check_acceleration(found)
    assert check.status == status
    assert found.reason in check.finding


@pytest.mark.parametrize(("free_gib", "status"), [(1, "fail"), (5, "warn"), (50, "ok")])
def test_disk_space(free_gib: int, status: str) -> None:
    assert doctor.check_disk(Path("/x"), free_gib << 30).status == status


@pytest.mark.parametrize(("available_mib", "status"), [(100, "fail"), (1000, "warn"), (8000, "ok")])
def test_memory(available_mib: int, status: str) -> None:
    meminfo = f"MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   {available_mib * 1024} kB\n"
    check = doctor.check_memory(meminfo)
    assert check.status == status
    assert check.finding.startswith(f"{available_mib} MiB available of 15625")


def test_memory_of_unreadable_meminfo_is_not_called_enough() -> None:
    assert doctor.check_memory("").status == "fail"


def test_taken_port_fails_with_another_to_try_unless_it_is_ours() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        taken = doctor.check_port("127.0.0.1", port, ours=False)
        assert taken.status == "fail"
        assert taken.fix is not None and "--port" in taken.fix
        assert doctor.check_port("127.0.0.1", port, ours=True).status == "ok"
    assert doctor.check_port("127.0.0.1", port, ours=False).status == "ok"


def test_address_of_another_machine_fails() -> None:
    assert doctor.check_port("192.0.2.1", 8080, ours=False).status == "fail"


def test_root_is_a_warning_only() -> None:
    assert doctor.check_root(0).status == "ok"
    assert doctor.check_root(1000).status == "warn"


def test_kernel_without_namespaces_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = doctor.kernel_checks(lambda command: "unshare: Operation not permitted")
    assert [check.status for check in checks] == ["fail"]


def test_missing_kernel_feature_names_its_module() -> None:
    checks = doctor.kernel_checks(lambda command: "Unknown device type." if "vxlan" in command else None)
    (failed,) = [check for check in checks if check.status == "fail"]
    assert failed.fix == "sudo modprobe -a vxlan"


def test_kernel_features_that_cannot_be_tried_are_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_program", lambda name: None)
    assert {check.status for check in doctor.kernel_checks(lambda command: None)} == {"ok", "warn"}


def test_namespace_trial_tells_success_from_failure() -> None:
    if shutil.which("unshare") is None or doctor.try_in_namespace("true") is not None:
        pytest.skip("no network namespaces here")
    assert doctor.try_in_namespace("echo not so >&2; exit 3") == "not so"


def test_table_prints_each_fix_whole_however_narrow() -> None:
    out = io.StringIO()
    fix = "sudo apt-get install --no-install-recommends " + "long-name " * 10
    doctor.show([Check("a", "fail", "finding", fix.strip()), Check("b", "ok", "fine")], Console(file=out, width=40))
    assert fix.strip() in out.getvalue()


def test_doctor_answers_a_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code follows the findings, and the JSON has them all."""
    monkeypatch.setenv("CLOUDSEED_CACHE", str(tmp_path))
    code = doctor.run(["--json", "--state", str(tmp_path / "state")])
    answer = json.loads(capsys.readouterr().out)
    names = {check["name"] for check in answer["checks"]}
    assert {"root", "acceleration", "qemu-system-x86_64", "qemu-img", "dnsmasq", "nft", "ip", "memory"} <= names
    assert (code == 0) == answer["ok"] == all(check["status"] != "fail" for check in answer["checks"])


def test_wrong_port_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        doctor.run(["--port", "70000"])
    assert exit_info.value.code == 2
    assert "70000" in capsys.readouterr().err
