"""Guests that ping one another all the time, and what came of it, told by their consoles.

Each guest asks each other five times a second and writes every answer to its serial console: whom it asked, the
answer's number, how many there were, and the sum of both.  QEMU itself writes consoles to files, so no part of the
cloud stands between the guests and who reads here, and what is counted does not depend on how soon it is read: a ping
is lost when later ones were answered and it was not.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from bench import written
from bench.beside import Beside
from cloudseed.cli import openstack
from cloudseed.cli.api import Api
from cloudseed.guest_images.tiny import build_tiny

COMPUTE, NETWORK, IMAGE = "/compute/v2.1", "/networking/v2.0", "/image/v2"
EVERY_S = 0.2
PATIENCE_S = 180.0
PREFIX = "10.68.0."
_ANSWER = re.compile(rb"@([0-9.]+) (\d+) (\d+) (\d+)\r?\n|~(\d+) ~(\d+)\r?\n")
# It outlives a reboot: init starts it.  Each start asks with a size of its own, and takes answers of that size alone:
# when a server runs twice, those to the other one come here too.  A raw socket gets all that comes by ICMP, and about
# a second without a processor fills it: how much the guest dropped of it is told at first, after a gap, now and then.
_USER_DATA = r"""#!/bin/sh
dmesg -n 1
cat >/usr/bin/pinger <<'END'
#!/bin/sh
export PATH=/usr/bin
n=0 last=-1 size=$((56 + $(date +%s) / 20 % 30))
drops() {
  total=0
  while read -r _ _ _ _ _ _ _ _ _ _ _ _ drops _; do case $drops in [0-9]*) total=$((total + drops)) ;; esac; done
  echo "~$total ~$total" >/dev/console
}
ping -s $size -i 0.2 "$1" 2>/dev/null | while read -r line; do
  case $line in
    $((size + 8))" bytes "*seq=*) seq=${line#*seq=} seq=${seq%% *}
      [ "$seq" = "$last" ] && continue
      n=$((n + 1)) gap=$((seq - last)) last=$seq
      [ $gap = 1 ] && [ $((n % 25)) != 1 ] || drops </proc/net/raw
      echo "@$1 $seq $n $((seq + n))" >/dev/console ;;
  esac
done
sleep 1
END
WRITER
chmod 0755 /usr/bin/pinger /usr/bin/writer
for address in PEERS; do echo "::respawn:/usr/bin/pinger $address" >>/etc/inittab; done
echo "::respawn:/usr/bin/writer" >>/etc/inittab
kill -HUP 1
"""


class Guest(msgspec.Struct):
    """`host` is where it runs now: who moves it says so."""

    server_id: str
    address: str
    host: str

    @property
    def number(self) -> int:
        """From 1, among those that were made together."""
        return int(self.address.rpartition(".")[2]) - 10


class Guests:
    """One guest on each of these hosts, all in one network."""

    def __init__(self, api: Api, hosts: list[str]) -> None:
        self.image, self.flavor, self.network = _needs(api)
        addresses = [f"{PREFIX}{10 + number}" for number in range(1, len(hosts) + 1)]
        self.every = [Guest(self._boot(api, host, address, addresses), address, host)
                      for host, address in zip(hosts, addresses, strict=True)]

    def _boot(self, api: Api, host: str, address: str, addresses: list[str]) -> str:
        peers = " ".join(other for other in addresses if other != address)
        script = _USER_DATA.replace("PEERS", peers).replace("WRITER\n", written.script(
            addresses.index(address) + 1, len(addresses))).encode()
        made = api.send("POST", f"{COMPUTE}/servers", {"server": {
            "name": f"pings-on-{host}", "imageRef": self.image, "flavorRef": self.flavor, "config_drive": True,
            "availability_zone": f"nova:{host}", "user_data": base64.b64encode(script).decode(),
            "networks": [{"uuid": self.network, "fixed_ip": address}]}})
        return str(made["server"]["id"])

    def on(self, host: str) -> Guest:
        """The guest there."""
        return next(guest for guest in self.every if guest.host == host)


def _needs(api: Api) -> tuple[str, str, str]:
    """An image, a flavor, a network where pings may pass."""
    image = str(api.send("POST", f"{IMAGE}/images", {
        "name": "tiny", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"})["id"])
    with build_tiny(openstack.cache()).open("rb") as file:
        api.upload(f"{IMAGE}/images/{image}/file", file)
    flavor = str(api.send("POST", f"{COMPUTE}/flavors", {"flavor": {
        "name": "pings", "ram": 128, "vcpus": 1, "disk": 0}})["flavor"]["id"])
    network = api.send("POST", f"{NETWORK}/networks", {"network": {"name": "pings"}})["network"]
    api.send("POST", f"{NETWORK}/subnets", {"subnet": {
        "network_id": network["id"], "ip_version": 4, "cidr": f"{PREFIX}0/24",
        "allocation_pools": [{"start": f"{PREFIX}100", "end": f"{PREFIX}200"}]}})
    groups = api.get(f"{NETWORK}/security-groups?name=default&project_id={network['project_id']}")["security_groups"]
    api.send("POST", f"{NETWORK}/security-group-rules", {"security_group_rule": {
        "security_group_id": groups[0]["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": "icmp"}})
    return image, flavor, str(network["id"])


class Pair(msgspec.Struct):
    """What one guest heard of another since it (or its `ping`) last started."""

    asked: int = 0  # of which the last answer was
    answered: int = 0
    life: int = 0  # how often it started
    heard: float = 0.0  # when the last answer was read (time.monotonic)
    silent_s: float = 0.0  # the longest time between two answers, since it was set to 0
    drops: int = 0  # of what came to the guest, and its kernel had no room for

    @property
    def lost(self) -> int:
        return self.asked - self.answered

    def take(self, number: int, answered: int, now: float) -> None:
        """An answer: its number (of 16 bits, from 0) and how many there were."""
        if answered <= self.answered or not self.life:
            self.asked, self.life = 0, self.life + 1
        gap = (number + 1 - self.asked) & 0xFFFF
        if gap < 0x8000:  # else an earlier one, late
            self.asked += gap
        self.answered = answered
        if self.heard:
            self.silent_s = max(self.silent_s, now - self.heard)
        self.heard = now


class Heard(msgspec.Struct):
    """What came of the pings between two moments.  `dropped`: answers that came to their guest, which was too slow for
    them; `lost`: all others that are missing."""

    sent: int
    lost: int
    dropped: int
    silent_s: float
    wrong: list[str]

    def __str__(self) -> str:
        dropped = f" ({self.dropped} dropped by slow guests)" if self.dropped else ""
        return f"{self.sent} pings, {self.lost} lost{dropped}, longest silence {self.silent_s:.1f} s"


class Pings(Beside):
    """Reads the consoles.

        with Pings(state, guests) as pings:
            pings.settle()
            before = pings.now()
            ...
            assert pings.since(before).lost == 0
    """

    def __init__(self, state: Path, guests: Guests, every_s: float = 0.1) -> None:
        super().__init__("pings", every_s)
        self._state = state
        self._guests = guests
        self._lock = threading.Lock()
        self._read: dict[str, tuple[Path, int, bytes]] = {}  # of each server: file, offset, the last line's beginning
        self._pairs = {(one.address, other.address): Pair() for one in guests.every for other in guests.every
                       if one is not other}

    def look(self) -> None:
        for guest in self._guests.every:
            self._read_console(guest)

    def _read_console(self, guest: Guest) -> None:
        path = self._state / "hosts" / guest.host / "machines" / guest.server_id / "console.log"
        known, offset, rest = self._read.get(guest.server_id, (path, 0, b""))
        try:
            size = path.stat().st_size
            if known != path:  # another host's
                offset, rest = 0, b""
            elif size < offset:  # cut to its latest part; counts go on
                offset, rest = size, b""
            with path.open("rb") as file:
                file.seek(offset)
                new = file.read()
        except OSError:
            return
        now = time.monotonic()
        whole, newline, tail = (rest + new).rpartition(b"\n")
        self._read[guest.server_id] = path, offset + len(new), tail
        with self._lock:
            for found in _ANSWER.finditer(whole + newline):
                # of a line that was written to a full disk a part may be missing
                if found[5] is not None:
                    for (address, _), pair in self._pairs.items():
                        pair.drops = int(found[5]) if address == guest.address and found[5] == found[6] else pair.drops
                    continue
                pair = self._pairs.get((guest.address, found[1].decode()))
                if pair is not None and int(found[2]) + int(found[3]) == int(found[4]):
                    pair.take(int(found[2]), int(found[3]), now)

    def now(self) -> dict[tuple[str, str], Pair]:
        """How it stands; the longest silence is counted anew from here."""
        with self._lock:
            copied = {key: msgspec.structs.replace(pair) for key, pair in self._pairs.items()}
            for pair in self._pairs.values():
                pair.silent_s = 0.0
            return copied

    def settle(self, among: Collection[Guest] = (), more: int = 5, seconds: float = PATIENCE_S) -> None:
        """Until each guest (of `among`, when given) heard some more answers of each other."""
        began = self._copy()
        until = time.monotonic() + seconds
        while True:
            waiting = [key for key, pair in self._copy().items()
                       if self._counts(key, among) and pair.life == began[key].life
                       and pair.answered < began[key].answered + more]
            if not waiting and all(pair.life for key, pair in self._copy().items() if self._counts(key, among)):
                return
            if time.monotonic() > until:
                raise TimeoutError(f"in {seconds:g} s no answer came for {waiting}")
            time.sleep(0.1)

    def since(self, before: dict[tuple[str, str], Pair], among: Collection[Guest] = ()) -> Heard:
        """What came of the pings since then, between these guests (default: all).  `settle` first: what has no answer
        yet counts as neither."""
        sent, silent_s, wrong = 0, 0.0, list[str]()
        lost, dropped = Counter[str](), Counter[str]()  # by guest
        for key, pair in self._copy().items():
            if not self._counts(key, among):
                continue
            was, way = before[key], " to ".join(key)
            if pair.life != was.life:
                wrong.append(f"{way}: started anew")
                continue
            sent += pair.asked - was.asked
            silent_s = max(silent_s, pair.silent_s)
            lost[key[0]] += max(0, pair.lost - was.lost)
            dropped[key[0]] = max(0, pair.drops - was.drops)
        excused = lost & dropped
        wrong += [f"{guest}: {count - excused[guest]} of its pings lost" for guest, count in lost.items()
                  if count > excused[guest]]
        return Heard(sent, (lost - excused).total(), excused.total(), silent_s, wrong)

    def _copy(self) -> dict[tuple[str, str], Pair]:
        with self._lock:
            return {key: msgspec.structs.replace(pair) for key, pair in self._pairs.items()}

    @staticmethod
    def _counts(key: tuple[str, str], among: Collection[Guest]) -> bool:
        return not among or {guest.address for guest in among} >= set(key)


def wait_status(api: Api, server_id: str, status: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
    """The server once it has that status and nothing is under way with it."""
    until = time.monotonic() + seconds
    while True:
        server: dict[str, Any] = api.get(f"{COMPUTE}/servers/{server_id}")["server"]
        if server["status"] == status and server["OS-EXT-STS:task_state"] is None:
            return server
        if server["status"] == "ERROR" or time.monotonic() > until:
            raise RuntimeError(f"server {server_id} is {server['status']} and not {status}: {server.get('fault')}")
        time.sleep(0.2)
