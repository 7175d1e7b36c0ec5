"""Chooses kernel modules and writes the indexes that the guest's modprobe reads.

A Debian kernel package brings no `modules.dep`: depmod makes it at installation.  We never install, so the
dependencies and the aliases are read from the modules themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloudseed.guest_images.elf import module_info
from cloudseed.guest_images.errors import BuildError


@dataclass(frozen=True)
class Module:
    """A module file: its canonical name (with underscores), its path below the modules' directory, what it needs."""

    name: str
    path: str
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def canonical(name: str) -> str:
    """Linux takes `-` and `_` in module names for the same."""
    return name.replace("-", "_")


def choose(directory: Path, wanted: Iterable[str], optional: Iterable[str] = ()) -> list[Module]:
    """The wanted modules and all that they need, each after what it needs, from `lib/modules/VERSION`.

    Raises BuildError for a wanted module that is neither there nor built into the kernel; optional ones may lack.
    """
    files = {canonical(path.stem): path for path in sorted(directory.rglob("*.ko"))}
    builtin_list = directory / "modules.builtin"
    builtin = (
        {canonical(Path(line).stem) for line in builtin_list.read_text().split()} if builtin_list.exists() else set()
    )
    chosen: dict[str, Module] = {}

    def add(name: str) -> None:
        if name in chosen or name in builtin:
            return
        if name not in files:
            raise BuildError(f"the kernel package has no module {name} (looked in {directory.name})")
        info = module_info(files[name].read_bytes())
        depends = tuple(
            canonical(needed) for key, value in info if key == "depends" for needed in value.split(",") if needed
        )
        for needed in depends:
            add(needed)
        aliases = tuple(value for key, value in info if key == "alias")
        chosen[name] = Module(name, str(files[name].relative_to(directory)), depends, aliases)

    for name in wanted:
        add(canonical(name))
    for name in optional:
        if canonical(name) in files:
            add(canonical(name))
    return list(chosen.values())


_SIGNATURE_MARK = b"~Module signature appended~\n"


def without_signature(data: bytes) -> bytes:
    """The module without the signature at its end.

    The kernel takes unsigned modules too (and notes so), and is spared an RSA check of each: 15 ms without hardware
    virtualization.  The packages' own digests were checked when they came.  Layout: module_signature.h in Linux.
    """
    if not data.endswith(_SIGNATURE_MARK):
        return data
    end = len(data) - len(_SIGNATURE_MARK)
    (signature_size,) = struct.unpack_from(">I", data, end - 4)
    return data[: end - 12 - signature_size]


def dependency_index(modules: list[Module]) -> str:
    """The text of `modules.dep`: each module with all that must be in before it.

    `modules` is in an order in which they can be loaded, as `choose` gives it.  busybox loads a line's modules from
    its end and does not look up their own lines, so the last one must be the one that needs nothing.
    """
    by_name = {module.name: module for module in modules}

    def below(module: Module) -> set[str]:
        direct = {name for name in module.depends if name in by_name}
        return direct.union(*(below(by_name[name]) for name in direct))

    lines = []
    for module in modules:
        needed = below(module)
        lines.append(f"{module.path}:{''.join(' ' + m.path for m in reversed(modules) if m.name in needed)}\n")
    return "".join(lines)


def alias_index(modules: list[Module]) -> str:
    """The text of `modules.alias`: which module drives which device."""
    return "".join(f"alias {alias} {m.name}\n" for m in modules for alias in m.aliases)
