"""Every command of the wire has something that does it."""

from __future__ import annotations

import typing
from pathlib import Path

from cloudseed.host import records
from cloudseed.host.server import HostServer


def test_each_command_is_answered(tmp_path: Path) -> None:
    server = HostServer("tst", tmp_path, 0, 0)
    known = set(server._commands) | {records.Watch}
    assert known == set(typing.get_args(records.AnyCommand))
