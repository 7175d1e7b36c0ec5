"""Writes the archive format that Linux reads its initramfs from ("newc", in Linux' `buffer-format.rst`).

Written here because it is thirty lines, gives the same bytes each time, and can hold what an unprivileged
builder cannot put on its own disk: files of root.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One path of a tree (relative, no leading slash): mode with its type bits, a file's or link's content, and
    the number of the user and group that own it."""

    path: str
    mode: int
    content: bytes = b""
    owner: int = 0


def directory(path: str, mode: int = 0o755, owner: int = 0) -> Entry:
    return Entry(path, stat.S_IFDIR | mode, b"", owner)


def file(path: str, content: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | mode, content)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: list[Entry]) -> bytes:
    """The archive: every entry dated 1970, in the order given (directories before their files)."""
    out = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.path.encode() + b"\0"
        fields = (number, entry.mode, entry.owner, entry.owner, 1, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += b"\0" * (-len(out) % 4)
        out += entry.content
        out += b"\0" * (-len(out) % 4)
    return bytes(out)
