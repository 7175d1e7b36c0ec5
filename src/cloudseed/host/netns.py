"""Network namespaces: making, entering, listing and removing them.

A namespace is a mount in /run/netns, as `ip netns` keeps them, so an operator can look inside with the usual
tools.  The kernel attaches a thread, not a process, to a namespace: work inside one runs in a thread made for
it, which ends afterwards, so no other work can ever find itself in the wrong namespace.  A process started by
such a thread is born in the namespace.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from cloudseed import points
from cloudseed.host.errors import HostError

_T = TypeVar("_T")

DIRECTORY = Path("/run/netns")
_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MS_REC = 16384
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def names(prefix: str) -> list[str]:
    """The namespaces whose names start with the prefix, sorted."""
    try:
        return sorted(entry for entry in os.listdir(DIRECTORY) if entry.startswith(prefix))
    except FileNotFoundError:
        return []


def exists(name: str) -> bool:
    """Whether there is a namespace of that name that can be entered."""
    try:
        return run(name, lambda: True)
    except HostError as exc:
        if exc.code == "not_found":
            return False
        raise


def create(name: str) -> bool:
    """Make a namespace with its loopback down; false when it is there already."""
    if exists(name):
        return False
    DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    path = DIRECTORY / name
    path.touch(mode=0o444)

    def make() -> None:
        _check(_libc.unshare(_CLONE_NEWNET), "making a network namespace")
        points.point("mount a namespace")
        source = b"/proc/thread-self/ns/net"
        _check(_libc.mount(source, os.fsencode(path), b"none", _MS_BIND, None), f"mounting {path}")

    try:
        _in_thread(make)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True


def remove(name: str) -> None:
    """Remove the name; the kernel ends the namespace when its last process and socket are gone."""
    path = DIRECTORY / name
    points.point("unmount a namespace")
    _libc.umount2(os.fsencode(path), _MNT_DETACH)  # fails harmlessly on a mere file left by a crash
    path.unlink(missing_ok=True)


def run(name: str, work: Callable[[], _T]) -> _T:
    """Do the work inside the namespace and return what it returns; `not_found` when there is none."""

    def enter() -> _T:
        _enter(name)
        return work()

    return _in_thread(enter)


def run_here(work: Callable[[], _T]) -> _T:
    """As `run`, in the namespace of the caller: netlink wants a thread without an event loop at work."""
    return _in_thread(work)


@contextlib.contextmanager
def descriptor(name: str) -> Iterator[int]:
    """The namespace as a file descriptor, for links that reach into it; `not_found` when there is none."""
    try:
        opened = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError("not_found", f"there is no network namespace {name}: apply its network") from None
    try:
        yield opened
    finally:
        os.close(opened)


def run_with_only(name: str, directory: Path, target: Path, work: Callable[[], _T]) -> _T:
    """As `run`, in a mount namespace besides, where `target` shows `directory`.

    It lets an unprivileged process use one directory that lies below others which it may not pass.
    """

    def enter() -> _T:
        _enter(name)
        # a thread shares its root and working directory with the others until it says otherwise
        _check(_libc.unshare(_CLONE_FS), "leaving the shared working directory")
        _check(_libc.unshare(_CLONE_NEWNS), "making a mount namespace")
        # what the host unmounts later goes here too; nothing of ours goes there
        _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None), "making mounts our own")
        _unmount_namespaces()
        source, place = os.fsencode(directory), os.fsencode(target)
        _check(_libc.mount(source, place, b"none", _MS_BIND, None), f"mounting {directory}")
        return work()

    return _in_thread(enter)


def _enter(name: str) -> None:
    try:
        descriptor = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError("not_found", f"there is no network namespace {name}: apply its network") from None
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            # a plain file: what is left when a mount was lost
            remove(name)
            raise HostError("not_found", f"{name} was not a network namespace any more: apply its network")
    finally:
        os.close(descriptor)


def _unmount_namespaces() -> None:
    """In a mount namespace just made: a copied mount of another network's namespace would keep that alive."""
    for line in Path("/proc/thread-self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        place = fields.split()[4]
        if kind.startswith("nsfs ") and place.startswith(f"{DIRECTORY}/"):
            _libc.umount2(os.fsencode(place), _MNT_DETACH)


def _check(result: int, doing: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise HostError("failed", f"the system refused {doing}: {os.strerror(number)}")


def _in_thread(work: Callable[[], _T]) -> _T:
    result: list[_T] = []
    failure: list[BaseException] = []
    context = contextvars.copy_context()  # what it does is part of what the caller does

    def body() -> None:
        try:
            result.append(context.run(work))
        except BaseException as exc:
            failure.append(exc)

    thread = threading.Thread(target=body, name="netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
