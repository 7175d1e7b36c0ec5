"""Who may do what: every route, asked by strangers, by a project's member, by a service and by an administrator."""

from __future__ import annotations

from typing import Any

import pytest

from cloudseed.placement.policies import RULES
from tests.placement.conftest import Api
from tests.support.cloud import Cloud

UUID = "0a0b0c0d-0000-4000-8000-000000000001"
PROVIDER = f"/resource_providers/{UUID}"
ROUTES = [
    ("GET", "/resource_providers"), ("POST", "/resource_providers"), ("GET", PROVIDER), ("PUT", PROVIDER),
    ("DELETE", PROVIDER), ("GET", f"{PROVIDER}/inventories"), ("PUT", f"{PROVIDER}/inventories"),
    ("POST", f"{PROVIDER}/inventories"), ("DELETE", f"{PROVIDER}/inventories"),
    ("GET", f"{PROVIDER}/inventories/VCPU"), ("PUT", f"{PROVIDER}/inventories/VCPU"),
    ("DELETE", f"{PROVIDER}/inventories/VCPU"), ("GET", f"{PROVIDER}/usages"), ("GET", f"{PROVIDER}/aggregates"),
    ("PUT", f"{PROVIDER}/aggregates"), ("GET", f"{PROVIDER}/allocations"), ("GET", f"{PROVIDER}/traits"),
    ("PUT", f"{PROVIDER}/traits"), ("DELETE", f"{PROVIDER}/traits"), ("POST", "/allocations"),
    ("GET", f"/allocations/{UUID}"), ("PUT", f"/allocations/{UUID}"), ("DELETE", f"/allocations/{UUID}"),
    ("GET", "/allocation_candidates"), ("GET", "/resource_classes"), ("POST", "/resource_classes"),
    ("GET", "/resource_classes/VCPU"), ("PUT", "/resource_classes/CUSTOM_A"), ("DELETE", "/resource_classes/CUSTOM_A"),
    ("GET", "/traits"), ("GET", "/traits/CUSTOM_A"), ("PUT", "/traits/CUSTOM_A"), ("DELETE", "/traits/CUSTOM_A"),
    ("GET", "/usages"), ("POST", "/reshaper")]


async def test_strangers_and_members_are_refused_everywhere(cloud: Cloud) -> None:
    stranger, member = Api(cloud.anonymous()), Api(await cloud.new_project("mine"))
    forged = {"X-Roles": "admin", "X-User-Id": "x", "X-Identity-Status": "Confirmed", "X-Project-Id": "x"}
    for method, path in ROUTES:
        answer = await stranger.raw(method, path, headers=forged)
        assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Keystone"), (method, path)
        assert answer.json()["error"]["code"] == 401
        answer = await member.raw(method, path, headers=forged)
        assert answer.status == 403, (method, path, answer.status)
        assert "Policy does not allow" in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize("user", ["admin", "nova"])
async def test_administrators_and_services_are_let_in_everywhere(cloud: Cloud, user: str) -> None:
    api = Api(await cloud.login(user, project="admin" if user == "admin" else "service"))
    for method, path in ROUTES:
        answer = await api.raw(method, path)
        refused = (method, path) == ("POST", "/reshaper") and user == "admin"  # upstream: services alone
        assert (answer.status == 403) is refused, (method, path, answer.status, answer.body)
        assert answer.status < 500


async def test_tokens_without_a_project_are_not_enough(cloud: Cloud) -> None:
    api = Api(await cloud.login("admin", scope={"system": {"all": True}}))
    await api.get("/resource_providers", 403)


def test_every_rule_is_checked_somewhere() -> None:
    from pathlib import Path

    import cloudseed.placement.api as package

    text = "".join(path.read_text() for path in Path(package.__path__[0]).glob("*.py"))
    for rule in RULES:
        if rule.name.startswith("placement:"):
            head, _, verb = rule.name.rpartition(":")
            assert f'"{rule.name}"' in text or (f'"{head}:"' in text and f'_RULE + "{verb}"' in text), rule.name


async def test_the_root_is_for_everybody(cloud: Cloud) -> None:
    for path in ("/placement", "/placement/"):
        answer = await cloud.anonymous().get(path)
        assert answer.status == 200
        assert answer.json() == {"versions": [{
            "id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT",
            "links": [{"rel": "self", "href": ""}]}]}


@pytest.mark.parametrize(("version", "status", "entry"), [
    ("1.40", 406, {"max_version": "1.39", "min_version": "1.0"}), ("2.0", 406, {"max_version": "1.39"}),
    ("x", 400, {"status": 400}), ("1.x", 400, {}), ("0.9", 406, {})])
async def test_unknown_microversions(api: Api, version: str, status: int, entry: dict[str, Any]) -> None:
    error = (await api.at(version).get("/traits", status))["errors"][0]
    assert entry.items() <= error.items() and "code" not in error


async def test_error_codes_came_with_1_23(api: Api) -> None:
    assert "code" not in (await api.at("1.22").get(PROVIDER, 404))["errors"][0]
    error = (await api.at("1.23").get(PROVIDER, 404))["errors"][0]
    assert error["code"] == "placement.undefined_code" and error["request_id"].startswith("req-")
    assert UUID in error["detail"]


@pytest.mark.parametrize("path", ["/nothing", f"{PROVIDER}/nothing", "/resource_providers/x/y/z", "/traits/a/b"])
async def test_unknown_paths(api: Api, path: str) -> None:
    assert (await api.get(path, 404))["errors"][0]["status"] == 404


async def test_unknown_methods(api: Api) -> None:
    answer = await api.raw("PATCH", "/resource_providers")
    assert answer.status == 405 and answer.json()["errors"][0]["status"] == 405


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 5000, b"\xff", b'{"name": "\\ud800"}', b"null", b"1e999"])
async def test_nonsense_never_breaks_anything(api: Api, body: bytes) -> None:
    for method, path in ROUTES:
        if method in ("POST", "PUT"):
            answer = await api.client.request(method, f"/placement{path}", body=body, headers={
                "OpenStack-API-Version": "placement 1.39", "content-type": "application/json"})
            assert answer.status < 500, (method, path, answer.body)
