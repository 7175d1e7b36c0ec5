"""What can go wrong in a cloud of many hosts, done to one on purpose and mended again; and a plan of it from a seed.

Nothing here knows what the cloud does meanwhile: `monkey.py` and the tests of faults do.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.clocks import Clock
from bench.small_disks import fill
from cloudseed.cli import processes
from cloudseed.cli.hosts import places, servers, shape, start, stop
from cloudseed.cli.launching import StartFailed
from cloudseed.cli.processes import Process
from cloudseed.cli.servers import rabbitmq
from cloudseed.kernel.config import Config

_CUT = "monkey"  # the table of rules that cut a host off
_STARTS = 5
UNRULY_BUS = {"CLOUDSEED_BUS_FAULTS": "seed=5 twice=0.3 late_s=0.3 lost=0.1 lost_replies=0.1"}
FAILING_WRITES = {"CLOUDSEED_DATABASE_FAULTS": "every=7"}
_MEND_S = 4.0  # how long mending takes, for planning only


class Turn(msgspec.Struct, frozen=True):
    """After `pause_s`, do `kind` to host number `host` (where it is about a host), and mend it after `hold_s`."""

    pause_s: float
    kind: str
    host: int
    hold_s: float

    def __str__(self) -> str:
        where = f" host-{self.host}" if KINDS[self.kind].of_host else ""
        return f"{self.kind}{where} for {self.hold_s:g} s"


class Site:
    """A running cloud of many hosts, and ways to harm it.  Each returns what mends it, where `up` would not.

    `port`: the API's; `up`: what starts all that does not run; `evacuate`: what has a host's servers built anew
    elsewhere, by the host's name, and returns what takes back what that did to the host.
    """

    def __init__(self, state: Path, port: int, up: Callable[[], object],
                 evacuate: Callable[[str], Callable[[], None]] | None = None) -> None:
        made = shape.load(state)
        if made is None:
            raise ValueError(f"the cloud in {state} is not one of many hosts")
        self._state = state
        self._port = port
        self._up = up
        self._evacuate = evacuate
        self.shape = made

    def place(self, host: int) -> places.Place:
        return self.shape.places(self._state)[host - 1]

    def mend(self, undo: Callable[[], None] | None) -> None:
        """Take the harm back, then do what an operator does: `up`, which starts what does not run."""
        if undo is not None:
            undo()
        self._up()

    # ---- processes

    def process(self, name: str) -> Process:
        """By its name among the cloud's (processes.every)."""
        return dict(processes.every(processes.load(self._state)))[name]

    def kill(self, name: str) -> None:
        """kill -9, and of what it started too, where the process would be waited for by those (the database)."""
        process = self.process(name)
        children = [Process(pid, processes.start_time(pid)) for pid in _children(process.pid)]
        _signal(process, signal.SIGKILL)
        _wait_ended([process, *(children if name == "postgres" else [])])

    def freeze(self, name: str) -> Callable[[], None]:
        """It stands still until mended, with those that it started."""
        root = self.process(name)
        every = [root, *(Process(pid, processes.start_time(pid)) for pid in _children(root.pid))]
        for process in every:
            _signal(process, signal.SIGSTOP)

        def thaw() -> None:
            for process in every:
                _signal(process, signal.SIGCONT)

        return thaw

    def restart(self, names: list[str], environment: dict[str, str]) -> Callable[[], None]:
        """Killed and started at once with this in their environment; without it when they are mended."""
        def kill() -> None:
            for name in names:
                self.kill(name)

        kill()
        config = msgspec.json.decode((self._state / "run" / "config.json").read_bytes(), type=Config)
        for tries in reversed(range(_STARTS)):
            try:
                start.start(config, lambda text: None, environment)
                break
            except StartFailed:  # it met what it was started with, and says so: whoever starts it tries again
                if not tries:
                    raise
        return kill

    def unruly_bus(self, host: int) -> Callable[[], None]:
        """What the services and a host tell each other comes twice, late, out of order, or not at all."""
        return self.restart(["control", f"host-{host} agent"], UNRULY_BUS)

    def failing_writes(self) -> Callable[[], None]:
        """Every seventh commit of the services fails, half of them after the database did it."""
        return self.restart(["control"], FAILING_WRITES)

    def shift_clock(self, host: int) -> Callable[[], None]:
        """The host's processes start with a clock an hour late (hosts of odd numbers) or early."""
        return self._restart_by(host, self._off(host))[1]

    def set_clock(self, host: int) -> Callable[[], None]:
        """The clock of the host's processes is set while they run, as far; it is right again before they end."""
        clock, kill = self._restart_by(host, "+0")
        clock.set(self._off(host))

        def right() -> None:
            clock.set("+0")
            kill()

        return right

    @staticmethod
    def _off(host: int) -> str:
        return "-1h" if host % 2 else "+1h"

    def _restart_by(self, host: int, off: str) -> tuple[Clock, Callable[[], None]]:
        """A clock for the host's processes, and what ends them."""
        clock = Clock(self._state / f"clock-{host}")
        clock.set(off)
        return clock, self.restart([f"host-{host} {part}" for part in ("agent", "host")], clock.environment)

    def fill_disk(self, host: int) -> Callable[[], None]:
        """No byte is left where the host keeps what it has, a file system of its own (small_disks.py)."""
        state = self.place(host).state
        if not state.is_mount():
            raise RuntimeError(f"{state} is no file system of its own")
        filler = state / "filler"
        fill(filler)
        return filler.unlink

    def empty_broker(self) -> Callable[[], None]:
        """Killed, and all that it kept is gone when it is back."""
        broker = servers.broker(self._state, self.shape)
        rabbitmq.stop(broker.directory, at_once=True)
        return lambda: rabbitmq.empty(broker.directory)

    # ---- links and hosts

    def unplug(self, host: int) -> Callable[[], None]:
        """The host's link to all others and to the controller is down."""
        place, switch = self.place(host), places.switch_namespace(self.shape.name)

        def link(state: str) -> None:
            _run("ip", "-n", switch, "link", "set", place.underlay_port, state)

        link("down")
        return lambda: link("up")

    def cut(self, host: int, *ports: int) -> Callable[[], None]:
        """What the host sends to those ports of the controller's machine is lost."""
        inside = ("ip", "netns", "exec", self.place(host).namespace, "nft")
        rules = (f"table inet {_CUT} {{ chain out {{ type filter hook output priority 0; "
                 f"ip daddr {self.shape.controller} tcp dport {{ {', '.join(map(str, ports))} }} drop; }}; }}")
        _run(*inside, rules)
        return lambda: _run(*inside, "delete", "table", "inet", _CUT)

    def cut_broker(self, host: int) -> Callable[[], None]:
        return self.cut(host, self.shape.broker_port)

    def cut_api(self, host: int) -> Callable[[], None]:
        return self.cut(host, self._port)

    def cut_controller(self, host: int) -> Callable[[], None]:
        """From the services and the broker at once; other hosts are reached as ever."""
        return self.cut(host, self.shape.broker_port, self._port)

    def power_off(self, host: int) -> None:
        """Every process of the host is killed and its networks are gone.  `up` gives it power again."""
        stop.kill(self.place(host), processes.load(self._state))

    def evacuate(self, host: int) -> Callable[[], None]:
        """Its power is off, and somebody has its servers moved away from it."""
        assert self._evacuate is not None
        self.power_off(host)
        return self._evacuate(self.place(host).name)


class Kind(msgspec.Struct, frozen=True):
    """A kind of harm: what does it, given a site and a host's number; between how many seconds it may last."""

    do: Callable[[Site, int], Callable[[], None] | None]
    least_s: float
    most_s: float
    of_host: bool = False


KINDS: dict[str, Kind] = {
    "kill-control": Kind(lambda site, host: site.kill("control"), 0, 5),
    "kill-database": Kind(lambda site, host: site.kill("postgres"), 0, 5),
    "kill-broker": Kind(lambda site, host: site.kill("rabbitmq"), 1, 10),
    "empty-broker": Kind(lambda site, host: site.empty_broker(), 1, 10),
    "kill-agent": Kind(lambda site, host: site.kill(f"host-{host} agent"), 0, 6, True),
    "kill-host-process": Kind(lambda site, host: site.kill(f"host-{host} host"), 0, 6, True),
    "freeze-control": Kind(lambda site, host: site.freeze("control"), 1, 6),
    "freeze-database": Kind(lambda site, host: site.freeze("postgres"), 1, 5),
    "freeze-broker": Kind(lambda site, host: site.freeze("rabbitmq"), 1, 8),
    "freeze-agent": Kind(lambda site, host: site.freeze(f"host-{host} agent"), 2, 20, True),
    "unplug": Kind(lambda site, host: site.unplug(host), 2, 18, True),
    "cut-broker": Kind(lambda site, host: site.cut_broker(host), 2, 18, True),
    "cut-api": Kind(lambda site, host: site.cut_api(host), 2, 12, True),
    "power-off": Kind(lambda site, host: site.power_off(host), 2, 16, True),
    "evacuate": Kind(lambda site, host: site.evacuate(host), 0, 20, True),
    "unruly-bus": Kind(lambda site, host: site.unruly_bus(host), 4, 15, True),
    "failing-writes": Kind(lambda site, host: site.failing_writes(), 4, 15),
    "clock": Kind(lambda site, host: site.shift_clock(host), 4, 15, True),
    "full-disk": Kind(lambda site, host: site.fill_disk(host), 2, 15, True),
}


def plan(seed: int, seconds: float, hosts: int, kinds: list[str] | None = None) -> list[Turn]:
    """About as many seconds of harm; the same for the same arguments.  No kind comes twice before each came once."""
    chance, turns, deck = random.Random(seed), list[Turn](), list[str]()
    while seconds > 0:
        if not deck:
            deck = sorted(kinds or KINDS)
            chance.shuffle(deck)
        name = deck.pop()
        kind = KINDS[name]
        turn = Turn(round(chance.uniform(1, 4), 1), name, chance.randint(1, hosts),
                    round(chance.uniform(kind.least_s, kind.most_s), 1))
        turns.append(turn)
        seconds -= turn.pause_s + turn.hold_s + _MEND_S
    return turns


def _children(pid: int) -> list[int]:
    """Of the process and of those, the eldest first."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_children(int(child))]
    return found


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if process.alive():
            os.kill(process.pid, number)


def _wait_ended(every: list[Process], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while waiting := [process for process in every if process.alive()]:
        if time.monotonic() > until:
            raise RuntimeError(f"processes {[process.pid for process in waiting]} did not end in {seconds:g} s")
        for process in waiting:
            processes.reap(process.pid)
        time.sleep(0.02)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
