"""Assembles swift: one app, one database, one folder of files, one loop that cleans up after both."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.swift import cleanup
from cloudseed.swift.api.accounts import AccountResource
from cloudseed.swift.api.containers import ContainerResource
from cloudseed.swift.api.info import HealthResource, InfoResource
from cloudseed.swift.api.objects import ObjectResource
from cloudseed.swift.api.router import PathRouter
from cloudseed.swift.files import FileStore
from cloudseed.swift.models import containers, metadata, objects, trash
from cloudseed.swift.store import Swift

PART = "swift-proxy-server"


def build(env: Environment) -> Service:
    swift = Swift(env.database("swift", metadata), FileStore(env.state / "swift"), time.time())
    session = env.session(PART, "swift")
    app = make_app(
        {"/v1/{path:path}": PathRouter(swift, AccountResource(swift), ContainerResource(swift), ObjectResource(swift)),
         "/info": InfoResource(), "/healthcheck": HealthResource()},
        fault=faults.swift, validator=env.validator(session), identity_url=env.identity_url)
    app.req_options.strip_url_path_trailing_slash = False  # "folder/" is an object's name like any other
    first = True

    async def clean() -> None:
        nonlocal first
        if first:
            await cleanup.sweep_orphans(swift)
            first = False
        await cleanup.sync_files(swift)

    loop = Loop("swift files", clean, 30.0)
    swift.hint_cleanup = loop.hint

    async def start() -> None:
        if env.sole:
            await asyncio.to_thread(swift.files.sweep_incoming)

    async def ledger() -> dict[str, Any]:
        return await picture(swift)

    return Service("swift", mounts=[Mount("/object-store", PART, app)], loops=[loop], start=start, ledger=ledger,
                   handle=swift)


async def picture(swift: Swift) -> dict[str, Any]:
    """For the audit: every object with its file, every file on disk, what waits for removal, uploads under way."""
    async with swift.db.read() as tx:
        rows = await tx.all(
            sa.select(containers.c.account, containers.c.name.label("container"), objects.c.name, objects.c.size,
                      objects.c.file, objects.c.manifest.is_not(None).label("large"))
            .join(containers, objects.c.container_id == containers.c.id))
        waiting = await tx.all(sa.select(trash.c.file, trash.c.since))
    return {"objects": [dict(row._mapping) for row in rows], "trash": [dict(row._mapping) for row in waiting],
            "files": [{"file": name, "size": swift.files.path(name).stat().st_size}
                      for batch in swift.files.batches() for name, _ in batch if swift.files.path(name).exists()],
            "incoming": swift.files.incoming()}
