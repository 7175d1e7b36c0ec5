"""Where images' bytes lie: one small interface, and the stores behind it.

`location` says which store holds an image (`swift://...`, `file:///...`), so a cloud whose store is changed
still serves what the old one holds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import NamedTuple, Protocol

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Unavailable


class Stored(NamedTuple):
    """Bytes that are durable: where, how many, and their hex MD5 (of the stored bytes, by the store)."""

    location: str
    size: int
    md5: str


class Part(NamedTuple):
    """The bytes from `start` to `end` (exclusive) of an image of `size` bytes."""

    start: int
    end: int
    size: int


class ImageStore(Protocol):
    """A place for bytes.  `name` is the store's id in the API, `scheme` its locations' first part."""

    name: str
    scheme: str

    def locate(self, key: str) -> str:
        """The location that `put` of `key` gives: known before, so that an undo can find it."""
        ...

    async def put(self, ctx: Context, key: str, chunks: AsyncIterator[bytes], size: int | None) -> Stored:
        """Store the bytes under `key`, whole or not at all; what lay there is replaced."""
        ...

    async def get(self, ctx: Context, location: str, part: Part) -> AsyncGenerator[bytes, None]:
        """A part of the bytes; the generator must be closed.  Raises NotFound."""
        ...

    async def delete(self, ctx: Context, location: str) -> None:
        """Remove the bytes; none there is fine."""
        ...


class Stores:
    """All stores of a cloud: new images go to `default`, old ones are read from where they are."""

    def __init__(self, stores: Mapping[str, ImageStore], default: str) -> None:
        self._by_scheme = {store.scheme: store for store in stores.values()}
        self.default = stores[default]

    def of(self, location: str) -> ImageStore:
        """The store that holds `location`.  Raises Unavailable when this cloud has it no more."""
        store = self._by_scheme.get(location.partition("://")[0])
        if store is None:
            raise Unavailable(f"The store of {location} is not configured.")
        return store
