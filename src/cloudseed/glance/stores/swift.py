"""Images in the object store: the container `glance` in the account of the service project.

An image is one object: ours has no limit of 5 GiB, so nothing is cut into segments.  The object's ETag, which
swift computes over what it stored, is the image's MD5.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from cloudseed.glance.stores import Part, Stored
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.client import ServiceSession

CONTAINER = "glance"
# an upload takes as long as its client sends; a client that stops is noticed by its own connection's end
UPLOAD_TIMEOUT_S = 7 * 24 * 3600.0


class SwiftImageStore:
    """Speaks to swift through `session`, as glance's own user."""

    name = "swift"
    scheme = "swift"

    def __init__(self, session: ServiceSession) -> None:
        self._session = session
        self._ready = False

    def locate(self, key: str) -> str:
        return f"swift://{CONTAINER}/{key}"

    async def _path(self, ctx: Context, location: str) -> str:
        return f"/v1/AUTH_{await self._session.own_project(ctx)}/{location.partition('://')[2]}"

    async def put(self, ctx: Context, key: str, chunks: AsyncIterator[bytes], size: int | None) -> Stored:
        location = self.locate(key)
        path = await self._path(ctx, location)
        if not self._ready:
            await self._session.request(ctx, "object-store", "PUT", path.rpartition("/")[0])
            self._ready = True
        headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            headers["Content-Length"] = str(size)
        counted = _Counted(chunks)
        try:
            answer = await self._session.request(ctx, "object-store", "PUT", path, headers=headers, body=counted,
                                                 timeout_s=UPLOAD_TIMEOUT_S)
        except NotFound:
            self._ready = False  # somebody removed the container
            raise
        return Stored(location, counted.total, answer.headers["etag"])

    async def get(self, ctx: Context, location: str, part: Part) -> AsyncGenerator[bytes, None]:
        headers = {} if part.end - part.start == part.size else {"Range": f"bytes={part.start}-{part.end - 1}"}
        answer = await self._session.request(ctx, "object-store", "GET", await self._path(ctx, location),
                                             headers=headers, stream=True)

        async def read() -> AsyncGenerator[bytes, None]:
            try:
                async for chunk in answer.chunks():
                    yield chunk
            finally:
                await answer.close()

        return read()

    async def delete(self, ctx: Context, location: str) -> None:
        try:
            await self._session.request(ctx, "object-store", "DELETE", await self._path(ctx, location))
        except NotFound:
            pass


class _Counted:
    """Counts the bytes that pass."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.total = 0

    def __aiter__(self) -> _Counted:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        self.total += len(chunk)
        return chunk
