"""Machines that go to another host, and those that come from one."""

from __future__ import annotations

from cloudseed.host.records.base import Command, Record
from cloudseed.host.records.machines import MachineSpec


class Door(Record, frozen=True, kw_only=True):
    """Where a host expects a machine, or a viewer of one.  `address` and `port` are on the underlay; `ticket` is a
    secret."""

    address: str
    port: int
    ticket: str


class SendStatus(Record, frozen=True, kw_only=True):
    """How far a machine is on its way, in bytes.  `done`: all of it is there."""

    done: bool = False
    memory_total_bytes: int = 0
    memory_processed_bytes: int = 0
    memory_remaining_bytes: int = 0
    disk_total_bytes: int = 0
    disk_processed_bytes: int = 0
    disk_remaining_bytes: int = 0


class ReceiveDisks(Command, frozen=True, kw_only=True):
    """Expect the files of a machine that is off: its disks, its config drive, its firmware's variables. -> Door

    Their images must be in the cache.  `owner` as in CreateDisk.
    """

    server_id: str
    owner: str = ""


class SettleDisks(Command, frozen=True, kw_only=True):
    """Expect no more; `conflict` unless all files have come. -> None"""

    server_id: str


class ReceiveMachine(Command, frozen=True, kw_only=True):
    """Expect a machine that runs; its disks, empty, and its taps must exist. -> Door

    When it comes it stands still until `RunMachine`.
    """

    spec: MachineSpec


class SendDisks(Command, frozen=True, kw_only=True):
    """Send the files of a machine that is off through another host's door. -> SendStatus

    Answers at once; asked again, it tells how far it is, or why it failed.
    """

    server_id: str
    door: Door


class SendMachine(Command, frozen=True, kw_only=True):
    """Send a machine that runs, with its overlays, through another host's door. -> SendStatus

    As SendDisks.  When it is done, the machine stands still here and waits there.
    """

    server_id: str
    door: Door


class GetSending(Command, frozen=True, kw_only=True):
    """-> SendStatus of a machine on its way; `not_found` for one that is not"""

    server_id: str


class HurryMachine(Command, frozen=True, kw_only=True):
    """Let a machine that is being sent stand still, so that the rest goes at once. -> None"""

    server_id: str


class TakeBack(Command, frozen=True, kw_only=True):
    """Send no more; a machine that stands still because it was sent goes on, unless `paused`. -> None

    Only for one that has not run elsewhere since.
    """

    server_id: str
    paused: bool = False


class RunMachine(Command, frozen=True, kw_only=True):
    """Let a machine that has come go on, unless `paused`; it runs already: fine. -> None"""

    server_id: str
    paused: bool = False
