"""Completeness by enumeration: every route of every service refuses a stranger, a forged and an expired token."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Client, Cloud
from tests.support.routes import routes_of


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path) as cloud:
        yield cloud


def routes(cloud: Cloud) -> list[tuple[str, str, Any]]:
    """Every (method, path, resource) that the cloud answers, with ids filled in."""
    found = []
    for service in cloud.runtime.services:
        for mount in service.mounts:
            for route in routes_of(mount.app):
                path = "/".join("x" if "{" in part else part for part in route.path.split("/"))
                for method in route.methods:
                    if not method.internal:
                        found.append((method.method, mount.prefix + path, mount))
    return found


async def test_every_route_refuses_strangers(cloud: Cloud) -> None:
    every = routes(cloud)
    assert len(every) > 250
    public = set()
    for method, path, _ in every:
        answer = await cloud.anonymous().request(method, path)
        if answer.status not in (401, 403, 405):
            public.add((method, path))
            assert answer.status < 500, (method, path, answer.status)
    # what a stranger may see: versions, schemas of nothing, the login, and objects by their containers' rules
    unexpected = {(m, p) for m, p in public if not _may_be_public(m, p)}
    assert unexpected == set()


def _may_be_public(method: str, path: str) -> bool:
    prefix, _, rest = path[1:].partition("/")
    versions = ("", "v2", "v2.0", "v2.1", "v3", "versions", "v2/", "v3/")
    return (
        (method in ("GET", "HEAD") and (rest in versions or "versions/" in rest))
        or (prefix == "identity" and rest == "v3/auth/tokens" and method == "POST")
        # the old password is the proof, since an expired one must be replaceable
        or (prefix == "identity" and rest == "v3/users/x/password" and method == "POST")
        # pages and scripts; what opens a console is the token in its URL
        or (prefix == "console" and method == "GET")
        or prefix == "dashboard"  # sends strangers to its login; tests/dashboard looks at each of its routes
        or (prefix == "object-store" and rest in ("info", "healthcheck"))
        or (prefix == "object-store" and rest.startswith("v1/") and method == "OPTIONS")
        or (prefix == "identity" and rest.startswith("v3/OS-") and method in ("GET", "HEAD"))
    )


@pytest.mark.parametrize("token", ["x", "gAAAAA" + "A" * 150, "é", "x" * 9000])
async def test_every_route_refuses_forged_tokens(cloud: Cloud, token: str) -> None:
    forged = Client(cloud, token)
    for method, path, _ in routes(cloud):
        if not _may_be_public(method, path):
            answer = await forged.request(method, path)
            assert answer.status == 401, (method, path, answer.status, answer.body)


async def test_no_route_answers_500_to_nonsense(cloud: Cloud) -> None:
    """Unknown ids and bodies of every wrong shape, as the admin: always a client error, never a bug."""
    admin = await cloud.login("admin")
    bodies = [b"", b"{", b"[]", b"null", b'"x"', b'{"x": 1}', b"[" * 5000, b'{"server": null}', b"\xff"]
    began, bad = time.monotonic(), []
    for method, path, _ in routes(cloud):
        if path.startswith("/identity/v3/users/x/password"):
            continue
        for body in bodies if method in ("POST", "PUT", "PATCH") else [b""]:
            answer = await admin.request(method, path, body=body, headers={"content-type": "application/json"})
            if answer.status >= 500 and answer.status != 501:
                bad.append((method, path, body[:20], answer.status, answer.body[:200]))
    assert bad == [], f"{len(bad)} bugs in {time.monotonic() - began:.0f} s"


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=x",
        "marker=nobody",
        "sort_key=%00",
        "name=%00",
        "sort_dir=up",
        "fields=%27",
        "changes-since=never",
        "limit=99999999999999999999",
        "&".join(["sort_key=id&sort_dir=asc"] * 1500),
        "tags=" + ",".join(f"t{n}" for n in range(1500)),
        "tag=" + "&tag=".join(f"t{n}" for n in range(1500)),
    ],
)
async def test_no_list_answers_500_to_a_bad_query(cloud: Cloud, query: str) -> None:
    admin = await cloud.login("admin")
    bad = []
    for method, path, _ in routes(cloud):
        if method == "GET":
            answer = await admin.get(f"{path}?{query}")
            if answer.status >= 500 and answer.status != 501:
                bad.append((path, answer.status, answer.body[:200]))
    assert bad == []
