"""What the doctor says of a machine that shall hold many hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.cli.hosts import doctor
from cloudseed.cli.servers import postgres, rabbitmq


def test_each_server_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "find_binaries", lambda: None)
    monkeypatch.setattr(rabbitmq, "is_installed", lambda: False)
    missing = [check for check in (doctor.check_postgres(), doctor.check_rabbitmq()) if check.status == "fail"]
    assert [(check.fix or "").split()[-1] for check in missing] == ["postgresql", "rabbitmq-server"]
    monkeypatch.setattr(postgres, "find_binaries", lambda: Path("/here"))
    monkeypatch.setattr(rabbitmq, "is_installed", lambda: True)
    assert {doctor.check_postgres().status, doctor.check_rabbitmq().status} == {"ok"}


@pytest.mark.parametrize(("count", "available", "status"), [(3, 8000, "ok"), (3, 1000, "warn"), (3, 500, "fail"),
                                                           (16, 1000, "fail")])  # fmt: skip
def test_memory_for_so_many_hosts(count: int, available: int, status: str) -> None:
    assert doctor.check_room(count, available).status == status


def test_hosts_need_root_and_a_number_that_can_be() -> None:
    assert doctor.check_rights(1000).status == "fail" and doctor.check_rights(0).status == "ok"
    assert doctor.check_count(17).status == "fail" and doctor.check_count(16).status == "ok"
