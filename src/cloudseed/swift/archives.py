"""Extract-archive: a tar file in, its files out as objects, each with its own outcome.

The archive is spooled to a file first (a tar may need seeking back, and the client's connection must not wait
for every object's fsync); members are read in worker threads, a piece at a time.
"""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Any

from cloudseed.kernel.context import Identity
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.files import PIECE
from cloudseed.swift import containers, objects
from cloudseed.swift.errors import BadRequest
from cloudseed.swift.store import Swift, Target

MAX_MEMBERS = 10_000
MAX_HEADER = 16 * 1024  # bytes of a long name or of extended attributes; a name may have 1024
FORMATS = {"tar": "r:", "tar.gz": "r:gz", "tar.bz2": "r:bz2"}


async def extract(swift: Swift, identity: Identity, base: Target, form: str,
                  chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Make an object of each regular file in the archive below `base` (an account, a container or a pseudo
    folder); containers come to be.  Upstream's report.  Raises BadRequest for a format that is none."""
    if form not in FORMATS:
        raise BadRequest(f"Unsupported archive format {form!r}: there are {', '.join(FORMATS)}.")
    created = 0
    failed: list[list[str]] = []
    with tempfile.TemporaryFile(dir=swift.files.spool) as spool:
        async for chunk in chunks:
            await asyncio.to_thread(spool.write, chunk)
        spool.seek(0)
        try:
            archive = await asyncio.to_thread(_open, spool, form)
            for _ in range(MAX_MEMBERS + 1):
                member = await asyncio.to_thread(archive.next)
                if member is None:
                    break
                if not member.isfile():
                    continue
                if created + len(failed) >= MAX_MEMBERS:
                    raise BadRequest(f"An archive may hold at most {MAX_MEMBERS} files.")
                error = await _store(swift, identity, base, archive, member)
                if error is None:
                    created += 1
                else:
                    failed.append([f"/{member.name}", error])
        except (tarfile.TarError, EOFError, OSError, ValueError) as exc:
            return _report(created, failed, "400 Bad Request", f"Invalid Tar File: {exc}")
    if failed or not created:
        return _report(created, failed, "400 Bad Request", "" if failed else "Invalid Tar File: No Valid Files")
    return _report(created, failed, "201 Created", "")


class _Member(tarfile.TarInfo):
    """A member whose headers fit into memory.

    tarfile reads a member's extended header whole, whatever size it announces, and a compressed archive announces
    gigabytes in a few bytes.  A sparse file's size and map are such announcements too: it is refused.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{self.name[:80]} is a sparse file")
        if self.type in _EXTENDED and not 0 <= self.size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes is over the limit of {MAX_HEADER}")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        if any(name.startswith("GNU.sparse.") for name in member.pax_headers):
            raise tarfile.ReadError(f"{member.name[:80]} is a sparse file")
        return member

    def _proc_gnusparse_10(self, *args: object) -> None:
        raise tarfile.ReadError("a sparse file")  # before its map is read


_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
             tarfile.SOLARIS_XHDTYPE)


def _open(spool: IO[bytes], form: str) -> tarfile.TarFile:
    return tarfile.TarFile.open(fileobj=spool, mode=FORMATS[form], tarinfo=_Member)  # type: ignore[call-overload, no-any-return]


def _report(created: int, failed: list[list[str]], status: str, body: str) -> dict[str, Any]:
    return {"Number Files Created": created, "Response Status": status, "Response Body": body, "Errors": failed}


async def _store(swift: Swift, identity: Identity, base: Target, archive: tarfile.TarFile,
                 member: tarfile.TarInfo) -> str | None:
    """Store one member; what went wrong, or None."""
    path = "/".join(filter(None, (base.container, base.name.strip("/"), member.name.removeprefix("./").lstrip("/"))))
    container, _, name = path.partition("/")
    try:
        name.encode()
        if not name or "\x00" in path:
            return None if not name else "412 Precondition Failed"
        target = Target(base.account, container, name)
        if not base.container:
            await containers.put_container(swift, identity, target, {})
        await objects.put_object(swift, identity, target, {}, _read(archive, member), member.size)
    except UnicodeError:
        return "412 Precondition Failed"
    except CloudseedError as exc:
        return f"{exc.status} {exc.title}"
    return None


async def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> AsyncIterator[bytes]:
    source = archive.extractfile(member)
    assert source is not None
    while piece := await asyncio.to_thread(source.read, PIECE):
        yield piece
