"""Flows on disk: one SQLite file, written in batches, bounded, readable while the cloud runs or after it.

What is written twice a second is one blob for all exchanges of that moment, and a row for each trace in it: a row
for each exchange would cost ten times as much, and far more is written than is ever looked at.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from cloudseed.kernel.flow.recorder import Exchange

KEEP = 100_000  # exchanges
KEEP_BACKGROUND_NS = 600 * 10**9  # what services do of themselves (heartbeats, loops) would push out all else in a day
_KNOWN_FLOWS = 10_000  # traces of clients that are remembered: work goes on under them after the answer
_SCHEMA = """
DROP TABLE IF EXISTS exchanges;
CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY, began INTEGER NOT NULL, background INTEGER NOT NULL,
    size INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS members (trace_id TEXT NOT NULL, batch INTEGER NOT NULL, client INTEGER NOT NULL,
    changed INTEGER NOT NULL, PRIMARY KEY (trace_id, batch)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_batch ON members (batch);
CREATE INDEX IF NOT EXISTS members_changed ON members (batch) WHERE changed;
CREATE TABLE IF NOT EXISTS owners (trace_id TEXT NOT NULL, project_id TEXT NOT NULL,
    PRIMARY KEY (trace_id, project_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_project ON owners (project_id);
CREATE TABLE IF NOT EXISTS adoptions (old TEXT PRIMARY KEY, new TEXT NOT NULL, batch INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS adoptions_new ON adoptions (new);
"""


class StoredExchange(msgspec.Struct, frozen=True):
    """An exchange: times in Unix nanoseconds; `ended` and `status` 0 when no answer was seen."""

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


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """An exchange in a batch; one that was not answered yet comes again under its number."""

    number: int
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
    changed: bool


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[_Row])


class FlowStore:
    """Append and read.  `path` is created with its tables when missing."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if readonly:
            self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5, check_same_thread=False)
            return
        self._db = sqlite3.connect(path, timeout=5, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)
        self._db.commit()
        # numbers start anew with each process: they are told apart by its start
        self._base = time.time_ns()
        self._known: dict[str, None] = {}  # traces that a client began
        self._writes = 0

    # ---- writing

    def write(self, exchanges: list[Exchange], adoptions: list[tuple[str, str]]) -> None:
        owners: set[tuple[str, str]] = set()
        for exchange in exchanges:
            # a page that is only looked at, again and again perhaps, is no flow that anybody looks for
            if exchange.caller == "openstack" or (exchange.caller == "browser" and exchange.method != "GET"):
                self._known[exchange.trace_id] = None
            if exchange.project_id:
                owners.add((exchange.trace_id, exchange.project_id))
        strangers = {e.trace_id for e in exchanges} - self._known.keys()
        background = {trace for trace in strangers if not self._is_clients(trace)} if strangers else strangers
        with self._db:
            for hidden in (False, True):
                part = [e for e in exchanges if (e.trace_id in background) == hidden] if background else exchanges
                if part and (background or not hidden):
                    self._write_batch(part, hidden)
            if owners:
                self._db.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", owners)
            if adoptions:
                last = self._db.execute("SELECT coalesce(max(id), 0) FROM batches").fetchone()[0]
                self._db.executemany("INSERT OR REPLACE INTO adoptions VALUES (?, ?, ?)",
                                     [(old, new, last) for old, new in adoptions])
            self._writes += 1
            if self._writes % 100 == 0:
                self._forget()
        while len(self._known) > _KNOWN_FLOWS:
            del self._known[next(iter(self._known))]

    def _is_clients(self, trace_id: str) -> bool:
        """Whether a trace that we do not remember was begun by a client."""
        row = self._db.execute("SELECT 1 FROM members WHERE trace_id = ? AND client LIMIT 1", (trace_id,)).fetchone()
        if row is not None:
            self._known[trace_id] = None
        return row is not None

    def _write_batch(self, exchanges: list[Exchange], background: bool) -> None:
        base = self._base
        data = _ENCODER.encode([
            (base + e.number, e.trace_id, e.span_id, e.caller, e.callee, e.kind, e.method, e.path, e.status, e.started,
             e.ended, e.changed) for e in exchanges])  # fmt: skip
        batch = self._db.execute("INSERT INTO batches (began, background, size, data) VALUES (?, ?, ?, ?)",
                                 (max(e.started for e in exchanges), background, len(exchanges), data)).lastrowid
        changed = {e.trace_id for e in exchanges if e.changed}
        self._db.executemany("INSERT INTO members VALUES (?, ?, ?, ?)", [
            (trace, batch, not background, trace in changed) for trace in {e.trace_id for e in exchanges}])

    def _forget(self) -> None:
        """The oldest batches beyond KEEP exchanges, and the services' own after a while."""
        kept = 0
        for batch, size in self._db.execute("SELECT id, size FROM batches WHERE NOT background ORDER BY id DESC"):
            kept += size
            if kept > KEEP:
                self._db.execute("DELETE FROM batches WHERE id <= ?", (batch,))
                break
        self._db.execute("DELETE FROM batches WHERE background AND began < ?",
                         (time.time_ns() - KEEP_BACKGROUND_NS,))
        self._db.execute("DELETE FROM members WHERE batch NOT IN (SELECT id FROM batches)")
        self._db.execute("DELETE FROM owners WHERE trace_id NOT IN (SELECT coalesce(new, trace_id) FROM members "
                         "LEFT JOIN adoptions ON old = trace_id)")
        self._db.execute("DELETE FROM adoptions WHERE batch < (SELECT min(id) FROM batches)")

    # ---- reading

    def exchanges(self, flow_id: str) -> list[StoredExchange]:
        """A flow's exchanges in the order in which they began; `flow_id` may be an unambiguous beginning."""
        adopted = dict(self._db.execute(
            "SELECT old, new FROM adoptions WHERE new >= ? AND new < ?", (flow_id, flow_id + "g")).fetchall())
        own = [row[0] for row in self._db.execute(
            "SELECT DISTINCT trace_id FROM members WHERE trace_id >= ? AND trace_id < ?", (flow_id, flow_id + "g"))]
        return [_stored(row, adopted.get(row.trace_id, row.trace_id)) for row in self._rows([*own, *adopted])]

    def projects(self, flow_id: str) -> set[str]:
        """The projects with whose tokens clients asked something in this flow."""
        return {row[0] for row in self._db.execute("SELECT project_id FROM owners WHERE trace_id = ?", (flow_id,))}

    def flows(self, limit: int = 50, *, background: bool = False, project_id: str | None = None) -> list[FlowSummary]:
        """The latest flows that a client caused, newest first; with `background` also what the services did of
        themselves; with `project_id` those of this project and no other."""
        latest = [row[0] for row in self._db.execute(
            "SELECT coalesce(new, trace_id) AS flow, min(members.batch) AS first FROM members "
            "LEFT JOIN adoptions ON old = trace_id GROUP BY flow HAVING (? OR max(client)) AND (? IS NULL OR "
            "(flow IN (SELECT trace_id FROM owners WHERE project_id = ?) AND "
            "flow NOT IN (SELECT trace_id FROM owners WHERE project_id != ?))) ORDER BY first DESC LIMIT ?",
            (background, project_id, project_id, project_id, limit))]
        adopted = dict(self._db.execute(
            f"SELECT old, new FROM adoptions WHERE new IN ({_marks(latest)})", latest).fetchall())  # noqa: S608
        by_flow: dict[str, list[_Row]] = {}
        for row in self._rows([*latest, *adopted]):
            by_flow.setdefault(adopted.get(row.trace_id, row.trace_id), []).append(row)
        found = [_summary(flow, rows) for flow, rows in by_flow.items()]
        return sorted(found, key=lambda flow: flow.started, reverse=True)

    def last_changed(self) -> str | None:
        """The latest flow in which a client changed something: polls, lists and logins do not count."""
        traces = [row[0] for row in self._db.execute(
            "SELECT DISTINCT trace_id FROM (SELECT trace_id FROM members WHERE changed ORDER BY batch DESC LIMIT 50)")]
        latest = max((row for row in self._rows(traces) if row.changed), key=lambda row: row.started, default=None)
        if latest is None:
            return None
        new = self._db.execute("SELECT new FROM adoptions WHERE old = ?", (latest.trace_id,)).fetchone()
        return new[0] if new else latest.trace_id

    def _rows(self, traces: Sequence[str]) -> list[_Row]:
        """All exchanges of these traces, each as it was known last, in the order in which they began."""
        wanted, found = set(traces), dict[int, _Row]()
        for (data,) in self._batches(traces):
            for row in _DECODER.decode(data):
                if row.trace_id in wanted:
                    found[row.number] = row
        return sorted(found.values(), key=lambda row: (row.started, row.number))

    def _batches(self, traces: Sequence[str]) -> Iterable[tuple[bytes]]:
        return self._db.execute(
            "SELECT data FROM batches WHERE id IN (SELECT batch FROM members "  # noqa: S608 - marks, not values
            f"WHERE trace_id IN ({_marks(traces)})) ORDER BY id", list(traces))

    def close(self) -> None:
        self._db.close()


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _stored(row: _Row, flow_id: str) -> StoredExchange:
    return StoredExchange(flow_id, row.span_id, row.caller, row.callee, row.kind, row.method, row.path, row.status,
                          row.started, row.ended)


def _summary(flow_id: str, rows: list[_Row]) -> FlowSummary:
    first_change = next((row for row in rows if row.changed), None)
    return FlowSummary(
        flow_id=flow_id, started=rows[0].started, ended=max(max(row.ended, row.started) for row in rows),
        exchanges=len(rows), first_change=f"{first_change.method} {first_change.path}" if first_change else "",
        changed=first_change is not None)
