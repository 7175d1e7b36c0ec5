"""Who writes a volume, told by its bytes: each guest writes who it is to a place of its own, and reads the others'.

A guest writes its boot and a number that grows, some times a second, past its own cache, and tells on its console what
it reads of the others.  From outside the volume's file tells who wrote last.  Wrong is what no guest that runs once
would do: a boot that writes after its successor did, and a number that was there before.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from bench.beside import Beside

_PLACE = 1 << 20  # a guest's, in bytes from that of the one before
_TOLD_BYTES = 1 << 16
_RECORD = re.compile(rb"([0-9a-f-]{36}) (\d{12})\n")
# A node of its own: by the disk's, which goes with it, a file would be made when the disk has just been taken away.
_SCRIPT = r"""cat >/usr/bin/writer <<'END'
#!/bin/sh
export PATH=/usr/bin
boot=$(cat /proc/sys/kernel/random/boot_id) n=0
while :; do
  sleep 0.3
  [ -e /sys/block/vdb/dev ] || continue
  [ -b /dev/volume ] || { IFS=: read -r major minor </sys/block/vdb/dev; mknod /dev/volume b "$major" "$minor"; }
  n=$((n + 1))
  printf '%s %012d\n' "$boot" "$n" |
    dd of=/dev/volume bs=512 seek=$((OWN * 2048)) conv=sync,notrunc,fsync oflag=direct 2>/dev/null ||
    { [ -e /sys/block/vdb/dev ] && echo "!$n" >/dev/console; }
  for other in OTHERS; do
    echo "#$other $(dd if=/dev/volume bs=512 skip=$((other * 2048)) count=1 iflag=direct 2>/dev/null |
      tr -d '\0')" >/dev/console
  done
done
END
"""
_READ = re.compile(rb"#(\d+) ([0-9a-f-]{36}) (\d{12})\r?\n")
_FAILED = re.compile(rb"!(\d+)\r?\n")


class Last(msgspec.Struct, frozen=True):
    """What a guest wrote last: which boot of it, and its number."""

    boot: str
    number: int


def script(own: int, guests: int) -> str:
    """For guest number `own` of so many, from 1: it writes to the first disk beside its root's."""
    others = " ".join(str(number) for number in range(1, guests + 1) if number != own)
    return _SCRIPT.replace("OWN", str(own)).replace("OTHERS", others)


class Written(Beside):
    """Reads the volume's file.

        with Written(data, guests=3) as written: ...
        assert not written.wrong
    """

    def __init__(self, data: Path, guests: int, every_s: float = 0.05) -> None:
        super().__init__("written", every_s)
        self._data = data
        self._last: dict[int, Last] = {}
        self._former: dict[int, set[str]] = {number: set() for number in range(1, guests + 1)}
        self.wrong: list[str] = []

    def look(self) -> None:
        try:
            with self._data.open("rb") as file:
                for guest in self._former:
                    now, again = (os.pread(file.fileno(), 64, guest * _PLACE) for _ in range(2))
                    # what is being written at this moment may be half of either
                    if now == again and (found := _RECORD.match(now)):
                        self._take(guest, Last(found[1].decode(), int(found[2])))
        except FileNotFoundError:
            return

    def _take(self, guest: int, now: Last) -> None:
        was = self._last.get(guest)
        if was is not None and was.boot == now.boot and now.number < was.number:
            self.wrong.append(f"guest {guest} had written {was.number}, then {now.number} was there")
        if was is not None and was.boot != now.boot:
            self._former[guest].add(was.boot)
            if now.boot in self._former[guest]:
                self.wrong.append(f"guest {guest}: boot {now.boot} wrote again after {was.boot} did")
        self._last[guest] = now

    def last(self, guest: int) -> Last:
        """What that guest wrote last; nothing is number 0."""
        return self._last.get(guest, Last("", 0))


def told(console: Path) -> tuple[dict[int, Last], int]:
    """What a guest told last that it read of each other; and how many writes of its own it said that failed."""
    with console.open("rb") as file:
        file.seek(max(0, console.stat().st_size - _TOLD_BYTES))
        text = file.read()
    return {int(found[1]): Last(found[2].decode(), int(found[3])) for found in _READ.finditer(text)}, \
        len(_FAILED.findall(text))
