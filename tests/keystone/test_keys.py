"""The key repository on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.keystone.keys import BadToken, KeyRepository


def test_a_rotation_that_was_killed_midway_is_mended(tmp_path: Path) -> None:
    keys = KeyRepository(tmp_path / "keys")
    sealed = keys.encrypt(b"x")
    (tmp_path / "keys" / "0").rename(tmp_path / "keys" / "2")  # promoted, and nothing staged yet
    (tmp_path / "keys" / ".0.new").write_bytes(b"half")
    again = KeyRepository(tmp_path / "keys")
    assert again.decrypt(sealed) == b"x"
    assert again.rotate() == 3 and again.decrypt(again.encrypt(b"y")) == b"y"


def test_another_repositorys_keys_open_nothing(tmp_path: Path) -> None:
    sealed = KeyRepository(tmp_path / "a").encrypt(b"x")
    with pytest.raises(BadToken):
        KeyRepository(tmp_path / "b").decrypt(sealed)


def test_what_another_process_rotated_is_read_again(tmp_path: Path) -> None:
    one, two = KeyRepository(tmp_path / "keys"), KeyRepository(tmp_path / "keys")
    for _ in range(3):
        one.rotate()
    with pytest.raises(BadToken):
        two.decrypt(one.encrypt(b"x"))
    two.load()
    assert two.decrypt(one.encrypt(b"x")) == b"x"
