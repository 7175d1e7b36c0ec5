"""Who may do what: roles in the owning project, container ACLs, strangers."""

from __future__ import annotations

import pytest

from cloudseed.swift.access import clean_acl, parse_acl, referrer_allowed
from cloudseed.swift.errors import BadRequest
from tests.support.cloud import Client, Cloud
from tests.swift.conftest import Account

WAYS = [("GET", ""), ("HEAD", ""), ("POST", ""), ("GET", "/box"), ("HEAD", "/box"), ("PUT", "/box"), ("POST", "/box"),
        ("DELETE", "/box"), ("GET", "/box/o"), ("HEAD", "/box/o"), ("PUT", "/box/o"), ("POST", "/box/o"),
        ("DELETE", "/box/o"), ("COPY", "/box/o"), ("GET", "/none"), ("GET", "/none/o"), ("GET", "/box/none")]


async def prepare(alice: Account, **headers: str) -> None:
    await alice("PUT", "/box", headers={k.replace("_", "-"): v for k, v in headers.items()})
    await alice("PUT", "/box/o", 201, body=b"x")


async def test_foreign_projects_and_strangers_get_nothing(cloud: Cloud, alice: Account, bob: Account) -> None:
    await prepare(alice)
    for client, status in ((bob.client, 403), (cloud.anonymous(), 401), (Client(cloud, "forged"), 401)):
        them = Account(client, alice.name)
        for method, path in WAYS:
            answer = await them(method, path, status, body=b"", headers={"Destination": "box/p"})
            assert answer.body != b"x"
        if status == 401 and client.token is None:
            assert answer.headers["www-authenticate"].startswith("Swift realm=")
    assert (await alice("GET", "/box/o", 200)).body == b"x"


async def test_a_reader_reads_its_own_project(cloud: Cloud) -> None:
    member = Account(await cloud.new_project("proj", roles=("member",)))
    await prepare(member)
    admin = await cloud.login("admin")
    reader = await cloud.new_project("reader", roles=("reader",))
    roles = {r["name"]: r["id"] for r in (await admin.get("/identity/v3/roles")).json()["roles"]}
    path = f"/identity/v3/projects/{member.client.project_id}/users/{reader.user_id}/roles/{roles['reader']}"
    assert (await admin.put(path)).status == 204
    them = Account(await cloud.login("reader", "secret", "proj"))
    for method, path in [("GET", ""), ("GET", "/box"), ("GET", "/box/o"), ("HEAD", "/box/o")]:
        assert (await them(method, path)).status < 300
    for method, path in [("PUT", "/new"), ("DELETE", "/box/o"), ("POST", "/box"), ("POST", "")]:
        await them(method, path, 403, body=b"")


async def test_public_reading(cloud: Cloud, alice: Account) -> None:
    await prepare(alice, X_Container_Read=".r:*,.rlistings")
    stranger = Account(cloud.anonymous(), alice.name)
    assert (await stranger("GET", "/box/o", 200)).body == b"x"
    listing = await stranger("GET", "/box", 200)
    assert listing.body == b"o\n" and "x-container-read" not in listing.headers
    assert (await alice("HEAD", "/box", 204)).headers["x-container-read"] == ".r:*,.rlistings"
    await stranger("PUT", "/box/o", 401, body=b"evil")
    await stranger("DELETE", "/box/o", 401)
    await alice("POST", "/box", 204, headers={"X-Container-Read": ".r:*"})
    await stranger("GET", "/box", 401)
    await stranger("GET", "/box/o", 200)
    await alice("POST", "/box", 204, headers={"X-Remove-Container-Read": "x"})
    await stranger("GET", "/box/o", 401)


async def test_grants(alice: Account, bob: Account) -> None:
    info = bob.client.info
    await alice("PUT", "/box", 201)
    for form in ("{project}:{user}", "*:{user}", "{project}:*", "{name}:{name}", "*:*", "member"):
        await check_grant(alice, bob, form.format(project=info["project"]["id"], user=info["user"]["id"], name="bob"))


async def check_grant(alice: Account, bob: Account, grant: str) -> None:
    await alice("POST", "/box", 204, headers={"X-Container-Read": grant, "X-Container-Write": ""})
    await alice("PUT", "/box/o", 201, body=b"x")
    them = Account(bob.client, alice.name)
    assert (await them("GET", "/box/o", 200)).body == b"x"
    await them("GET", "/box", 200)
    await them("PUT", "/box/p", 403, body=b"x")
    await alice("POST", "/box", 204, headers={"X-Container-Write": grant, "X-Container-Read": ""})
    await them("PUT", "/box/p", 201, body=b"x")
    await them("GET", "/box/o", 403)
    await them("DELETE", "/box/p", 204)
    for method, path in [("DELETE", "/box"), ("POST", "/box"), ("PUT", "/other"), ("GET", "")]:
        await them(method, path, 403)


async def test_copying_reads_the_source_and_writes_the_target(cloud: Cloud, alice: Account, bob: Account) -> None:
    await prepare(alice)
    await bob("PUT", "/mine", 201)
    copy = {"X-Copy-From": "/box/o", "X-Copy-From-Account": alice.name, "Content-Length": "0"}
    await bob("PUT", "/mine/o", 403, headers=copy)
    await alice("POST", "/box", 204, headers={"X-Container-Read": f"{bob.client.project_id}:*"})
    await bob("PUT", "/mine/o", 201, headers=copy)
    assert (await bob("GET", "/mine/o", 200)).body == b"x"
    them = Account(bob.client, alice.name)
    await them("COPY", "/box/o", 403, headers={"Destination": "box/p"})


async def test_a_reseller_sets_quotas_and_deletes_accounts(cloud: Cloud, alice: Account, bob: Account) -> None:
    admin = await cloud.login("admin")
    answer = await admin.get("/identity/v3/roles?name=ResellerAdmin")  # a cloud has it from its start
    role = answer.json()["roles"][0]["id"]
    path = f"/identity/v3/projects/{admin.project_id}/users/{admin.user_id}/roles/{role}"
    assert (await admin.put(path)).status == 204
    reseller = Account(await cloud.login("admin"), bob.name)
    await reseller("POST", "", 204, headers={"X-Account-Meta-Quota-Bytes": "4"})
    await bob("PUT", "/box", 201)
    await bob("PUT", "/box/o", 413, body=b"12345")
    await bob("PUT", "/box/o", 201, body=b"1234")
    assert (await bob("HEAD", "", 204)).headers["x-account-quota-bytes"] == "4"
    await reseller("DELETE", "", 204)
    await bob("GET", "/box/o", 404)
    await reseller("DELETE", "", 404)


@pytest.mark.parametrize(("referer", "rules", "allowed"), [
    (None, ".r:*", True), (None, ".r:example.com", False), ("http://example.com/x", ".r:example.com", True),
    ("http://a.example.com", ".r:.example.com", True), ("http://a.example.com", ".r:*,.r:-a.example.com", False),
    ("http://evil.com", ".r:.example.com", False), ("http://[", ".r:*", True), ("http://[", ".r:x", False)])
def test_referrers(referer: str | None, rules: str, allowed: bool) -> None:
    assert referrer_allowed(referer, parse_acl(rules).referrers) is allowed


@pytest.mark.parametrize(("header", "value", "clean"), [
    ("x-container-read", " .r : * , a:b ,", ".r:*,a:b"),
    ("x-container-read", ".referer:*example.com", ".r:example.com"),
    ("x-container-write", ".r:*", None), ("x-container-read", ".r:", None), ("x-container-read", ".what", None)])
def test_clean_acl(header: str, value: str, clean: str | None) -> None:
    if clean is None:
        with pytest.raises(BadRequest):
            clean_acl(header, value)
    else:
        assert clean_acl(header, value) == clean
