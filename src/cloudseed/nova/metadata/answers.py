"""What guests are told: asked by the doors of all hosts (topic `nova-metadata`), answered from nova's records.

Of a request only the method, the path and the body count.  Headers that name a server or an address
(X-Instance-ID, X-Forwarded-For, ...) come from the guest and mean nothing.
"""

from __future__ import annotations

import datetime
import logging
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.bus import Handler
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Durability
from cloudseed.kernel.errors import CloudseedError
from cloudseed.nova.compute.spec import spec_from_row
from cloudseed.nova.metadata import documents, vendor_data
from cloudseed.nova.metadata.answer import Answer, Source, refusal
from cloudseed.nova.metadata.documents import Guest
from cloudseed.nova.metadata.sources import Server, Sources
from cloudseed.nova.metadata.tree import NothingThere, known_version, look_up, path_of
from cloudseed.nova.models import servers
from cloudseed.nova.server_passwords import MAX_BYTES, password_of, with_password
from cloudseed.nova.services import zones_by_host

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)


class Answers:
    """The metadata service, behind the hosts' doors."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        self.sources = Sources(nova)
        self._vendor = vendor_data.load(nova.config.vendor_data_file)

    def handlers(self) -> dict[str, Handler]:
        return {"answer": self.answer}

    async def answer(self, ctx: Context, source: dict[str, str], verb: str, path: str, body: bytes) -> dict[str, Any]:
        """An `Answer` as JSON-like values.  `source`: what the host process said of the connection.  Never raises,
        but for cancellation."""
        try:
            with Durability() as durability:
                made = await self._answer(ctx, msgspec.convert(source, Source), verb, path, body)
                await durability.wait()
        except CloudseedError as exc:  # neutron does not answer, the disk is full
            log.warning("no metadata for %s: %s", source, exc.message)
            made = refusal(503)
        except Exception:
            log.exception("no metadata for %s: %s %s", source, verb, path[:200])
            made = refusal(500)
        return {"status": made.status, "body": made.body, "content_type": made.content_type}

    async def _answer(self, ctx: Context, source: Source, method: str, path: str, body: bytes) -> Answer:
        try:
            parts = path_of(unquote_to_bytes(path).decode())
        except UnicodeDecodeError:
            return refusal(404)
        row = await self.sources.find(ctx, source)
        if row is None:
            return refusal(404)
        try:
            if parts[0] == "openstack" and len(parts) == 3 and parts[2] == "password":
                if known_version(parts[1]) < documents.PASSWORD_SINCE:
                    raise NothingThere(parts[2])
                return await self._password(row, method, body)
            async with self._nova.db.read() as tx:
                zone = (await zones_by_host(tx)).get(row.host)  # where it is, which may be more than it asked for
            spec = spec_from_row(row)
            if zone is not None:
                spec = msgspec.structs.replace(spec, availability_zone=zone)
            guest = Guest(spec=spec, vifs=spec.network_info, vendor=self._vendor)
            today = datetime.datetime.now(datetime.UTC).date().isoformat()
            content, kind = look_up(guest, parts, os.urandom(512), today)
        except NothingThere:
            return refusal(404)
        if method not in ("GET", "HEAD"):
            return refusal(405)
        return Answer(200, content, kind)

    async def _password(self, row: Server, method: str, body: bytes) -> Answer:
        """The password that the guest's own program made and encrypted with the server's key: written once."""
        if method in ("GET", "HEAD"):
            return Answer(200, password_of(row.system_metadata).encode())
        if method != "POST":
            return refusal(400, "GET and POST only are supported.")
        if len(body) > MAX_BYTES:
            return refusal(400, "Request is too large.")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return refusal(400)
        async with self._nova.db.write() as tx:
            known: Any = await tx.scalar(sa.select(servers.c.system_metadata).where(servers.c.id == row.id))
            if password_of(known):
                return refusal(409)
            await tx.execute(sa.update(servers).where(servers.c.id == row.id).values(
                system_metadata=with_password(known, text)))
        return Answer(200, b"")
