"""Flows for pages: read in a thread over a connection of its own, and only by those whom they concern.

An admin sees every flow.  Others see the flows in which every exchange with a known project was their own
project's: a flow that two projects share shows neither what the other did.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cloudseed.kernel.flow.recorder import FlowRecorder
from cloudseed.kernel.flow.store import FlowStore, FlowSummary, StoredExchange

T = TypeVar("T")
_FLOW_ID = re.compile(r"[0-9a-f]{32}\Z")


class FlowReader:
    """Reads `path`, where the recorder writes; None: nothing is recorded."""

    def __init__(self, recorder: FlowRecorder, path: Path | None) -> None:
        self._recorder = recorder
        self._path = path
        self._store: FlowStore | None = None
        self._lock = asyncio.Lock()

    async def _read(self, work: Callable[[FlowStore], T], nothing: T) -> T:
        if self._path is None:
            return nothing
        self._recorder.flush()
        async with self._lock:  # one connection, one thread at a time
            if self._store is None:
                self._store = FlowStore(self._path, readonly=True)
            return await asyncio.to_thread(work, self._store)

    async def latest(self, project_id: str | None, limit: int = 50) -> list[FlowSummary]:
        """The latest flows: of a project, or all (None)."""
        return await self._read(lambda store: store.flows(limit, project_id=project_id), [])

    async def exchanges(self, flow_id: str, project_id: str | None) -> list[StoredExchange]:
        """A flow's exchanges; none for an unknown flow, and for one that a project (unless None) may not see.
        `last`: the latest that changed something."""

        def work(store: FlowStore) -> list[StoredExchange]:
            wanted: str | None = flow_id
            if flow_id == "last":
                wanted = next((flow.flow_id for flow in store.flows(50, project_id=project_id) if flow.changed), None)
            if wanted is None or not _FLOW_ID.match(wanted):
                return []
            if project_id is not None and store.projects(wanted) != {project_id}:
                return []
            return store.exchanges(wanted)

        return await self._read(work, [])

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
