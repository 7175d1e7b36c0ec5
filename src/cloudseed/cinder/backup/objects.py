"""The objects of backups, in the account of the project that they belong to, written by cinder's own user.

The user's token would not outlive a long backup, nor a restart in its middle; cinder's user has the object store's
reseller role.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import BodyTooLarge, NotFound, Timeout, Unavailable
from cloudseed.kernel.http.client import ServiceSession

DEFAULT_CONTAINER = "volumebackups"
TIMEOUT_S = 600.0


class BackupObjects:
    """One container of one project."""

    def __init__(self, session: ServiceSession, project_id: str, container: str | None) -> None:
        self._session = session
        self._path = f"/v1/AUTH_{project_id}/{quote(container or DEFAULT_CONTAINER, safe='')}"

    async def ensure_container(self, ctx: Context) -> None:
        """Make the container unless it is there."""
        await self._session.request(ctx, "object-store", "PUT", self._path)

    async def put(self, ctx: Context, name: str, data: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        await self._session.request(ctx, "object-store", "PUT", f"{self._path}/{quote(name)}", headers=headers,
                                    body=data, timeout_s=TIMEOUT_S)

    async def get(self, ctx: Context, name: str, limit: int) -> bytes:
        """Raises NotFound, BodyTooLarge for more than `limit` bytes, which are not read."""
        answer = await self._session.request(ctx, "object-store", "GET", f"{self._path}/{quote(name)}",
                                             timeout_s=TIMEOUT_S, stream=True)
        found = bytearray()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                async for chunk in answer.chunks():
                    found += chunk
                    if len(found) > limit:
                        raise BodyTooLarge(f"The object {name} is larger than any of a backup.")
        except TimeoutError:
            raise Timeout(f"The object {name} was not read in time.") from None
        except OSError as exc:
            raise Unavailable(f"The object {name} could not be read to its end.", detail=str(exc)) from exc
        finally:
            await answer.close()
        return bytes(found)

    async def names(self, ctx: Context, prefix: str) -> list[str]:
        """Every object whose name begins so; none when there is no container."""
        found: list[str] = []
        while True:
            params = {"prefix": prefix, "format": "json", "marker": found[-1] if found else None}
            try:
                page = await self._session.get_json(ctx, "object-store", self._path, params=params)
            except NotFound:
                return found
            if not page:
                return found
            found += [entry["name"] for entry in page]

    async def delete(self, ctx: Context, name: str) -> None:
        """Gone already is fine."""
        try:
            await self._session.request(ctx, "object-store", "DELETE", f"{self._path}/{quote(name)}")
        except NotFound:
            pass
