"""The database's server is started again, however the one before it ended."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli.servers import postgres


@pytest.mark.skipif(postgres.find_binaries() is None, reason="needs the package postgresql")
def test_it_waits_for_a_killed_one_to_be_reaped(tmp_path: Path) -> None:
    """PostgreSQL takes whoever has the number that it noted for a server that runs, a zombie too."""
    if os.geteuid() == 0:
        for directory in (tmp_path, *list(tmp_path.parents)[:2]):
            directory.chmod(0o711)
    server = postgres.PostgresServer(tmp_path / "postgres", postgres.free_port(), "secret", fsync=False)
    server.make()
    account: dict[str, Any] = {"user": postgres.ACCOUNT} if os.geteuid() == 0 else {}
    killed = subprocess.Popen([postgres.find_binaries() / "postgres", "--version"],  # type: ignore[operator]
                              stdout=subprocess.DEVNULL, **account)
    stat = Path(f"/proc/{killed.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    noted = server.data / "postmaster.pid"
    noted.write_text(f"{killed.pid}\n{server.data}\n0\n{server.port}\n\n127.0.0.1\n")
    if os.geteuid() == 0:
        os.chown(noted, postgres.PostgresServer._account().pw_uid, -1)
    noted.chmod(0o600)
    reaper = threading.Timer(0.5, killed.wait)
    reaper.start()
    try:
        assert server.pid is None
        server.start()
        assert killed.returncode == 0 and server.pid not in (None, killed.pid)
    finally:
        reaper.join()
        server.stop(mode="immediate")
