"""A shell and a sink in the tiny guest, by its user data, and a client for them in the guest's namespace.

The shell runs what it is sent as root, without any password: for guests in a namespace that nobody else can reach.
"""

from __future__ import annotations

import re
import socket
import time

from bench import guest
from cloudseed.host import netns

SHELL_PORT, SINK_PORT = 7000, 7001
_PATIENCE_S = 120.0
_TOOK = re.compile(r"^took ([0-9.]+) ([0-9.]+) (\d+)$", re.MULTILINE)
# a static address besides: a plain bridge has no DHCP server
USER_DATA = f"""#!/bin/sh
ip addr add {{address}} dev eth0
printf '#!/bin/sh\\nexec dd of=/dev/null bs=64k 2>&1\\n' >/run/sink
chmod 0755 /run/sink
nc -ll -p {SINK_PORT} -e /run/sink </dev/null >/dev/null 2>&1 &
nc -ll -p {SHELL_PORT} -e /bin/sh </dev/null >/dev/null 2>&1 &
"""


class Guest:
    """A guest that answers at that address in that namespace."""

    def __init__(self, namespace: str, address: str) -> None:
        self._namespace = namespace
        self._address = address

    def wait(self) -> None:
        """Until its shell is there."""
        guest.wait_for_answer(self._namespace, self._address)
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                if "ready" in self.run("echo ready"):
                    return
            except OSError as exc:
                if time.monotonic() > until:
                    raise RuntimeError(f"the guest at {self._address} has no shell: {exc}") from exc
                time.sleep(0.2)

    def run(self, script: str) -> str:
        """What the script printed, errors included.  Commands in it must not read their standard input."""
        return netns.run(self._namespace, lambda: self._talk(SHELL_PORT, [f"exec 2>&1\n{script}\n".encode()])).decode()

    def seconds(self, command: str, prepare: str = "") -> float:
        """How long the command took by the guest's clock, the start of its process included."""
        return self.seconds_together([command], prepare)

    def seconds_together(self, commands: list[str], prepare: str = "") -> float:
        """How long the commands took, all at once, by the guest's clock, until the last one's end."""
        started = "\n".join(f'{command} </dev/null &\npids="$pids $!"' for command in commands)
        waited = "for pid in $pids; do wait $pid || status=$?; done"
        script = f"{prepare}\nstatus=0\na=$EPOCHREALTIME\n{started}\n{waited}\necho took $a $EPOCHREALTIME $status"
        printed = self.run(script)
        found = _TOOK.findall(printed)
        if not found or found[-1][2] != "0":
            raise RuntimeError(f"{commands[0]} in the guest: {printed[-300:]}")
        return float(found[-1][1]) - float(found[-1][0])

    def receive(self, mib: int) -> float:
        """Have the guest send so much over one connection; seconds by our clock, from our order to its end."""

        def work() -> float:
            began = time.monotonic()
            script = f"dd if=/dev/zero bs=64k count={mib * 16} 2>/dev/null\n".encode()
            got = len(self._talk(SHELL_PORT, [script]))
            if got != mib << 20:
                raise RuntimeError(f"the guest sent {got} bytes instead of {mib << 20}")
            return time.monotonic() - began

        return netns.run(self._namespace, work)

    def send(self, mib: int) -> float:
        """Send the guest so much over one connection; seconds by our clock, until it said that it had all."""

        def work() -> float:
            began = time.monotonic()
            printed = self._talk(SINK_PORT, [bytes(1 << 20)] * mib).decode()
            if "records in" not in printed:
                raise RuntimeError(f"the guest did not get {mib} MiB: {printed[-300:]}")
            return time.monotonic() - began

        return netns.run(self._namespace, work)

    def _talk(self, port: int, parts: list[bytes]) -> bytes:
        """Send all, then read until the other side ends."""
        with socket.create_connection((self._address, port), timeout=5) as connection:
            connection.settimeout(_PATIENCE_S)
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            out = bytearray()
            while chunk := connection.recv(1 << 18):
                out += chunk
            return bytes(out)
