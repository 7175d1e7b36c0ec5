"""A lean HTTP/1.1 client: the client shares the machine with the cloud, so what it costs blurs what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec

_TIMEOUT_S = 120.0


class Refused(RuntimeError):
    """An answer of 400 or above."""

    def __init__(self, method: str, path: str, status: int, body: bytes) -> None:
        super().__init__(f"{method} {path}: {status} {body[:300].decode(errors='replace')}")
        self.status = status


class Answer(msgspec.Struct):
    """Header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Client:
    """Requests to 127.0.0.1:`port` over connections that are kept open, as many as there are requests at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.token = ""
        self.user_id = ""
        self.project_id = ""

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def login(self, user: str, password: str, project: str | None = "admin") -> Answer:
        """A new token, which later requests carry when it is the first."""
        domain = {"id": "default"}
        auth: dict[str, Any] = {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": user, "domain": domain, "password": password}},
            }
        }
        if project is not None:
            auth["scope"] = {"project": {"name": project, "domain": domain}}
        answer = await self.request("POST", "/identity/v3/auth/tokens", {"auth": auth})
        if not self.token:
            token = answer.json()["token"]
            self.token = answer.headers["x-subject-token"]
            self.user_id, self.project_id = token["user"]["id"], token.get("project", {}).get("id", "")
        return answer

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """GET, decoded."""
        return (await self.request("GET", path, headers=headers)).json()

    async def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; raises Refused for 400 and above."""
        content = msgspec.json.encode(json) if json is not None else body
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
        if self.token:
            lines.append(f"X-Auth-Token: {self.token}")
        if content is not None:
            kind = "application/json" if json is not None else "application/octet-stream"
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = self._idle.pop() if self._idle else await self._connect()
            try:
                writer.write(head)
                if content is not None:
                    writer.write(content)
                    await writer.drain()
                answer = await _read(reader, method)
            except BaseException:
                writer.close()
                raise
        self._idle.append((reader, writer))
        if answer.status >= 400:
            raise Refused(method, path, answer.status, answer.body)
        return answer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if method == "HEAD" or status == 204:
        return Answer(status, headers, b"")
    if "chunked" not in headers.get("transfer-encoding", ""):
        return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return Answer(status, headers, b"".join(parts))
