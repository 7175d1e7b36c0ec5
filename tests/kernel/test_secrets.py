"""Secrets lie where the control process may write, and root reads them: it must not be led elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.kernel.config import data_directory, load_secrets


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = data_directory(tmp_path)
    directory.mkdir()
    return directory


def test_they_are_made_once_and_for_nobody_else(data: Path) -> None:
    made = load_secrets(data.parent)
    assert load_secrets(data.parent) == made and (data / "secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_in_the_way_is_not_written_through(data: Path, exists: bool) -> None:
    victim = data.parent / "victim"
    if exists:
        victim.write_text("precious")
    (data / "secrets.new").symlink_to(victim)
    load_secrets(data.parent)
    assert victim.read_text() == "precious" if exists else not victim.exists()


def test_a_link_in_the_secrets_place_is_not_read(data: Path) -> None:
    other = data.parent / "other.json"
    load_secrets(data.parent)
    (data / "secrets.json").rename(other)
    (data / "secrets.json").symlink_to(other)
    with pytest.raises(OSError):
        load_secrets(data.parent)
