"""A whole cloud, or a part of it, within the test's own process: real services, real databases, no sockets.

    async with Cloud(tmp_path, ["keystone", "placement"]) as cloud:
        admin = await cloud.login("admin")
        answer = await admin.get("/placement/resource_providers", headers={"OpenStack-API-Version": "placement 1.39"})
        assert answer.status == 200

Requests enter through the edge as a client's from outside do: headers are scrubbed, flows recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from cloudseed.cli.roles import builders, whole
from cloudseed.host.fake import FakeHost
from cloudseed.kernel.config import Config
from cloudseed.kernel.runtime import Environment, Runtime, Service

ORDER = ("keystone", "placement", "swift", "glance", "cinder", "neutron", "nova", "dashboard")


class Answer(msgspec.Struct):
    """A response: lower-case headers, whole body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Client:
    """HTTP requests to the cloud, with a token or without."""

    def __init__(self, cloud: Cloud, token: str | None = None, info: dict[str, Any] | None = None) -> None:
        self.cloud = cloud
        self.token = token
        self.info = info or {}  # the token's body
        self._port = 0

    @property
    def project_id(self) -> str:
        project_id: str = self.info["project"]["id"]
        return project_id

    @property
    def user_id(self) -> str:
        user_id: str = self.info["user"]["id"]
        return user_id

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        truncate: bool = False,
    ) -> Answer:
        """`truncate`: go away before the body ends."""
        path, _, query = path.partition("?")
        sent = {"host": "127.0.0.1:8080", **{k.lower(): v for k, v in (headers or {}).items()}}
        if self.token:
            sent.setdefault("x-auth-token", self.token)
        if json is not None:
            body = msgspec.json.encode(json)
            sent.setdefault("content-type", "application/json")
        if isinstance(body, bytes):
            sent.setdefault("content-length", str(len(body)))
        if params:
            query = "&".join(filter(None, (query, urlencode(params, doseq=True))))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in sent.items()],
            "client": ("127.0.0.1", id(self) % 60000),
            "server": ("127.0.0.1", 8080),
        }
        messages = _messages(body, truncate)
        answer = Answer(0, {}, b"")

        async def receive() -> dict[str, Any]:
            message = await anext(messages, None)
            if message is None and not truncate:
                await asyncio.Event().wait()  # a client that waits for its answer stays connected
            return message or {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.cloud.env.edge(scope, receive, send)
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.request("POST", path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.request("PUT", path, json=json, **options)

    async def patch(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.request("PATCH", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)


async def _messages(body: bytes | AsyncIterator[bytes] | None, truncate: bool) -> AsyncIterator[dict[str, Any]]:
    if body is None or isinstance(body, bytes):
        yield {"type": "http.request", "body": (body or b"")[:-1] if truncate else body or b"", "more_body": truncate}
    else:
        async for chunk in body:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if not truncate:
            yield {"type": "http.request", "body": b"", "more_body": False}


class Cloud:
    """Services by name, started in order; state in `path`, kept when the same path is used again (a restart)."""

    def __init__(self, path: Path, services: Iterable[str] = ORDER, **settings: Any) -> None:
        # the lowest cost that bcrypt allows: tests log in often, and measure nothing
        settings = {"driver": "fake", "password_hash_rounds": 4, **settings}
        self.config = Config(state=str(path), **settings)
        self.names = [name for name in ORDER if name in set(services)]
        self.env: Environment
        self.runtime: Runtime

    async def __aenter__(self) -> Cloud:
        self.env = Environment(self.config, host=FakeHost(state=self.config.data_path))
        self.runtime = Runtime(self.env, builders(whole(self.names)))
        await self.runtime.start(listen=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.runtime.stop()

    def service(self, name: str) -> Service:
        return next(s for s in self.runtime.services if s.name == name)

    def anonymous(self) -> Client:
        return Client(self)

    async def login(
        self,
        user: str,
        password: str | None = None,
        project: str | None = None,
        *,
        domain: str = "default",
        scope: Any = None,
    ) -> Client:
        """A client with a token of `user` (admin and service users need no password), scoped to `project`
        (admin's own by default) or to `scope` as keystone writes it."""
        secret = password if password is not None else self.env.secrets.passwords[user]
        auth: dict[str, Any] = {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": user, "domain": {"id": domain}, "password": secret}},
            }
        }
        if scope is not None:
            auth["scope"] = scope
        elif project is not None or user == "admin":
            auth["scope"] = {"project": {"name": project or "admin", "domain": {"id": domain}}}
        answer = await self.anonymous().post("/identity/v3/auth/tokens", {"auth": auth})
        assert answer.status == 201, (answer.status, answer.body)
        return Client(self, answer.headers["x-subject-token"], answer.json()["token"])

    async def new_project(self, name: str, roles: Iterable[str] = ("member",)) -> Client:
        """A new project with one new user of the same name, logged in."""
        admin = await self.login("admin")
        project = (await admin.post("/identity/v3/projects", {"project": {"name": name}})).json()["project"]
        user = (await admin.post("/identity/v3/users", {"user": {"name": name, "password": "secret"}})).json()["user"]
        known = {role["name"]: role["id"] for role in (await admin.get("/identity/v3/roles")).json()["roles"]}
        for role in roles:
            path = f"/identity/v3/projects/{project['id']}/users/{user['id']}/roles/{known[role]}"
            assert (await admin.put(path)).status == 204
        return await self.login(name, "secret", name)
