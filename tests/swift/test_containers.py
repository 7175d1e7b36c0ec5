"""Accounts and containers: metadata, listings in every form, quotas, deletion."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.cloud import Cloud
from tests.swift.conftest import Account


async def fill(alice: Account, names: list[str]) -> None:
    await alice("PUT", "/box", 201)
    for name in names:
        await alice("PUT", f"/box/{name}", 201, body=b"x")


async def test_container_life(alice: Account) -> None:
    await alice("GET", "/box", 404)
    await alice("DELETE", "/box", 404)
    await alice("POST", "/box", 404)
    await alice("PUT", "/box", 201, headers={"X-Container-Meta-A": "1"})
    await alice("PUT", "/box", 202, headers={"X-Container-Meta-B": "2"})
    await alice("POST", "/box/", 204, headers={"X-Container-Meta-C": "3", "X-Remove-Container-Meta-A": "x"})
    head = (await alice("HEAD", "/box", 204)).headers
    assert "x-container-meta-a" not in head
    assert (head["x-container-meta-b"], head["x-container-meta-c"]) == ("2", "3")
    assert head["x-container-object-count"] == head["x-container-bytes-used"] == "0"
    await alice("PUT", "/box/o", 201, body=b"12345")
    head = (await alice("HEAD", "/box", 204)).headers
    assert (head["x-container-object-count"], head["x-container-bytes-used"]) == ("1", "5")
    await alice("DELETE", "/box", 409)
    await alice("DELETE", "/box/o", 204)
    await alice("DELETE", "/box", 204)
    await alice("PUT", "/" + "n" * 257, 400)
    await alice("PUT", "/" + "ü" * 128, 201)


async def test_account(alice: Account) -> None:
    empty = await alice("GET", "", 204)
    assert empty.headers["x-account-container-count"] == "0"
    await alice("POST", "", 204, headers={"X-Account-Meta-Color": "blue"})
    for name in ("b", "a", "c"):
        await alice("PUT", f"/{name}", 201)
    await alice("PUT", "/b/o", 201, body=b"123")
    head = (await alice("HEAD", "", 204)).headers
    assert {"x-account-meta-color": "blue", "x-account-container-count": "3", "x-account-object-count": "1",
            "x-account-bytes-used": "3"}.items() <= head.items()
    assert (await alice("GET", "", 200)).body == b"a\nb\nc\n"
    listed = (await alice("GET", "?format=json&marker=a&limit=1", 200)).json()
    assert [(e["name"], e["count"], e["bytes"]) for e in listed] == [("b", 1, 3)]
    tree = ElementTree.fromstring((await alice("GET", "?format=xml", 200)).body)
    assert [c.findtext("name") for c in tree] == ["a", "b", "c"] and tree.get("name") == alice.name
    assert (await alice("GET", "?reverse=true", 200)).body == b"c\nb\na\n"
    await alice("PUT", "", 405)
    await alice("DELETE", "", 403)
    await alice("POST", "", 403, headers={"X-Account-Meta-Quota-Bytes": "10"})


async def test_listing_forms(alice: Account) -> None:
    await fill(alice, ["a", "b<&>"])
    assert (await alice("GET", "/box", 200)).body == b"a\nb<&>\n"
    rows = (await alice("GET", "/box", 200, headers={"Accept": "application/json"})).json()
    assert rows[0]["hash"] == "9dd4e461268c8034f5c8564e155c67a6" and rows[0]["bytes"] == 1
    assert set(rows[0]) == {"name", "hash", "bytes", "content_type", "last_modified"}
    tree = ElementTree.fromstring((await alice("GET", "/box?format=xml", 200)).body)
    assert [o.findtext("name") for o in tree] == ["a", "b<&>"]
    await alice("GET", "/box?prefix=zz", 204)
    assert (await alice("GET", "/box?prefix=zz&format=json", 200)).json() == []


def expected(names: list[str], *, prefix: str = "", delimiter: str = "", marker: str = "", end_marker: str = "",
             reverse: bool = False, limit: int = 10000) -> list[str]:
    """What a listing must show, computed the slow way."""
    found: list[str] = []
    for name in sorted(names, reverse=reverse):
        if not name.startswith(prefix):
            continue
        if marker and (name >= marker if reverse else name <= marker):
            continue
        if end_marker and (name <= end_marker if reverse else name >= end_marker):
            continue
        if delimiter and delimiter in name[len(prefix):]:
            name = name[:name.index(delimiter, len(prefix)) + len(delimiter)]
            if name == marker and not reverse:
                continue
        if name not in found:
            found.append(name)
    return found[:limit]


async def test_listing_with_every_parameter(alice: Account) -> None:
    rng = random.Random(7)
    names = sorted({"".join(rng.choice("ab/éz-") for _ in range(rng.randint(1, 6))).strip("/") or "q"
                    for _ in range(60)} | {"a/", "a/b/", "aa", "a0"})
    await fill(alice, names)
    tried = 0
    for _ in range(150):
        query = {"prefix": rng.choice(["", "a", "a/", "é", "zz"]), "delimiter": rng.choice(["", "/", "b", "a/"]),
                 "marker": rng.choice(["", "a", "a/", "b", *names]), "end_marker": rng.choice(["", "", "z", *names]),
                 "limit": rng.choice([1, 2, 5, 10000]), "reverse": rng.random() < 0.4}
        answer = await alice("GET", "/box", params={**query, "reverse": str(query["reverse"]), "format": "json"})
        assert answer.status == 200, query
        shown = [entry.get("name") or entry["subdir"] for entry in answer.json()]
        assert shown == expected(names, **query), query  # type: ignore[arg-type]
        tried += bool(shown)
    assert tried > 40


async def test_path_lists_one_folder(alice: Account) -> None:
    await fill(alice, ["top", "dir", "dir/a", "dir/b", "dir/sub/c"])
    assert (await alice("GET", "/box?path=dir", 200)).body == b"dir/a\ndir/b\n"
    assert (await alice("GET", "/box?path=", 200)).body == b"dir\ntop\n"


@pytest.mark.parametrize("query", ["limit=10001", "limit=99999999"])
async def test_too_high_a_limit_is_412(alice: Account, query: str) -> None:
    await alice("PUT", "/box", 201)
    await alice("GET", f"/box?{query}", 412)
    await alice("GET", f"?{query}", 412)


async def test_container_quotas(alice: Account) -> None:
    await alice("PUT", "/box", 201, headers={"X-Container-Meta-Quota-Bytes": "10", "X-Container-Meta-Quota-Count": "2"})
    await alice("PUT", "/box/a", 201, body=b"12345678")
    refused = await alice("PUT", "/box/b", 413, body=b"123")
    assert b"exceeds quota" in refused.body
    await alice("PUT", "/box/a", 201, body=b"1234567890")  # replacing frees what it replaces
    await alice("PUT", "/box/b", 201, body=b"")
    await alice("PUT", "/box/c", 413, body=b"")
    await alice("POST", "/box", 400, headers={"X-Container-Meta-Quota-Bytes": "lots"})
    await alice("POST", "/box", 204, headers={"X-Container-Meta-Quota-Bytes": "",
                                              "X-Remove-Container-Meta-Quota-Count": "1"})
    await alice("PUT", "/box/c", 201, body=b"more")


async def test_bulk_delete(alice: Account) -> None:
    await fill(alice, ["a", "ü b"])
    answer = await alice("POST", "?bulk-delete=1", 200, body=b"box/a\nbox/%C3%BC%20b\nbox/none\nbox",
                         headers={"Accept": "application/json"})
    assert answer.json()["Number Deleted"] == 3 and answer.json()["Number Not Found"] == 1
    await alice("GET", "/box", 404)
    await alice("PUT", "/box", 201)
    await alice("PUT", "/box/a", 201, body=b"x")
    report = await alice("POST", "?bulk-delete", 200, body=b"/box")
    assert b"/box, 409 Conflict" in report.body and b"Response Status: 400" in report.body


async def test_info_and_health(cloud: Cloud) -> None:
    info = (await cloud.anonymous().get("/object-store/info")).json()
    assert info["swift"]["max_object_name_length"] == 1024 and "slo" in info
    assert (await cloud.anonymous().get("/object-store/healthcheck")).body == b"OK"


async def test_state_survives_a_restart(tmp_path: Path) -> None:
    async with Cloud(tmp_path, ["keystone", "swift"]) as cloud:
        await fill(Account(await cloud.login("admin")), ["a"])
    async with Cloud(tmp_path, ["keystone", "swift"]) as again:
        client = Account(await again.login("admin"))
        assert (await client("GET", "/box/a", 200)).body == b"x"
        ledger = (await again.runtime.ledger())["swift"]
        assert [o["name"] for o in ledger["objects"]] == ["a"] and len(ledger["files"]) == 1
