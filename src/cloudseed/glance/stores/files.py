"""Images as local files, for a cloud without an object store (`image_store = "file"`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from cloudseed.glance.stores import Part, Stored
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.files import FileReader, sync_directory, write_file

_HALF = ".part"  # a file that is being written; a killed process's are removed at the next start


class FileImageStore:
    """Files in `root`, named by key.  Keys are ours (image ids), never a client's text."""

    name = "file"
    scheme = "file"

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def locate(self, key: str) -> str:
        return f"file:///{key}"

    def _path(self, location: str) -> Path:
        return self._root / location.rpartition("/")[2]

    async def put(self, ctx: Context, key: str, chunks: AsyncIterator[bytes], size: int | None) -> Stored:
        written = await write_file(chunks, self._root / (key + _HALF), self._root / key)
        return Stored(self.locate(key), written.size, written.md5)

    async def get(self, ctx: Context, location: str, part: Part) -> AsyncGenerator[bytes, None]:
        try:
            reader = FileReader(self._path(location), part.start, part.end - part.start)
        except FileNotFoundError:
            raise NotFound("The image's file is missing from its store.") from None

        async def read() -> AsyncGenerator[bytes, None]:
            try:
                async for chunk in reader:
                    yield chunk
            finally:
                await reader.close()

        return read()

    async def delete(self, ctx: Context, location: str) -> None:
        def work() -> None:
            self._path(location).unlink(missing_ok=True)
            sync_directory(self._root)

        await asyncio.to_thread(work)

    def sweep(self) -> None:
        """Remove what a killed process left half written; call before serving."""
        for path in self._root.glob("*" + _HALF):
            path.unlink(missing_ok=True)

    def listing(self) -> dict[str, int]:
        """Sizes by file name."""
        return {path.name: path.stat().st_size for path in self._root.iterdir()}
