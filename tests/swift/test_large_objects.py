"""Static and dynamic large objects: put, read in parts, look into, delete; refused when a segment is not as told."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from cloudseed.swift.large_objects import Piece, cut
from tests.support.cloud import Cloud
from tests.swift.conftest import Account
from tests.swift.test_objects import files

SEGMENTS = [os.urandom(1000), os.urandom(1), os.urandom(1 << 20)]
WHOLE = b"".join(SEGMENTS)
ETAG = hashlib.md5("".join(hashlib.md5(s).hexdigest() for s in SEGMENTS).encode()).hexdigest()


async def prepare(alice: Account) -> list[dict[str, Any]]:
    await alice("PUT", "/box", 201)
    await alice("PUT", "/segments", 201)
    manifest = []
    for number, data in enumerate(SEGMENTS):
        await alice("PUT", f"/segments/s/{number}", 201, body=data)
        manifest.append({"path": f"/segments/s/{number}", "etag": hashlib.md5(data).hexdigest(),
                         "size_bytes": len(data)})
    return manifest


async def test_static(cloud: Cloud, alice: Account) -> None:
    manifest = await prepare(alice)
    put = await alice("PUT", "/box/big?multipart-manifest=put", 201, json=manifest,
                      headers={"Content-Type": "text/x-big"})
    assert put.headers["etag"] == f'"{ETAG}"'
    head = (await alice("HEAD", "/box/big", 200)).headers
    assert head["content-length"] == str(len(WHOLE)) and head["x-static-large-object"] == "True"
    got = await alice("GET", "/box/big", 200)
    assert got.body == WHOLE and got.headers["content-type"] == "text/x-big"
    part = await alice("GET", "/box/big", 206, headers={"Range": "bytes=990-1010"})
    assert part.body == WHOLE[990:1011]
    two = await alice("GET", "/box/big", 206, headers={"Range": "bytes=0-1,999-1002"})
    assert WHOLE[999:1003] in two.body
    await alice("GET", "/box/big", 304, headers={"If-None-Match": f'"{ETAG}"'})
    seen = (await alice("GET", "/box/big?multipart-manifest=get", 200)).json()
    assert [(e["name"], e["bytes"]) for e in seen] == [(e["path"], e["size_bytes"]) for e in manifest]
    raw = (await alice("GET", "/box/big?multipart-manifest=get&format=raw", 200)).json()
    assert raw == manifest
    entry, = (await alice("GET", "/box?format=json", 200)).json()
    assert entry["bytes"] == len(WHOLE) and entry["slo_etag"] == f'"{ETAG}"'
    report = await alice("DELETE", "/box/big?multipart-manifest=delete", 200, headers={"Accept": "application/json"})
    assert report.json()["Number Deleted"] == 4
    assert await files(cloud) == ([], [])


async def test_nested_and_ranges(alice: Account) -> None:
    manifest = await prepare(alice)
    await alice("PUT", "/box/inner?multipart-manifest=put", 201, json=manifest)
    outer = [{"path": "/box/inner", "range": "999-1001"}, {"path": "/segments/s/0", "range": "-5"}]
    await alice("PUT", "/box/outer?multipart-manifest=put", 201, json=outer)
    assert (await alice("GET", "/box/outer", 200)).body == WHOLE[999:1002] + SEGMENTS[0][-5:]


async def test_deleting_the_manifest_alone_keeps_the_segments(alice: Account) -> None:
    await alice("PUT", "/box/big?multipart-manifest=put", 404, json=[])
    await alice("PUT", "/box/big?multipart-manifest=put", 201, json=await prepare(alice))
    await alice("DELETE", "/box/big", 204)
    await alice("GET", "/segments/s/0", 200)
    await alice("DELETE", "/segments/s/0?multipart-manifest=delete", 400)


async def test_a_changed_segment_is_a_conflict(alice: Account) -> None:
    await alice("PUT", "/box", 201)
    await alice("PUT", "/segments", 201)
    for name, body in (("a", b"one"), ("b", b"two")):
        await alice("PUT", f"/segments/{name}", 201, body=body)
    await alice("PUT", "/box/big?multipart-manifest=put", 201, json=[{"path": "segments/a"}, {"path": "segments/b"}])
    await alice("PUT", "/segments/b", 201, body=b"TWO")
    await alice("GET", "/box/big", 409)
    await alice("DELETE", "/segments/b", 204)
    await alice("GET", "/box/big", 409)


BAD_MANIFESTS: list[Any] = [
    [], {}, [1], [{"path": "x"}], [{"path": "/segments/none"}], [{"path": "/segments/s/0", "etag": "0" * 32}],
    [{"path": "/segments/s/0", "size_bytes": 1}], [{"path": "/segments/s/0", "range": "5000-"}],
    [{"path": "/segments/s/0", "range": "x"}], [{"path": "/box/big"}], [{"path": "/segments/s/1"}] * 1001]


async def test_bad_manifests(alice: Account) -> None:
    await prepare(alice)
    for manifest in BAD_MANIFESTS:
        await alice("PUT", "/box/big?multipart-manifest=put", 400, json=manifest)
        await alice("GET", "/box/big", 404)


async def test_copying(alice: Account) -> None:
    await alice("PUT", "/box/big?multipart-manifest=put", None, json=await prepare(alice))
    await alice("PUT", "/box/big?multipart-manifest=put", 201, json=[{"path": f"/segments/s/{n}"} for n in range(3)])
    await alice("COPY", "/box/big", 201, headers={"Destination": "box/flat"})
    flat = await alice("GET", "/box/flat", 200)
    assert flat.body == WHOLE and "x-static-large-object" not in flat.headers
    await alice("COPY", "/box/big?multipart-manifest=get", 201, headers={"Destination": "box/again"})
    assert (await alice("GET", "/box/again", 200)).headers["x-static-large-object"] == "True"


async def test_segments_need_permission_too(cloud: Cloud, alice: Account) -> None:
    await alice("PUT", "/box/big?multipart-manifest=put", None, json=await prepare(alice))
    await alice("PUT", "/box/big?multipart-manifest=put", 201, json=[{"path": "/segments/s/0"}])
    await alice("POST", "/box", 204, headers={"X-Container-Read": ".r:*"})
    stranger = Account(cloud.anonymous(), alice.name)
    await stranger("GET", "/box/big", 401)
    await alice("POST", "/segments", 204, headers={"X-Container-Read": ".r:*"})
    assert (await stranger("GET", "/box/big", 200)).body == SEGMENTS[0]


async def test_dynamic(alice: Account) -> None:
    await prepare(alice)
    await alice("PUT", "/box/dyn", 201, body=b"", headers={"X-Object-Manifest": "segments/s/"})
    got = await alice("GET", "/box/dyn", 200)
    assert got.body == WHOLE and got.headers["x-object-manifest"] == "segments/s/"
    assert (await alice("GET", "/box/dyn", 206, headers={"Range": "bytes=-3"})).body == WHOLE[-3:]
    assert (await alice("GET", "/box/dyn?multipart-manifest=get", 200)).body == b""


def test_cut() -> None:
    pieces = [Piece("a", 10, 5), Piece("b", 0, 1), Piece("c", 3, 4)]
    assert cut(pieces, 0, 10) == pieces
    assert cut(pieces, 4, 7) == [Piece("a", 14, 1), Piece("b", 0, 1), Piece("c", 3, 1)]
    assert cut(pieces, 5, 5) == [] and cut(pieces, 10, 20) == []
