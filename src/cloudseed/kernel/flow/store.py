"""Flows on disk: one SQLite file, written in batches, bounded, readable while the cloud runs or after it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import msgspec

from cloudseed.kernel.flow.recorder import Exchange

KEEP = 100_000  # exchanges
KEEP_BACKGROUND_NS = 600 * 10**9  # what services do of themselves (heartbeats, loops) would push out all else in a day


class StoredExchange(msgspec.Struct, frozen=True):
    """A row: times in Unix nanoseconds; `ended` and `status` 0 when no answer was seen."""

    trace_id: str
    span_id: str
    caller: str
    callee: str
    kind: str
    method: str
    path: str
    status: int
    started: int
    ended: int


class FlowSummary(msgspec.Struct, frozen=True):
    """A flow in a list.  `changed`: a client outside asked it to change something."""

    flow_id: str
    started: int
    ended: int
    exchanges: int
    first_change: str
    changed: bool


class FlowStore:
    """Append and read.  `path` is created with its tables when missing."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if readonly:
            self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5, check_same_thread=False)
            return
        self._db = sqlite3.connect(path, timeout=5, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS exchanges (id INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, "
            "span_id TEXT NOT NULL, caller TEXT NOT NULL, callee TEXT NOT NULL, kind TEXT NOT NULL, "
            "method TEXT NOT NULL, path TEXT NOT NULL, status INTEGER NOT NULL, "
            "started INTEGER NOT NULL, ended INTEGER NOT NULL, changed INTEGER NOT NULL)"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS exchanges_trace ON exchanges (trace_id)")
        self._db.execute("CREATE INDEX IF NOT EXISTS exchanges_changed ON exchanges (started) WHERE changed")
        last = self._db.execute("SELECT max(id) FROM exchanges").fetchone()[0] or 0
        self._base = last  # numbers start anew with each process
        self._db.commit()
        self._writes = 0

    def write(self, exchanges: list[Exchange], adoptions: list[tuple[str, str]]) -> None:
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO exchanges VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (self._base + e.number, e.trace_id, e.span_id, e.caller, e.callee, e.kind, e.method, e.path,
                     e.status, e.started, e.ended, e.changed)
                    for e in exchanges
                ],
            )  # fmt: skip
            if adoptions:
                self._db.executemany(
                    "UPDATE exchanges SET trace_id = ? WHERE trace_id = ?", [(new, old) for old, new in adoptions]
                )
            self._writes += 1
            if self._writes % 100 == 0:
                self._forget()

    def _forget(self) -> None:
        self._db.execute("DELETE FROM exchanges WHERE id < (SELECT max(id) FROM exchanges) - ?", (KEEP,))
        self._db.execute(
            "DELETE FROM exchanges WHERE started < ? AND trace_id NOT IN "
            "(SELECT trace_id FROM exchanges WHERE caller IN ('openstack', 'dashboard'))",
            (time.time_ns() - KEEP_BACKGROUND_NS,),
        )

    def exchanges(self, flow_id: str) -> list[StoredExchange]:
        """A flow's exchanges in the order in which they began; `flow_id` may be an unambiguous beginning."""
        rows = self._db.execute(
            "SELECT trace_id, span_id, caller, callee, kind, method, path, status, started, ended FROM exchanges "
            "WHERE trace_id >= ? AND trace_id < ? ORDER BY started, id",
            (flow_id, flow_id + "g"),
        ).fetchall()
        return [StoredExchange(*row) for row in rows]

    def flows(self, limit: int = 50, *, background: bool = False) -> list[FlowSummary]:
        """The latest flows that a client caused, newest first; with `background` also what the services did of
        themselves."""
        rows = self._db.execute(
            "SELECT trace_id, min(started), max(max(ended, started)), count(*), "
            "min(CASE WHEN changed THEN printf('%020d %s %s', started, method, path) END) "
            "FROM exchanges GROUP BY trace_id HAVING ? OR max(caller IN ('openstack', 'dashboard')) "
            "ORDER BY min(started) DESC LIMIT ?",
            (background, limit),
        ).fetchall()
        return [
            FlowSummary(
                flow_id=r[0],
                started=r[1],
                ended=r[2],
                exchanges=r[3],
                first_change=(r[4] or "")[21:],
                changed=r[4] is not None,
            )
            for r in rows
        ]

    def last_changed(self) -> str | None:
        """The latest flow in which a client changed something: polls, lists and logins do not count."""
        row = self._db.execute("SELECT trace_id FROM exchanges WHERE changed ORDER BY started DESC LIMIT 1").fetchone()
        return row[0] if row else None

    def close(self) -> None:
        self._db.close()
