"""Several ranges in one answer: multipart/byteranges (RFC 9110, section 14.6)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from cloudseed.swift import metadata


class Part(NamedTuple):
    start: int
    end: int  # exclusive


def multipart(parts: list[Part], size: int, content_type: str,
              read: Callable[[int, int], AsyncGenerator[bytes, None]]) -> tuple[int, str, AsyncGenerator[bytes, None]]:
    """The answer's length, its boundary, and its bytes; `read(start, end)` gives a part's."""
    boundary = secrets.token_hex(16)
    heads = [f"--{boundary}\r\nContent-Type: {metadata.wire(content_type)}\r\n"
             f"Content-Range: bytes {part.start}-{part.end - 1}/{size}\r\n\r\n".encode("latin-1") for part in parts]
    tail = f"--{boundary}--".encode()
    length = sum(len(head) + part.end - part.start + 2 for head, part in zip(heads, parts, strict=True)) + len(tail)

    async def stream() -> AsyncGenerator[bytes, None]:
        for head, part in zip(heads, parts, strict=True):
            yield head
            async with contextlib.aclosing(read(part.start, part.end)) as source:
                async for data in source:
                    yield data
            yield b"\r\n"
        yield tail

    return length, boundary, stream()
