"""Whether a request to a server's one task is taken, and in which way.  Pure: the standing in, a decision out.

    accept    it waits its turn; with `preempts`, what runs now is told to give way first
    join      the same request of the same operation is under way or done: its answer serves; a copy of it that
              comes late must not do it again (the server may have been started since it was stopped)
    refuse    it came too late (its operation was undone here)

A conductor that got no answer asks again, and its old message may still be under way: that is why repeats are
normal and why work of an operation that was undone here must not begin afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a server's task can be asked."""

    ALLOCATE_NETWORKS = "allocate_networks"
    RELEASE_NETWORKS = "release_networks"
    PREPARE_DISKS = "prepare_disks"
    START_NEW = "start_new"  # of a boot: waits for its ports
    POWER_ON = "power_on"
    POWER_OFF = "power_off"
    REBOOT = "reboot"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    SUSPEND = "suspend"
    RESUME = "resume"
    FETCH_IMAGE = "fetch_image"  # of a rebuild or a rescue
    REMAKE_DISKS = "remake_disks"
    PREPARE_RESCUE = "prepare_rescue"
    DROP_RESCUE = "drop_rescue"
    REMOVE_MACHINE = "remove_machine"  # the undo of a boot's disks and start
    DESTROY = "destroy"  # of a delete: machine and ports
    OBTAIN_PORT = "obtain_port"  # of an attachment of an interface
    PLUG_PORT = "plug_port"
    DROP_PORT = "drop_port"  # its undo
    UNPLUG_PORT = "unplug_port"  # of a detachment
    RELEASE_PORT = "release_port"
    SNAPSHOT = "snapshot"  # a flat copy of the root disk
    UPLOAD_SNAPSHOT = "upload_snapshot"
    DISCARD_SNAPSHOT = "discard_snapshot"  # the undo of both
    MAKE_VOLUMES = "make_volumes"  # of a boot: those that do not exist yet
    CONNECT_VOLUMES = "connect_volumes"  # of a boot
    DISCONNECT_VOLUMES = "disconnect_volumes"  # the undo of both
    ATTACH_VOLUME = "attach_volume"
    DROP_VOLUME = "drop_volume"  # the undo of an attach
    DETACH_VOLUME = "detach_volume"
    EXTEND_VOLUME = "extend_volume"
    OFFLOAD = "offload"
    BIND_NETWORKS = "bind_networks"  # of an unshelve
    UNBIND_NETWORKS = "unbind_networks"  # its undo
    START_UNSHELVED = "start_unshelved"
    RESIZE_DISKS = "resize_disks"
    RESTORE_DISKS = "restore_disks"  # the undo, and a revert
    DROP_KEPT_DISKS = "drop_kept_disks"
    FORGET_PORT = "forget_port"  # it was deleted in neutron
    ARRIVE_PORTS = "arrive_ports"  # of a cold move, on the destination
    ARRIVE_VOLUMES = "arrive_volumes"
    RECEIVE_DISKS = "receive_disks"
    SETTLE_DISKS = "settle_disks"
    START_ARRIVED = "start_arrived"
    SEND_DISKS = "send_disks"  # on the source
    STOP_SENDING = "stop_sending"  # its undo
    RETURN_PORTS = "return_ports"  # back on the source: the undo of a cold move, and a revert
    RETURN_VOLUMES = "return_volumes"
    START_RETURNED = "start_returned"
    JOIN_NETWORKS = "join_networks"  # of a live migration, on the destination: beside the source
    JOIN_VOLUMES = "join_volumes"
    RECEIVE_LIVE = "receive_live"
    RUN_HERE = "run_here"
    LEAVE_NETWORKS = "leave_networks"  # on the one that does not have the guest in the end
    SEND_LIVE = "send_live"  # on the source
    TAKE_BACK = "take_back"  # its undo
    SYNC_NETWORK = "sync_network"
    SYNC_POWER = "sync_power"


BUILDING = frozenset({
    Kind.ALLOCATE_NETWORKS, Kind.MAKE_VOLUMES, Kind.CONNECT_VOLUMES, Kind.PREPARE_DISKS, Kind.START_NEW,
    Kind.OBTAIN_PORT, Kind.PLUG_PORT, Kind.ATTACH_VOLUME, Kind.SNAPSHOT, Kind.UPLOAD_SNAPSHOT, Kind.RESIZE_DISKS,
    Kind.BIND_NETWORKS, Kind.START_UNSHELVED, Kind.ARRIVE_PORTS, Kind.ARRIVE_VOLUMES, Kind.RECEIVE_DISKS,
    Kind.SETTLE_DISKS, Kind.START_ARRIVED, Kind.SEND_DISKS, Kind.JOIN_NETWORKS, Kind.JOIN_VOLUMES, Kind.RECEIVE_LIVE,
    Kind.SEND_LIVE})
UNDOING = frozenset({
    Kind.RELEASE_NETWORKS, Kind.DISCONNECT_VOLUMES, Kind.REMOVE_MACHINE, Kind.DROP_PORT, Kind.DROP_VOLUME,
    Kind.DISCARD_SNAPSHOT, Kind.RESTORE_DISKS, Kind.UNBIND_NETWORKS, Kind.STOP_SENDING, Kind.RETURN_PORTS,
    Kind.RETURN_VOLUMES, Kind.START_RETURNED, Kind.TAKE_BACK, Kind.LEAVE_NETWORKS})
ENDING = UNDOING | {Kind.DESTROY}
SYNCING = frozenset({Kind.SYNC_NETWORK, Kind.SYNC_POWER})


class Verdict(StrEnum):
    ACCEPT = "accept"
    JOIN = "join"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Ask:
    """A request: of which kind, for which operation (empty for what the host itself wants)."""

    kind: Kind
    operation_id: str = ""


@dataclass(frozen=True)
class Standing:
    """A server's task: what runs, what waits, what is done and which operations were undone here."""

    running: Ask | None = None
    waiting: tuple[Ask, ...] = ()
    done: frozenset[Ask] = frozenset()
    undone: frozenset[str] = frozenset()  # operation ids
    destroyed: bool = False


@dataclass(frozen=True)
class Decision:
    verdict: Verdict
    reason: str = ""
    preempts: bool = False


def admit(standing: Standing, ask: Ask) -> Decision:
    """What to do with `ask`."""
    if ask.kind in BUILDING and ask.operation_id in standing.undone:
        return Decision(Verdict.REFUSE, "the operation was undone on this host")
    if ask.kind not in ENDING and standing.destroyed:
        return Decision(Verdict.REFUSE, "the server is being deleted")
    if ask.kind in SYNCING and ask in standing.waiting:
        return Decision(Verdict.JOIN, "it will be looked at anyway")
    if ask.operation_id and (ask == standing.running or ask in standing.waiting):
        return Decision(Verdict.JOIN, "asked before")
    if ask.operation_id and ask in standing.done:
        return Decision(Verdict.JOIN, "done before")
    return Decision(Verdict.ACCEPT, preempts=ask.kind in ENDING)
