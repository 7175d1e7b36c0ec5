"""The states of a volume, and the transitions that there are.

    creating ----> available ---reserve---> reserved ---connect---> attaching ---complete---> in-use
       |             ^  |  ^                                                                    |
       v             |  |  '------------------- detached --------------- detaching <------------'
     error           |  '--> deleting --> (gone)          error_deleting
                     |
                     '--> extending, retyping, reverting, uploading, downloading, backing-up, awaiting-transfer,
                          maintenance: each back to the state it came from, or to its error state

A status is changed by `move` alone: a conditional UPDATE, so a lost race is an answer and not a surprise.
A transient state belongs to a durable operation (volume_work.py) or to an attachment; which one, the audit checks.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder.models import attachments, volumes
from cloudseed.kernel.db import Tx, utcnow

AT_REST = ("available", "in-use", "error", "error_deleting", "error_extending", "error_restoring",
           "error_backing-up", "reserved", "awaiting-transfer", "maintenance")
# transient states that an open operation must own
WORKING = ("creating", "deleting", "extending", "retyping", "uploading", "downloading", "reverting", "backing-up",
           "restoring-backup")
# transient states that end when somebody outside (nova) goes on
ATTACHING = ("reserved", "attaching", "detaching")
DELETABLE = ("available", "error", "error_restoring", "error_extending", "error_managing")
STATES = frozenset((*AT_REST, *WORKING, *ATTACHING, "error_managing", "managing"))

_END = frozenset({"available", "in-use", "reserved", "attaching", "detaching"})
ALLOWED: dict[str, frozenset[str]] = {
    "creating": frozenset({"available", "error", "deleting", "downloading"}),
    "downloading": frozenset({"available", "error", "reserved", "deleting"}),
    "available": frozenset({"reserved", "attaching", "deleting", "extending", "retyping", "uploading", "reverting",
                            "backing-up", "restoring-backup", "awaiting-transfer", "maintenance", "downloading"}),
    "reserved": frozenset({*_END, "deleting", "downloading", "extending"}),
    "attaching": frozenset({*_END, "deleting"}),
    "in-use": frozenset({*_END, "extending", "retyping", "uploading", "backing-up", "maintenance", "deleting"}),
    "detaching": frozenset({*_END, "deleting"}),
    "extending": frozenset({"available", "in-use", "reserved", "error_extending", "deleting"}),
    "retyping": frozenset({"available", "in-use", "deleting"}),
    "uploading": frozenset({"available", "in-use", "deleting"}),
    "reverting": frozenset({"available", "error", "deleting"}),
    "backing-up": frozenset({"available", "in-use", "deleting", "error_backing-up"}),
    "restoring-backup": frozenset({"available", "error_restoring", "deleting", "error"}),
    "awaiting-transfer": frozenset({"available", "deleting"}),
    "maintenance": frozenset({"available", "in-use", "deleting"}),
    "deleting": frozenset({"error_deleting"}),
    "error": frozenset({"deleting", "downloading", "restoring-backup"}),
    "error_deleting": frozenset({"deleting"}),
    "error_extending": frozenset({"deleting"}),
    "error_restoring": frozenset({"deleting", "restoring-backup"}),
    "error_backing-up": frozenset({"deleting", "available", "in-use"}),
    "error_managing": frozenset({"deleting"}),
}


async def move(tx: Tx, volume_id: str, old: Collection[str], new: str, *where: Any, **values: Any) -> bool:
    """Move a volume from one of the states `old` to `new`, if `where` holds too.  False when it is in none."""
    assert all(new in ALLOWED[state] for state in old if state != new), (old, new)
    moved = await tx.execute(sa.update(volumes).where(volumes.c.id == volume_id, volumes.c.status.in_(tuple(old)),
                                                      *where)
                             .values(status=new, status_since=time.time(), updated_at=utcnow(), **values))
    return moved.rowcount == 1


async def set_status(tx: Tx, volume_id: str, new: str, **values: Any) -> None:
    """Set a status without asking: an operator's order, or the end of an operation that owns the volume."""
    await tx.execute(sa.update(volumes).where(volumes.c.id == volume_id)
                     .values(status=new, status_since=time.time(), updated_at=utcnow(), **values))


def from_attachments(states: Collection[str]) -> str:
    """The status of a volume with attachments in these states: the furthest one counts."""
    for state, status in (("attached", "in-use"), ("attaching", "attaching"), ("detaching", "detaching"),
                          ("reserved", "reserved")):
        if state in states:
            return status
    return "available"


async def settle(tx: Tx, volume_id: str) -> str:
    """Set the status that fits the volume's attachments, where an attachment decides it; the status then."""
    states = await tx.scalars(sa.select(attachments.c.attach_status).where(attachments.c.volume_id == volume_id))
    status = from_attachments(states)
    await tx.execute(sa.update(volumes).where(volumes.c.id == volume_id, volumes.c.status != status,
                                              volumes.c.status.in_(("available", "in-use", *ATTACHING)))
                     .values(status=status, status_since=time.time(), updated_at=utcnow()))
    return status


async def release(tx: Tx, volume_id: str, working: str, back_to: str, **values: Any) -> bool:
    """End a work that took the volume out of its rest: as it was before, or as its attachments are by now."""
    moved = await move(tx, volume_id, [working], back_to, previous_status=None, **values)
    if moved:
        await settle(tx, volume_id)
    return moved


def or_list(words: Collection[str]) -> str:
    """ "a, b, or c": how upstream's messages name the states that are allowed."""
    words = list(words)
    if len(words) < 3:
        return " or ".join(words)
    return ", ".join(words[:-1]) + f", or {words[-1]}"
