"""What every route says to strangers, to members and to nonsense: never a 500, never another's business."""

from __future__ import annotations

import re
from typing import Any

from cloudseed.keystone.routes import routes
from tests.support.cloud import Client, Cloud

NONSENSE: tuple[Any, ...] = (b"", b"{", b"null", b"[]", b'"x"', b"5", b"{}", b"\xff", b"[" * 2000, b'{"auth": []}')


def _urls(cloud: Cloud) -> list[tuple[str, str, Any]]:
    """(method, URL, resource) of everything that keystone serves."""
    found = []
    for template, resource in routes(cloud.service("keystone").handle).items():
        url = "/identity" + re.sub(r"\{[^}]*\}", "0" * 32, template)
        found.extend(
            (method, url, resource)
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
            if hasattr(resource, f"on_{method.lower()}")
        )
    return found


async def test_strangers_get_nothing(cloud: Cloud) -> None:
    anonymous = cloud.anonymous()
    for method, url, resource in _urls(cloud):
        public = getattr(resource, "public", False)
        if public is True or (public and method in public):
            continue
        for client in (anonymous, Client(cloud, "gAAAAABforged")):
            answer = await client.request(method, url, body=b"{}")
            assert answer.status == 401, (method, url, answer)


async def test_nonsense_is_refused_with_a_reason(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    for method, url, _ in _urls(cloud):
        for client in (admin, me, cloud.anonymous()):
            for body in NONSENSE if method in ("POST", "PUT", "PATCH") else (b"",):
                answer = await client.request(method, url, body=body)
                assert answer.status < 500, (method, url, body, answer)
                if answer.status >= 400 and method != "HEAD":
                    assert answer.json()["error"]["message"], (method, url, answer)


async def test_wrongly_typed_attributes(cloud: Cloud, admin: Client) -> None:
    values: tuple[Any, ...] = (None, 5, -1, True, [], {}, "", "\0", "x" * 70_000, [[]], {"a": {"b": []}}, "ünï\ud7ff")
    for noun, names in (
        ("user", ("name", "domain_id", "password", "enabled", "default_project_id", "options", "x")),
        ("project", ("name", "domain_id", "parent_id", "description", "tags", "is_domain", "options")),
        ("domain", ("name", "description", "enabled", "tags", "explicit_domain_id")),
        ("group", ("name", "domain_id", "description")),
        ("role", ("name", "domain_id", "options")),
        ("region", ("id", "description", "parent_region_id")),
        ("service", ("type", "name", "enabled")),
        ("endpoint", ("interface", "url", "service_id", "region_id", "region")),
        ("credential", ("type", "blob", "user_id", "project_id")),
    ):
        for name in names:
            for value in values:
                body = {
                    noun: {
                        "name": f"{noun}-{name}",
                        "type": "t",
                        "blob": "b",
                        "interface": "public",
                        "url": "http://x",
                        "service_id": "s",
                        name: value,
                    }
                }
                answer = await admin.post(f"/identity/v3/{noun}s", body)
                assert answer.status < 500, (noun, name, value, answer)


async def test_unknown_places(cloud: Cloud, admin: Client) -> None:
    assert (await admin.get("/identity/v3/nothing")).json()["error"]["code"] == 404
    assert (await admin.get("/identity/v2.0")).status == 404
    assert (await admin.delete("/identity/v3/users")).status == 405
    for odd in ("%00", "%2e%2e", "a%20b", "x" * 3000, "%ff", "'", ";--"):
        assert (await admin.get(f"/identity/v3/users/{odd}")).status in (400, 404), odd
