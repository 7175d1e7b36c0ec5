"""The disks of a machine as they were before a resize, kept until the user is content or wants them back.

    keep      every overlay, with the record of what it stands on, is copied into `kept/`, all or nothing
    restore   the machine has exactly the kept ones again, and those that were made since are gone
    drop      `kept/` goes

Copies share no bytes with the machine's own disks, so both sides stay plain files with one name; holes stay holes.
Only for machines that are off, and each safe to repeat.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cloudseed.host.errors import from_os_error
from cloudseed.host.paths import MachinePaths, StatePaths

_PIECE = 8 * 1024 * 1024
_SUFFIXES = (".qcow2", ".backing")


def keep(paths: StatePaths, server_id: str) -> None:
    """Copy the overlays into `kept/`; what is kept already stays as it is."""
    machine = paths.machine(server_id)
    if machine.kept.exists():
        return
    making = machine.kept.with_name("kept.new")
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        for path in _disks(machine.directory):
            _copy(path, making / path.name)
        _sync(making)
        making.rename(machine.kept)
        _sync(machine.directory)
    except OSError as exc:
        shutil.rmtree(making, ignore_errors=True)
        raise from_os_error(exc, f"keeping the disks of server {server_id}") from exc


def restore(paths: StatePaths, server_id: str) -> None:
    """Give the machine its kept disks back; nothing kept is fine, then it has them."""
    machine = paths.machine(server_id)
    _forget_unfinished(machine)
    if not machine.kept.exists():
        return
    try:
        kept = {path.name: path for path in _disks(machine.kept)}
        for path in _disks(machine.directory):
            if path.name not in kept:
                path.unlink()
        for name, path in kept.items():
            # `kept/` stays whole until every disk is back: this may be cut off anywhere and begun again
            temporary = machine.directory / f"{name}.restored"
            temporary.unlink(missing_ok=True)
            os.link(path, temporary)
            temporary.rename(machine.directory / name)
            temporary.unlink(missing_ok=True)  # one that was back already: renaming a file onto itself does nothing
        _sync(machine.directory)
    except OSError as exc:
        raise from_os_error(exc, f"restoring the disks of server {server_id}") from exc
    drop(paths, server_id)


def drop(paths: StatePaths, server_id: str) -> None:
    """Forget the kept disks."""
    machine = paths.machine(server_id)
    _forget_unfinished(machine)
    if machine.kept.exists():
        going = machine.kept.with_name("kept.gone")
        machine.kept.rename(going)
        shutil.rmtree(going)


def _forget_unfinished(machine: MachinePaths) -> None:
    for name in ("kept.new", "kept.gone"):
        shutil.rmtree(machine.kept.with_name(name), ignore_errors=True)


def _disks(directory: Path) -> list[Path]:
    """The overlays in a directory and their records; no link, which would lead elsewhere."""
    return sorted(path for path in directory.iterdir()
                  if path.suffix in _SUFFIXES and path.is_file() and not path.is_symlink())


def _copy(source: Path, target: Path) -> None:
    """The bytes, holes left out, on the disk when this returns."""
    with open(source, "rb") as given, open(target, "xb") as made:
        os.fchmod(made.fileno(), 0o600)
        size, at = os.fstat(given.fileno()).st_size, 0
        os.ftruncate(made.fileno(), size)
        while at < size:
            try:
                start = os.lseek(given.fileno(), at, os.SEEK_DATA)
            except OSError:
                break  # nothing but a hole is left
            end = os.lseek(given.fileno(), start, os.SEEK_HOLE)
            while start < end:
                done = os.copy_file_range(given.fileno(), made.fileno(), min(end - start, _PIECE), start, start)
                if done == 0:
                    break
                start += done
            at = end
        os.fsync(made.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
