"""A toy service through the edge: routing, errors, limits, headers, flows and service-to-service calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel import errors
from cloudseed.kernel.config import Config
from cloudseed.kernel.context import Context, Identity, trace_for_audit_id
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.microversion import Microversions
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.runtime import Environment, Runtime, Service
from tests.support.cloud import Client


class Validator:
    async def validate(self, ctx: Context, token: str, service_token: str | None = None) -> Identity:
        if token != "good":
            raise errors.Unauthenticated()
        return Identity(user_id="u", project_id="p", roles=frozenset({"member"}), token=token, audit_id="a1")


class Things:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {
            "user": req.ctx.user_id,
            "version": list(req.microversion),
            "base": req.base_url,
            "seen": {k: v for k, v in req.headers.items() if k.lower().startswith("x-")},
        }

    async def on_post(self, req: Request, resp: Response) -> None:
        resp.media = await req.json(dict[str, int])

    async def on_delete(self, req: Request, resp: Response) -> None:
        raise RuntimeError("secret internal text")


class Root:
    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.status = 300
        resp.media = {"versions": []}


class Toy:
    def __init__(self, tmp_path: Path) -> None:
        self.env = Environment(Config(state=str(tmp_path)))
        app = make_app(
            {"/": Root(), "/things": Things()},
            fault=faults.nova,
            validator=Validator(),
            identity_url="http://id",
            microversions=Microversions("compute", (2, 1), (2, 90), (2, 1)),
        )
        service = Service("toy", mounts=[Mount("/compute", "nova-api", app)])
        self.runtime = Runtime(self.env, [lambda env: service])


@pytest.fixture
async def toy(tmp_path: Path) -> Any:
    toy = Toy(tmp_path)
    await toy.runtime.start(listen=False)
    yield toy
    await toy.runtime.stop()


def client(toy: Toy, token: str | None = "good") -> Client:
    return Client(toy, token)  # type: ignore[arg-type]


async def test_a_handler_sees_identity_version_and_no_forged_headers(toy: Toy) -> None:
    answer = await client(toy).get(
        "/compute/things",
        headers={
            "X-Roles": "admin",
            "X-User-Id": "root",
            "X-Project-Id": "other",
            "OpenStack-API-Version": "compute 2.15",
        },
    )
    body = answer.json()
    assert answer.status == 200 and body["user"] == "u" and body["version"] == [2, 15]
    assert body["base"] == "http://127.0.0.1:8080/compute"
    assert {name.lower() for name in body["seen"]} == {"x-auth-token"}
    assert answer.headers["openstack-api-version"] == "compute 2.15"
    assert answer.headers["x-openstack-request-id"].startswith("req-")


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("bad", 401), ("x" * 20000, 401), ("good", 200)])
async def test_tokens(toy: Toy, token: str | None, status: int) -> None:
    answer = await client(toy, token).get("/compute/things")
    assert answer.status == status
    if status == 401:
        assert answer.json()["error"]["code"] == 401
        assert answer.headers["www-authenticate"].startswith("Keystone uri=")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"a": "x"}', 400),
        (b'{"a": 1}', 200),
        (b"\xff\xfe", 400),
        (b'{"a": ' + b"1" * 200_000 + b"}", 413),
    ],
)
async def test_bodies(toy: Toy, body: bytes, status: int) -> None:
    answer = await client(toy).request("POST", "/compute/things", body=body)
    assert answer.status == status, answer.body


async def test_a_truncated_body_is_refused(toy: Toy) -> None:
    answer = await client(toy).request("POST", "/compute/things", body=b'{"a": 1} ', truncate=True)
    assert answer.status == 400
    assert b"closed the connection" in answer.body


@pytest.mark.parametrize(
    ("version", "status"),
    [("compute 2.91", 406), ("compute 1.0", 406), ("compute x", 400), ("compute latest", 200), ("volume 3.0", 200)],
)
async def test_microversions(toy: Toy, version: str, status: int) -> None:
    assert (await client(toy).get("/compute/things", headers={"OpenStack-API-Version": version})).status == status


async def test_bugs_tell_nothing_but_the_request_id(toy: Toy) -> None:
    answer = await client(toy).delete("/compute/things")
    assert answer.status == 500
    assert b"secret" not in answer.body and answer.headers["x-openstack-request-id"].encode() in answer.body


async def test_no_route_and_wrong_method(toy: Toy) -> None:
    assert (await client(toy).get("/compute/nothing")).json()["itemNotFound"]["code"] == 404
    assert (await client(toy).put("/compute/things", {})).status == 405
    assert (await client(toy).get("/elsewhere")).status == 404


async def test_one_token_is_one_flow_with_its_discovery(toy: Toy) -> None:
    me = client(toy)
    anonymous_first = await me.request("GET", "/compute/", headers={"x-auth-token": ""})
    assert anonymous_first.status == 300
    await me.post("/compute/things", {"a": 1})
    toy.env.recorder.flush()
    assert toy.env.flow_store is not None
    assert toy.env.flow_store.last_changed() is None  # neither wrote anything
    flow_id = trace_for_audit_id("a1")
    assert [(e.method, e.path, e.status) for e in toy.env.flow_store.exchanges(flow_id)] == [
        ("GET", "/compute/", 300),
        ("POST", "/compute/things", 200),
    ]


async def test_a_session_calls_a_cohosted_service_with_its_own_name_in_the_flow(toy: Toy) -> None:
    session = toy.env.session("nova-scheduler", "nova")
    ctx = Context()
    answer = await session.get_json(ctx, "compute", "/things", token="good", microversion="compute 2.9")
    assert answer["version"] == [2, 9]
    with pytest.raises(errors.NotFound, match="could not be found"):
        await session.request(ctx, "compute", "GET", "/nothing", token="good")
    streamed = await session.request(ctx, "compute", "GET", "/things", token="good", stream=True)
    assert b"version" in b"".join([chunk async for chunk in streamed.chunks()])
    toy.env.recorder.flush()
    assert toy.env.flow_store is not None
    rows = toy.env.flow_store.exchanges(ctx.trace.trace_id)
    assert {(e.caller, e.callee) for e in rows} == {("nova-scheduler", "nova-api")} and len(rows) == 3
