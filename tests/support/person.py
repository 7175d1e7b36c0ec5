"""Someone who uses a cloud as its users do: by the unmodified `openstack` client, and by SSH into the tiny guest."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon, wait_for

USER = "cirros"


class Person:
    """Someone with the `openstack` command and an SSH key."""

    def __init__(self, cloud: Daemon, home: Path) -> None:
        self._cloud = cloud
        self.key = home / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)

    def run(self, *words: str) -> Any:
        """One command's JSON (None when it prints nothing)."""
        asks = words[-1] == "--json"
        done = self._cloud.openstack(*(words[:-1] if asks else words), *(("-f", "json") if asks else ()))
        assert done.returncode == 0, f"openstack {' '.join(words)}: {done.stderr or done.stdout}"
        return json.loads(done.stdout) if asks else None

    def wait(self, kind: str, name: str, status: str, seconds: float) -> Any:
        """Until `openstack <kind> show <name>` says that status; an error ends the wait."""
        def look() -> Any:
            found = self.run(*kind.split(), "show", name, "--json")
            assert found["status"].lower() != "error", found
            return found if found["status"].lower() == status else None

        return wait_for(look, seconds, f"{kind} {name} to be {status}")

    def ssh(self, address: str, script: str, seconds: float = 180.0, *, namespace: str = "") -> str:
        """What a script in the guest prints, asked from this machine or from one of its network namespaces; tried
        again until the guest's SSH server is up."""
        until = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                [*(("ip", "netns", "exec", namespace) if namespace else ()), "ssh", "-i", str(self.key),
                 "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o",
                 "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5", f"{USER}@{address}", script],
                text=True, capture_output=True, timeout=120)
            if done.returncode == 0:
                return done.stdout
            assert done.returncode == 255 and time.monotonic() < until, f"{script}: {done.stderr}{done.stdout}"
            time.sleep(0.5)
