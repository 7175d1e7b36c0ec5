"""What a tenant, or a stranger with a signed URL, must not get out of swift: keys, other objects, all our memory."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from typing import Any

import msgspec
import pytest

from cloudseed.swift import large_objects
from tests.support.cloud import Cloud
from tests.swift.conftest import Account
from tests.swift.test_extras import sign


async def test_keys_of_temporary_urls_are_the_owners_alone(cloud: Cloud, alice: Account, bob: Account) -> None:
    await alice("POST", "", 204, headers={"X-Account-Meta-Temp-URL-Key": "secret", "X-Account-Meta-Color": "red"})
    await alice("PUT", "/box", 201, headers={
        "X-Container-Read": ".r:*,.rlistings", "X-Container-Meta-Temp-URL-Key": "one",
        "X-Container-Meta-Temp-URL-Key-2": "two", "X-Container-Meta-Color": "red"})
    for who in (Account(cloud.anonymous(), alice.name), Account(bob.client, alice.name)):
        for method in ("HEAD", "GET"):
            shown = (await who(method, "/box")).headers
            assert shown["x-container-meta-color"] == "red"
            assert not {name for name in shown if "temp-url-key" in name}
    assert (await alice("HEAD", "/box", 204)).headers["x-container-meta-temp-url-key"] == "one"
    assert (await alice("HEAD", "", 204)).headers["x-account-meta-temp-url-key"] == "secret"
    made = await alice.client.post("/identity/v3/users", {"user": {"name": "eve", "password": "secret"}})
    roles = {r["name"]: r["id"] for r in (await alice.client.get("/identity/v3/roles")).json()["roles"]}
    assert (await alice.client.put(f"/identity/v3/projects/{alice.client.project_id}/users/"
                                   f"{made.json()['user']['id']}/roles/{roles['reader']}")).status == 204
    reader = Account(await cloud.login("eve", "secret", "admin"))
    shown = (await reader("HEAD", "", 204)).headers
    assert shown["x-account-meta-color"] == "red" and "x-account-meta-temp-url-key" not in shown


async def test_a_signed_url_unpacks_no_archive(cloud: Cloud, alice: Account) -> None:
    await alice("PUT", "/box", 201, headers={"X-Container-Meta-Temp-URL-Key": "secret"})
    stranger = Account(cloud.anonymous(), alice.name)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("other")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    params = {**sign("PUT", f"/v1/{alice.name}/box/new"), "extract-archive": "tar"}
    await stranger("PUT", "/box/new", 400, params=params, body=packed.getvalue())
    assert (await alice("GET", "/box", 204)).body == b""


async def test_nested_manifests_do_not_multiply(alice: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_objects, "MAX_PIECES", 500, raising=False)
    await alice("PUT", "/box", 201)
    await alice("PUT", "/box/0", 201, body=b"x")

    async def nest(level: int, count: int, ranges: bool) -> Any:
        entry = {"path": f"/box/{level - 1}", **({"range": "0-0"} if ranges else {})}
        return await alice("PUT", f"/box/{level}?multipart-manifest=put", body=msgspec.json.encode([entry] * count))

    for ranges in (True, False):  # a range keeps the sum small, and a manifest is read once however often it is named
        for level in (1, 2, 3):
            assert (await nest(level, 10, ranges)).status == 201
        assert (await alice("GET", "/box/2", 200)).body == b"x" * (10 if ranges else 100)
        assert (await alice("GET", "/box/3")).status == (200 if ranges else 409)
    await alice("GET", "/box/3?multipart-manifest=get", 200)
    await alice("DELETE", "/box/3", 204)


async def test_a_manifests_size_stays_a_number(alice: Account) -> None:
    await alice("PUT", "/box", 201)
    await alice("PUT", "/box/0", 201, body=b"x" * 1000)
    for level in range(1, 6):
        answer = await alice("PUT", f"/box/{level}?multipart-manifest=put",
                             body=msgspec.json.encode([{"path": f"/box/{level - 1}"}] * 1000))
        if answer.status != 201:
            assert answer.status in (400, 413) and level > 2
            return
    await alice("PUT", "/box/6?multipart-manifest=put", 400,
                body=msgspec.json.encode([{"path": "/box/5"}] * 1000))


def header_bomb(kind: bytes, megabytes: int) -> bytes:
    """A small archive whose header of the kind unpacks to so much."""
    size = megabytes << 20
    member = tarfile.TarInfo("bomb")
    member.type, member.size = kind, size
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + b"\0" * size + b"\0" * 1024, 1)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
async def test_an_archives_headers_stay_out_of_memory(alice: Account, kind: bytes) -> None:
    await alice("PUT", "/box", 201)
    body = header_bomb(kind, 64)
    tracemalloc.start()
    try:
        answer = await alice("PUT", "/box?extract-archive=tar.gz", 200, body=body,
                             headers={"Accept": "application/json"})
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert answer.json()["Response Status"].startswith("400") and answer.json()["Number Files Created"] == 0


async def test_an_archives_holes_are_not_filled(alice: Account) -> None:
    """A sparse file of a few bytes would become terabytes."""
    await alice("PUT", "/box", 201)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("holes")
        member.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 30), "GNU.sparse.numblocks": "1"}
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    answer = await alice("PUT", "/box?extract-archive=tar", 200, body=packed.getvalue(),
                         headers={"Accept": "application/json"})
    assert answer.json()["Number Files Created"] == 0
    await alice("GET", "/box", 204)
