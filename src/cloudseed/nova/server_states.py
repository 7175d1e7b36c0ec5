"""The states of a server: upstream's words, what may follow what, and which action is allowed when.

                    boot ok                stop
    (order) building ────────▶ active ◀──────────▶ stopped       any ──delete──▶ deleted
               │                 │ ▲      start        │
               │ boot failed     │ └── reboot          │
               ▼                 ▼                     ▼
             error            error ◀───── an action that failed and left the machine in doubt

`vm_state` says what the server is, `task_state` what is being done to it (null: nothing).  Both are renderings
of the durable operations in `conductor/`, which alone write them once the server exists.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import IntEnum, StrEnum

from cloudseed.kernel.errors import Conflict

log = logging.getLogger(__name__)


class VmState(StrEnum):
    """What a server is.  Values are upstream's."""

    BUILDING = "building"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    RESCUED = "rescued"
    RESIZED = "resized"
    SOFT_DELETED = "soft-delete"
    DELETED = "deleted"
    ERROR = "error"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"


class TaskState(StrEnum):
    """What is being done to a server.  Values are upstream's."""

    SCHEDULING = "scheduling"
    NETWORKING = "networking"
    BLOCK_DEVICE_MAPPING = "block_device_mapping"
    SPAWNING = "spawning"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    DELETING = "deleting"
    # of later issues, known so that they are shown as upstream shows them
    REBOOT_PENDING = "reboot_pending"
    REBOOT_STARTED = "reboot_started"
    REBOOT_PENDING_HARD = "reboot_pending_hard"
    REBOOT_STARTED_HARD = "reboot_started_hard"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    UPDATING_PASSWORD = "updating_password"  # noqa: S105 - a state's name
    REBUILDING = "rebuilding"
    REBUILD_BLOCK_DEVICE_MAPPING = "rebuild_block_device_mapping"
    REBUILD_SPAWNING = "rebuild_spawning"
    RESCUING = "rescuing"
    UNRESCUING = "unrescuing"
    MIGRATING = "migrating"
    IMAGE_SNAPSHOT_PENDING = "image_snapshot_pending"
    IMAGE_SNAPSHOT = "image_snapshot"
    IMAGE_BACKUP = "image_backup"
    IMAGE_PENDING_UPLOAD = "image_pending_upload"
    IMAGE_UPLOADING = "image_uploading"
    RESIZE_PREP = "resize_prep"
    RESIZE_MIGRATING = "resize_migrating"
    RESIZE_MIGRATED = "resize_migrated"
    RESIZE_FINISH = "resize_finish"
    RESIZE_REVERTING = "resize_reverting"
    SHELVING = "shelving"
    SHELVING_IMAGE_PENDING_UPLOAD = "shelving_image_pending_upload"
    SHELVING_IMAGE_UPLOADING = "shelving_image_uploading"
    SHELVING_OFFLOADING = "shelving_offloading"
    UNSHELVING = "unshelving"


class PowerState(IntEnum):
    """What the hypervisor says.  Numbers are upstream's and go over the API."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


_REBUILDS = ("rebuilding", "rebuild_block_device_mapping", "rebuild_spawning")
_RESIZES = ("resize_prep", "resize_migrating", "resize_migrated", "resize_finish")

# vm_state -> (the API's status, exceptions by task_state)
_STATUS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "active": ("ACTIVE", {
        "rebooting": "REBOOT", "reboot_pending": "REBOOT", "reboot_started": "REBOOT",
        "rebooting_hard": "HARD_REBOOT", "reboot_pending_hard": "HARD_REBOOT", "reboot_started_hard": "HARD_REBOOT",
        "updating_password": "PASSWORD", "migrating": "MIGRATING",
        **dict.fromkeys(_REBUILDS, "REBUILD"), **dict.fromkeys(_RESIZES, "RESIZE")}),
    "building": ("BUILD", {}),
    "stopped": ("SHUTOFF", {**dict.fromkeys(_REBUILDS, "REBUILD"), **dict.fromkeys(_RESIZES, "RESIZE")}),
    "resized": ("VERIFY_RESIZE", {"resize_reverting": "REVERT_RESIZE"}),
    "paused": ("PAUSED", {"migrating": "MIGRATING"}),
    "suspended": ("SUSPENDED", {}),
    "rescued": ("RESCUE", {}),
    "error": ("ERROR", dict.fromkeys(_REBUILDS, "REBUILD")),
    "deleted": ("DELETED", {}),
    "soft-delete": ("SOFT_DELETED", {}),
    "shelved": ("SHELVED", {}),
    "shelved_offloaded": ("SHELVED_OFFLOADED", {}),
}


def api_status(vm_state: str, task_state: str | None) -> str:
    """The `status` that the API shows, e.g. ("active", "rebooting") -> "REBOOT"; UNKNOWN for unknown states."""
    status, exceptions = _STATUS.get(vm_state, ("UNKNOWN", {}))
    return exceptions.get(task_state, status) if task_state else status


def states_of_status(status: str) -> tuple[list[str], list[str]]:
    """(vm_states, task_states) that the API shows as `status`, for filters: a server matches when its vm_state is
    in the first and, unless the second is empty, its task_state is in the second.  Case does not matter.

    >>> states_of_status("active")
    (['active'], [])
    """
    wanted = status.upper()
    vm_states: set[str] = set()
    task_states: set[str] = set()
    for vm_state, (default, exceptions) in _STATUS.items():
        if default == wanted:
            vm_states.add(vm_state)
            continue
        for task_state, shown in exceptions.items():
            if shown == wanted:
                vm_states.add(vm_state)
                task_states.add(task_state)
    return sorted(vm_states), sorted(task_states)


class ServerStateConflict(Conflict):
    """409 as upstream words it."""

    template = "Cannot '%(action)s' instance %(server_id)s while it is in %(attribute)s %(state)s"


_ANY = frozenset(VmState)
_NO_TASK = frozenset({None})
_HARD_REBOOT_TASKS = frozenset({
    None, "rebooting", "reboot_pending", "reboot_started", "resuming", "rebooting_hard", "unpausing", "pausing",
    "suspending"})
_COPIED = frozenset({"active", "stopped", "paused", "suspended"})
_CREATED = frozenset({"active", "paused", "stopped", "suspended", "rescued", "resized", "soft-delete", "error"})
_UP_OR_OFF = frozenset({"active", "paused", "stopped"})

_WITH_VOLUMES = frozenset({"active", "paused", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"})

# action -> (its name in messages, vm_states, task_states or None for any)
_ALLOWED: Mapping[str, tuple[str, frozenset[str], frozenset[str | None] | None]] = {
    "start": ("start", frozenset({"stopped"}), _NO_TASK),
    "stop": ("stop", frozenset({"active", "error"}), _NO_TASK),
    "soft_reboot": ("reboot", frozenset({"active"}), _NO_TASK),
    "hard_reboot": ("reboot", frozenset({"active", "stopped", "paused", "suspended", "error"}), _HARD_REBOOT_TASKS),
    "shelve": ("shelve", frozenset({"active", "stopped", "paused", "suspended"}), _NO_TASK),
    "shelve_offload": ("shelveOffload", frozenset({"shelved"}), _NO_TASK),
    "unshelve": ("unshelve", frozenset({"shelved", "shelved_offloaded"}), _NO_TASK),
    "resize": ("resize", frozenset({"active", "stopped"}), _NO_TASK),
    "migrate": ("migrate", frozenset({"active", "stopped"}), _NO_TASK),
    "live_migrate": ("os-migrateLive", frozenset({"active", "paused"}), _NO_TASK),
    # whatever was being done to it on a host that is gone, but it goes
    "evacuate": ("evacuate", frozenset({"active", "stopped", "error"}),
                 frozenset({None, *TaskState}) - {TaskState.DELETING}),
    "abort_live_migration": ("abort live migration", frozenset({"active", "paused"}), frozenset({"migrating"})),
    "force_complete": ("force_complete", frozenset({"active", "paused"}), frozenset({"migrating"})),
    "confirm_resize": ("confirmResize", frozenset({"resized"}), _NO_TASK),
    "revert_resize": ("revertResize", frozenset({"resized"}), _NO_TASK),
    "attach_interface": ("attach_interface", _UP_OR_OFF, _NO_TASK),
    "detach_interface": ("detach_interface", _UP_OR_OFF, _NO_TASK),
    "add_fixed_ip": ("add_fixed_ip", _UP_OR_OFF, _NO_TASK),
    "remove_fixed_ip": ("remove_fixed_ip", _UP_OR_OFF, _NO_TASK),
    "attach_volume": ("attach_volume", _WITH_VOLUMES, _NO_TASK),
    "detach_volume": ("detach_volume", _WITH_VOLUMES, _NO_TASK),
    "delete": ("delete", _ANY - {"deleted"}, None),
    "force_delete": ("forceDelete", _ANY - {"deleted"}, None),
    "restore": ("restore", frozenset({"soft-delete"}), _NO_TASK),
    "pause": ("pause", frozenset({"active"}), _NO_TASK),
    "unpause": ("unpause", frozenset({"paused"}), _NO_TASK),
    "suspend": ("suspend", frozenset({"active"}), _NO_TASK),
    "resume": ("resume", frozenset({"suspended"}), _NO_TASK),
    "rebuild": ("rebuild", frozenset({"active", "stopped", "error"}), _NO_TASK),
    "rescue": ("rescue", frozenset({"active", "stopped", "error"}), _NO_TASK),
    "unrescue": ("unrescue", frozenset({"rescued"}), _NO_TASK),
    "change_password": ("changePassword", frozenset({"active"}), _NO_TASK),
    "trigger_crash_dump": ("trigger_crash_dump", frozenset({"active", "paused", "rescued", "resized", "error"}), None),
    "create_image": ("createImage", _COPIED, _NO_TASK),
    "create_backup": ("createBackup", _COPIED, _NO_TASK),
    "get_console_output": ("get_console_output", _ANY - {"building", "deleted"}, None),
    "get_diagnostics": ("get_diagnostics", _CREATED - {"error"}, None),
}


def check_action(action: str, server_id: str, vm_state: str, task_state: str | None) -> None:
    """Raise ServerStateConflict unless `action` (a key of `_ALLOWED`) is allowed in this state."""
    name, vm_states, task_states = _ALLOWED[action]
    if vm_state not in vm_states:
        raise ServerStateConflict(action=name, server_id=server_id, attribute="vm_state", state=vm_state)
    if task_states is not None and task_state not in task_states:
        raise ServerStateConflict(action=name, server_id=server_id, attribute="task_state", state=task_state)


# what a move of vm_state may be; anything may become error or deleted
_MOVES: Mapping[str, frozenset[str]] = {
    "building": frozenset({"active"}),
    "active": frozenset({"stopped", "paused", "suspended", "rescued", "resized", "soft-delete", "shelved"}),
    "stopped": frozenset({"active", "rescued", "resized", "soft-delete", "shelved"}),
    "paused": frozenset({"active", "stopped", "shelved"}),
    "suspended": frozenset({"active", "stopped", "shelved"}),
    "rescued": frozenset({"active", "stopped"}),
    "resized": frozenset({"active", "stopped"}),
    "error": frozenset({"active", "stopped"}),
    "soft-delete": frozenset({"active", "stopped"}),
    "shelved": frozenset({"active", "stopped", "shelved_offloaded"}),
    "shelved_offloaded": frozenset({"active", "stopped"}),
    "deleted": frozenset(),
}


def can_move(old: str, new: str) -> bool:
    """Whether vm_state may go from `old` to `new`; staying is always allowed."""
    return old == new or (old != "deleted" and new in ("error", "deleted")) or new in _MOVES.get(old, ())
