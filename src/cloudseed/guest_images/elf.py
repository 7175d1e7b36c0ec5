"""Reads what we need of ELF files: which libraries a program needs, and the text that kernel modules carry.

Only 64-bit little-endian files, which is what the amd64 packages hold.  Format: System V ABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct

_SHT_DYNAMIC = 6
_DT_NEEDED = 1
_PT_INTERP = 3


def sections(data: bytes) -> list[tuple[str, int, bytes, int]]:
    """Each section as (name, type, content, index of its linked section).  Raises ValueError for other files."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    names_at = headers[names_index][4]
    found = []
    for name, kind, _flags, _address, offset, length, link, *_ in headers:
        text = data[names_at + name : data.index(b"\0", names_at + name)].decode()
        content = b"" if kind == 8 else data[offset : offset + length]  # 8: a section without bytes in the file
        found.append((text, kind, content, link))
    return found


def needed_libraries(data: bytes) -> list[str]:
    """The sonames that a program or library asks its loader for."""
    found = sections(data)
    names = []
    for _name, kind, content, link in found:
        if kind != _SHT_DYNAMIC:
            continue
        strings = found[link][2]
        for tag, value in struct.iter_unpack("<qQ", content):
            if tag == _DT_NEEDED:
                names.append(strings[value : strings.index(b"\0", value)].decode())
    return names


def interpreter(data: bytes) -> str | None:
    """The path of the loader that a program asks the kernel for, or None for static programs and libraries."""
    (start,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    for i in range(count):
        kind, _flags, offset, _va, _pa, length = struct.unpack_from("<IIQQQQ", data, start + i * size)
        if kind == _PT_INTERP:
            return data[offset : offset + length].rstrip(b"\0").decode()
    return None


def module_info(data: bytes) -> list[tuple[str, str]]:
    """A kernel module's `.modinfo`: (key, value) pairs such as ("depends", "virtio,virtio_ring")."""
    for name, _kind, content, _link in sections(data):
        if name == ".modinfo":
            lines = [line.decode() for line in content.split(b"\0") if b"=" in line]
            return [(line.split("=", 1)[0], line.split("=", 1)[1]) for line in lines]
    return []
