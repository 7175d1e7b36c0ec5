"""How an image gets its bytes and loses them: durable operations.

    upload   store -> activate      within the request, since the bytes come with it
    import   store -> activate      behind a 202, from what was staged
    delete   remove                 behind a 204

While bytes pass they are hashed (SHA-512) and inspected, in worker threads beside the store's own work.  A
failure at any step removes what the store got, and the image is `queued` again.  Deleting an image that is
being uploaded cancels the upload first.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import sqlalchemy as sa

from cloudseed.glance import image_states
from cloudseed.glance.errors import BadTransition, ImageGone, ImageNotFound, TooLarge
from cloudseed.glance.images import Glance, Image, find_image, forget, target
from cloudseed.glance.inspection import Inspection
from cloudseed.glance.models import images
from cloudseed.glance.stores import Part
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import CloudseedError, Conflict, Forbidden, Invalid
from cloudseed.kernel.lanes import Lane
from cloudseed.kernel.operations import OperationType, Run, Step

PIECE = 1 << 20
MONTH_S = 30 * 24 * 3600.0


class Source:
    """An upload's bytes on their way from the client to the store, hashed and inspected as they pass."""

    def __init__(self, chunks: AsyncIterator[bytes], size: int | None, limit: int, inspection: Inspection) -> None:
        self._chunks = chunks
        self.size = size
        self._limit = limit
        self._inspection = inspection
        self._sha512 = hashlib.sha512()
        self.total = 0
        self.virtual_size: int | None = None
        self.error: BaseException | None = None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes in pieces of about a MiB.  What goes wrong here is kept in `error`: stores may not pass it on."""
        hashing = Lane(self._look)
        held_back = b""
        try:
            batch: list[bytes] = []
            held = 0
            async for chunk in self._chunks:
                batch.append(chunk)
                held += len(chunk)
                if held >= PIECE:
                    piece = b"".join(batch)
                    await self._pass(piece, hashing)
                    if held_back:
                        yield held_back
                    held_back, batch, held = piece, [], 0
            last = b"".join(batch)
            await self._pass(last, hashing)
            await hashing.finish()
            self.virtual_size = await asyncio.to_thread(self._inspection.finish)
            # a store that knows the size stops reading after the last byte: so that comes only when all is well,
            # and what is refused is never stored
            yield held_back + last
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            await hashing.close()

    async def _pass(self, piece: bytes, hashing: Lane[bytes]) -> None:
        self.total += len(piece)
        if self.total > self._limit:
            raise TooLarge(f"The image is larger than the {self._limit} bytes that it may have. Free some quota or "
                           "ask for more.")
        await hashing.put(piece)  # and raise what the inspection of a piece before found

    def _look(self, piece: bytes) -> None:
        self._sha512.update(piece)  # without the interpreter's lock, so as few and as large as can be
        self._inspection.feed(piece)

    @property
    def sha512(self) -> str:
        return self._sha512.hexdigest()


class Operations:
    """Glance's operation types, bound to the service."""

    def __init__(self, glance: Glance) -> None:
        self._glance = glance
        # the store step has no patience: its bytes come once
        self.upload = OperationType("glance.upload", (
            Step("store", self._store, self._undo_store, patience_s=0.0, resumable=False),
            Step("activate", self._activate)), failed=self._upload_failed)
        self.import_ = OperationType("glance.import", (
            Step("store", self._store_staged, self._undo_store, patience_s=600.0),
            Step("activate", self._activate),
            Step("unstage", self._unstage)), failed=self._import_failed)
        self.delete = OperationType("glance.delete", (Step("remove", self._remove, patience_s=MONTH_S),))
        glance.engine.register(self.upload, self.import_, self.delete)

    # ---- steps

    async def _store(self, run: Run) -> None:
        source = self._glance.sources.get(run.data["source"])
        if source is None:  # its client went before its turn came
            raise Conflict("The upload ended before its data was read.")
        await self._put(run, source)

    async def _put(self, run: Run, source: Source) -> None:
        pieces = source.pieces()
        try:
            stored = await self._glance.stores.default.put(run.ctx, run.resource_id, pieces, source.size)
        except (CloudseedError, OSError):
            if isinstance(source.error, CloudseedError):
                raise source.error from None  # the cause: the store only saw its stream break
            raise
        finally:
            await pieces.aclose()
        run.data.update(location=stored.location, size=stored.size, md5=stored.md5, sha512=source.sha512,
                        virtual_size=source.virtual_size)

    async def _store_staged(self, run: Run) -> None:
        async with self._glance.db.read() as tx:
            row = await tx.first(sa.select(images).where(images.c.id == run.resource_id))
        assert row is not None
        size = run.data["staged_size"]
        chunks = await self._glance.staging.get(run.ctx, self._glance.staging.locate(run.resource_id),
                                                Part(0, size, size))
        try:
            await self._put(run, Source(chunks, size, size, self._inspection(row.disk_format, row.container_format)))
        finally:
            await chunks.aclose()

    async def _undo_store(self, run: Run) -> None:
        store = self._glance.stores.default
        await store.delete(run.ctx, run.data.get("location") or store.locate(run.resource_id))

    async def _activate(self, run: Run) -> None:
        data = run.data
        async with self._glance.db.write() as tx:
            moved = await image_states.move(
                tx, run.resource_id, ("saving", "importing"), "active", size=data["size"], checksum=data["md5"],
                os_hash_algo="sha512", os_hash_value=data["sha512"], virtual_size=data["virtual_size"],
                location=data["location"])
            if not moved:
                state = await tx.scalar(sa.select(images.c.status).where(images.c.id == run.resource_id))
                if state != "active":  # else: this very step ran before
                    raise ImageGone(image_id=run.resource_id)

    async def _unstage(self, run: Run) -> None:
        await self._glance.staging.delete(run.ctx, self._glance.staging.locate(run.resource_id))

    async def _remove(self, run: Run) -> None:
        if run.data["location"]:
            await self._glance.stores.of(run.data["location"]).delete(run.ctx, run.data["location"])
        await self._unstage(run)

    async def _upload_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._glance.db.write() as tx:
            await image_states.move(tx, run.resource_id, ("saving",), "queued")

    async def _import_failed(self, run: Run, error: CloudseedError) -> None:
        await self._unstage(run)
        async with self._glance.db.write() as tx:
            await image_states.move(tx, run.resource_id, ("importing",), "queued")

    # ---- what users order

    async def upload_image(self, ctx: Context, image_id: str, chunks: AsyncIterator[bytes],
                           size: int | None) -> None:
        """Store the client's bytes and make the image active.

        Raises BadTransition (not queued), Invalid (no formats), TooLarge, FormatRefused, ImageGone (deleted
        meanwhile), NoSpace, and whatever the client's stream raises; then the image is queued and nothing is left.
        """
        async with self._glance.db.read() as tx:
            image, member = await find_image(tx, ctx, image_id)
        self._glance.policy.enforce("upload_image", ctx.identity, target(image, member))
        if image.status != "queued":
            raise BadTransition(old=image.status, new="saving")
        source = await self._source(ctx, image, chunks, size)
        name = uuid.uuid4().hex  # of this upload: another of the same image may come meanwhile, and is refused

        async def begin(tx: Tx) -> None:
            await image_states.require_move(tx, image_id, ("queued",), "saving")

        self._glance.sources[name] = source
        try:
            await self._glance.engine.run_here(self.upload, image_id, {"source": name}, ctx, before=begin)
        except CloudseedError as exc:
            if await self._is_deleted(image_id):
                raise ImageGone(image_id=image_id) from exc
            raise
        finally:
            del self._glance.sources[name]

    async def _is_deleted(self, image_id: str) -> bool:
        async with self._glance.db.read() as tx:
            return bool(await tx.scalar(sa.select(images.c.status).where(images.c.id == image_id)) == "deleted")

    async def _source(self, ctx: Context, image: Image, chunks: AsyncIterator[bytes], size: int | None) -> Source:
        """The upload's source, once all that can be checked before the bytes is."""
        missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
        if missing:
            raise Invalid(f"Properties {', '.join(missing)} must be set prior to saving data.")
        limit = await self.room(image)
        if size is not None and size > limit:
            raise TooLarge(f"The image's {size} bytes are more than the {limit} that it may have.")
        assert image.disk_format is not None
        return Source(chunks, size, limit, self._inspection(image.disk_format, image.container_format))

    def _inspection(self, disk_format: str, container_format: str | None) -> Inspection:
        return Inspection(disk_format, container_format, enforce=self._glance.format_enforcement)

    async def room(self, image: Image) -> int:
        """How many bytes the image may have: the cap on one image, and what its owner's quota has left."""
        limits = self._glance.limits
        if not limits.user_storage_quota:
            return limits.image_size_cap
        async with self._glance.db.read() as tx:
            used = await tx.scalar(sa.select(sa.func.coalesce(sa.func.sum(images.c.size), 0)).where(
                images.c.owner == image.owner, images.c.status != "deleted"))
        return max(0, min(limits.image_size_cap, limits.user_storage_quota - int(used)))

    async def stage_image(self, ctx: Context, image_id: str, chunks: AsyncIterator[bytes], size: int | None) -> None:
        """Keep the client's bytes for an import.  Raises as `upload_image`."""
        async with self._glance.db.read() as tx:
            image, member = await find_image(tx, ctx, image_id)
        self._glance.policy.enforce("modify_image", ctx.identity, target(image, member))
        limit = await self.room(image)
        if size is not None and size > limit:
            raise TooLarge(f"The image's {size} bytes are more than the {limit} that it may have.")
        async with self._glance.db.write() as tx:
            await image_states.require_move(tx, image_id, ("queued",), "uploading")
        try:
            await self._glance.staging.put(ctx, image_id, _limited(chunks, limit), size)
        except BaseException:
            async with self._glance.db.write() as tx:
                await image_states.move(tx, image_id, ("uploading",), "queued")
            raise
        if await self._is_deleted(image_id):
            await self._glance.staging.delete(ctx, self._glance.staging.locate(image_id))
            raise ImageGone(image_id=image_id)

    async def import_image(self, ctx: Context, image_id: str, record: Any) -> None:
        """Order the import of what was staged.  `record(tx)` writes the task's row in the same transaction."""
        async with self._glance.db.read() as tx:
            image, member = await find_image(tx, ctx, image_id)
        self._glance.policy.enforce("modify_image", ctx.identity, target(image, member))
        missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
        if image.status == "queued":
            raise Conflict("Image needs to be staged before 'glance-direct' method can be used")
        if image.status != "uploading":
            raise Conflict(f"Image with status {image.status} cannot be target for import")
        if missing:
            raise Invalid(f"{missing[0]} needs to be set before import")
        sizes = await asyncio.to_thread(self._glance.staging.listing)
        if image_id not in sizes:
            raise Conflict("The image is still being staged; import it when that has ended.")
        async with self._glance.db.write() as tx:
            await image_states.require_move(tx, image_id, ("uploading",), "importing")
            task_id = await record(tx)
            await self._glance.engine.submit(tx, self.import_, image_id,
                                             {"staged_size": sizes[image_id], "task_id": task_id}, ctx)
        self._glance.engine.wake()

    async def delete_image(self, ctx: Context, image_id: str) -> None:
        """Delete the image: its record at once, its bytes behind the answer, an upload under way cancelled.

        Raises ImageNotFound, Forbidden (protected, or by policy).
        """
        async with self._glance.db.write() as tx:
            try:
                image, member = await find_image(tx, ctx, image_id)
            except ImageNotFound:
                raise ImageNotFound(f"Failed to find image {image_id} to delete") from None
            self._glance.policy.enforce("delete_image", ctx.identity, target(image, member))
            if image.protected:
                raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
            await forget(tx, image_id)
            await self._glance.engine.cancel(tx, image_id, kinds=(self.upload.kind, self.import_.kind))
            if image.location or image.status in ("saving", "uploading", "importing"):
                await self._glance.engine.submit(tx, self.delete, image_id, {"location": image.location}, ctx)
        self._glance.engine.wake()

    async def recover_staging(self) -> None:
        """At the start: nobody carries on a staging that a dead process had begun."""
        staged = self._glance.staging.listing()
        async with self._glance.db.write() as tx:
            for image_id in await tx.scalars(sa.select(images.c.id).where(images.c.status == "uploading")):
                if image_id not in staged:
                    await image_states.move(tx, image_id, ("uploading",), "queued")


async def _limited(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise TooLarge(f"The image is larger than the {limit} bytes that it may have.")
        yield chunk
