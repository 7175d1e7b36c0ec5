"""Points within a host's own work at which its processes can be made to die, so that tests can do it at each of them.

The control process's operations have points of their own (kernel/operations/faults.py).  Here are those of whoever
does what an operation asks for: an agent and the host process.  A point is named `PART,WORK,WHAT`, where `WORK` is the
request that is worked on (`begin`), and `WHAT` what comes next: the request itself, a call to somebody else, an answer,
or an effect outside of the process.  Effects are not declared one by one: Python tells of each file that is made,
renamed or removed and of each program that is started (sys.addaudithook), netlink's one way out is watched, and the
few that Python does not tell of say so.  A second one of the same name within a request has `#2` behind it.

All of it is armed by CLOUDSEED_DIE_AT=DIRECTORY and costs a comparison otherwise.  Who passes a point whose name a
file there has renames it to `NAME.died` and is gone, as by kill -9; while there is a file `passed`, each name is
written to it.  It knows nothing of the kernel or the host, and both know it.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+|[0-9a-f]{8,}|\d{2,}")  # what is another one each time
_UNDER_WAY_S = 0.001
_watch: Callable[[str], None] | None = None


class _Work:
    """What a task is at, and which names it has passed with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.passed: Counter[str] = Counter()


_working: contextvars.ContextVar[_Work | None] = contextvars.ContextVar("working", default=None)
_own = threading.local()  # set while we do something ourselves: nobody's point


def begin(work: str) -> None:
    """This task, and those that it starts, are at that request from now on."""
    if _watch is not None:
        _working.set(_Work(work))


def point(what: str) -> None:
    """Die here if a test says so.  Costs one comparison otherwise."""
    if _watch is not None:
        _watch(what)


def arm_from_environment(part: str) -> None:
    """Do what CLOUDSEED_DIE_AT says, if anything; `part` is what this process is."""
    global _watch
    directory = os.environ.get("CLOUDSEED_DIE_AT")
    if directory:
        _watch = _Watch(part, Path(directory))
        sys.addaudithook(_tell_effects)
        if "pyroute2" in sys.modules:
            _watch_netlink()


class _Watch:
    def __init__(self, part: str, directory: Path) -> None:
        self._part = part
        self._directory = directory

    def __call__(self, what: str) -> None:
        work = _working.get()
        if work is None or getattr(_own, "busy", False):
            return
        with _ourselves():
            work.passed[what] += 1
            count = f"#{work.passed[what]}" if work.passed[what] > 1 else ""
            name = f"{self._part},{work.name},{what}{count}".replace("/", ":")[:200]
            self._record(name)
            if what.startswith("run "):
                self._during(f"{name} is under way")
            if self._take(name):
                os.kill(os.getpid(), signal.SIGKILL)

    def _record(self, name: str) -> None:
        try:
            descriptor = os.open(self._directory / "passed", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.write(descriptor, f"{name}\n".encode())
        finally:
            os.close(descriptor)

    def _take(self, name: str) -> bool:
        try:
            (self._directory / name).rename(self._directory / f"{name}.died")
        except FileNotFoundError:
            return False
        return True

    def _during(self, name: str) -> None:
        """Die as soon as the program that is about to be started has begun."""
        self._record(name)
        if (self._directory / name).exists():
            threading.Thread(target=self._die_beside, args=(name, _children()), daemon=True).start()

    def _die_beside(self, name: str, before: set[int]) -> None:
        with _ourselves():
            own, until = _program(os.getpid()), time.monotonic() + 5
            while time.monotonic() < until:
                if any(_program(pid) not in ("", own) for pid in _children() - before):
                    if self._take(name):
                        os.kill(os.getpid(), signal.SIGKILL)
                    return
                time.sleep(_UNDER_WAY_S)


@contextlib.contextmanager
def _ourselves() -> Iterator[None]:
    _own.busy = True
    try:
        yield
    finally:
        _own.busy = False


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def _program(pid: int) -> str:
    """What it runs; until it runs a program of its own that is its parent's."""
    try:
        return (Path(f"/proc/{pid}/exe")).readlink().name
    except OSError:
        return ""


# ---- effects

_ON_PATHS = {"os.rename": "rename to", "os.mkdir": "make", "os.remove": "remove", "os.rmdir": "remove",
             "os.link": "link", "os.symlink": "link", "os.truncate": "cut", "os.chown": "give away"}
_LAST = {"os.rename", "os.link", "os.symlink"}  # the second path is the new one


def _tell_effects(event: str, arguments: tuple[Any, ...]) -> None:
    """Each effect that Python tells of, before it is done."""
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and _lasts(path):
            point(f"write {_known_as(path)}")
    elif event in _ON_PATHS:
        path = arguments[1 if event in _LAST else 0]
        if _lasts(path):
            point(f"{_ON_PATHS[event]} {_known_as(path)}")
    elif event == "subprocess.Popen":
        words = [str(word) for word in arguments[1]]
        point(f"run {Path(words[0]).name} {_NAME.sub('*', words[1])[:30] if len(words) > 1 else ''}".strip())
    elif event == "socket.bind" and isinstance(arguments[1], str | bytes):
        point(f"listen on {_known_as(arguments[1])}")


def _lasts(path: object) -> bool:
    """Whether it is a file that stays when the process is gone."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return bool(text) and not text.startswith(("/dev/", "/proc/self", "/proc/thread-self"))


def _known_as(path: Any) -> str:
    """Its name and its directory's, without what is another one each time."""
    return _NAME.sub("*", ":".join(Path(os.fsdecode(path)).parts[-2:]))


def _watch_netlink() -> None:
    """Requests that change something pass here before they are sent."""
    from pyroute2.netlink.nlsocket import NetlinkRequest

    send = NetlinkRequest.send

    async def told(request: Any) -> Any:
        kind = int(request.msg["header"]["type"])
        if kind >= 16 and kind % 4 != 2:  # RTM_GET... and what netlink says itself change nothing
            point(f"netlink {type(request.msg).__name__} {kind}")
        return await send(request)

    NetlinkRequest.send = told
