"""Objects as a client sees them: stored whole or not at all, read in parts and under conditions."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.swift import cleanup
from cloudseed.swift.service import picture
from tests.support.cloud import Cloud
from tests.swift.conftest import Account

DATA = bytes(range(256)) * 40


async def chunked(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start:start + size]


@pytest.fixture
async def box(alice: Account) -> Account:
    await alice("PUT", "/box", 201)
    return alice


async def test_put_get_head_delete(box: Account) -> None:
    md5 = hashlib.md5(DATA).hexdigest()
    put = await box("PUT", "/box/a/b", 201, body=DATA, headers={
        "Content-Type": "text/x-test", "X-Object-Meta-Color": "red", "Content-Encoding": "none"})
    assert put.headers["etag"] == md5
    got = await box("GET", "/box/a/b", 200)
    assert got.body == DATA
    expected = {"content-type": "text/x-test", "content-length": str(len(DATA)), "etag": md5, "accept-ranges": "bytes",
                "x-object-meta-color": "red", "content-encoding": "none"}
    assert expected.items() <= got.headers.items()
    assert got.headers["x-trans-id"].startswith("tx") and "last-modified" in got.headers
    head = await box("HEAD", "/box/a/b", 200)
    assert head.body == b"" and expected.items() <= head.headers.items()
    await box("DELETE", "/box/a/b", 204)
    for method in ("GET", "HEAD", "DELETE", "POST"):
        await box(method, "/box/a/b", 404)


NAMES = ["x", "a/b/c", "dir/", "/lead", "a//b", "ü€😀", "sp ace", "100%", "x#y", ".", "..",
                                  "\x01"]


async def test_any_name(box: Account) -> None:
    for name in NAMES:
        await box("PUT", f"/box/{name}", 201, body=name.encode())
        assert (await box("GET", f"/box/{name}", 200)).body == name.encode()
    listed = (await box("GET", "/box?format=json", 200)).json()
    assert [entry["name"] for entry in listed] == sorted(NAMES)


@pytest.mark.parametrize("body", [b"", b"x", os.urandom(3 << 20)], ids=["empty", "byte", "3MiB"])
async def test_chunked_uploads(box: Account, body: bytes) -> None:
    await box("PUT", "/box/o", 201, body=chunked(body), headers={"Transfer-Encoding": "chunked"})
    assert (await box("GET", "/box/o", 200)).body == body


async def test_without_length(box: Account) -> None:
    await box("PUT", "/box/o", 411, body=chunked(b"x"))


async def test_no_container(alice: Account) -> None:
    await alice("PUT", "/nothing/o", 404, body=b"x")
    await alice("GET", "/nothing/o", 404)


async def files(cloud: Cloud) -> tuple[list[Any], list[Any]]:
    """What lies on disk, after the cleaner's round: (stored, incoming)."""
    swift = cloud.service("swift").handle
    await cleanup.sync_files(swift)
    seen = await picture(swift)
    return seen["files"], seen["incoming"]


async def test_a_truncated_upload_leaves_nothing(cloud: Cloud, box: Account) -> None:
    await box("PUT", "/box/o", 499, body=DATA, truncate=True)
    await box("PUT", "/box/o", 499, body=chunked(os.urandom(5 << 20)), truncate=True,
              headers={"Transfer-Encoding": "chunked"})
    await box("GET", "/box/o", 404)
    assert await files(cloud) == ([], [])


async def test_a_wrong_etag_is_refused(cloud: Cloud, box: Account) -> None:
    await box("PUT", "/box/o", 422, body=DATA, headers={"ETag": "0" * 32})
    await box("GET", "/box/o", 404)
    assert await files(cloud) == ([], [])
    await box("PUT", "/box/o", 201, body=DATA, headers={"ETag": hashlib.md5(DATA).hexdigest()})


async def test_a_full_disk_is_507_and_leaves_nothing(cloud: Cloud, box: Account, monkeypatch: Any) -> None:
    real = os.write

    def full(fd: int, data: Any) -> int:
        if len(data) > 100_000:
            raise OSError(errno.ENOSPC, "no space")
        return real(fd, data)

    monkeypatch.setattr("cloudseed.kernel.files.os.write", full)
    answer = await box("PUT", "/box/o", 507, body=os.urandom(1 << 20))
    assert b"no space left" in answer.body
    monkeypatch.undo()
    assert await files(cloud) == ([], [])


async def test_replacing_removes_the_old_file(cloud: Cloud, box: Account) -> None:
    await box("PUT", "/box/o", 201, body=b"one")
    await box("PUT", "/box/o", 201, body=b"second")
    stored, _ = await files(cloud)
    assert [file["size"] for file in stored] == [6]
    await box("DELETE", "/box/o", 204)
    assert await files(cloud) == ([], [])


async def test_files_without_a_row_go_at_the_next_start(tmp_path: Path) -> None:
    async with Cloud(tmp_path, ["keystone", "swift"]) as cloud:
        alice = Account(await cloud.login("admin"))
        await alice("PUT", "/box", 201)
        await alice("PUT", "/box/kept", 201, body=b"kept")
        swift = cloud.service("swift").handle
        orphan = await swift.files.receive(chunked(b"committed never"))
        os.utime(swift.files.path(orphan.name), (1, 1))
        kept = next(f for f in (await picture(swift))["files"] if f["file"] != orphan.name)
        os.utime(swift.files.path(kept["file"]), (1, 1))
        (swift.files.path("x").parents[2] / "incoming" / "half").write_bytes(b"ha")
    async with Cloud(tmp_path, ["keystone", "swift"]) as cloud:
        swift = cloud.service("swift").handle
        await cleanup.sweep_orphans(swift)
        seen = await picture(swift)
        assert [f["file"] for f in seen["files"]] == [kept["file"]] and seen["incoming"] == []
        assert (await Account(await cloud.login("admin"))("GET", "/box/kept", 200)).body == b"kept"


RANGES: list[tuple[str, int, bytes | None]] = [
    ("bytes=0-0", 206, DATA[:1]), ("bytes=10-19", 206, DATA[10:20]), ("bytes=-5", 206, DATA[-5:]),
    ("bytes=10230-", 206, DATA[10230:]), ("bytes=10230-99999", 206, DATA[10230:]), ("bytes=99999-", 416, None),
    ("bytes=-0", 416, None), ("bytes=5-2", 200, DATA), ("bytes=x-2", 200, DATA), ("pages=1-2", 200, DATA),
    ("bytes=" + ",".join(["0-1"] * 60), 416, None)]


async def test_ranges(box: Account) -> None:
    await box("PUT", "/box/o", 201, body=DATA)
    for spec, status, expected in RANGES:
        answer = await box("GET", "/box/o", status, headers={"Range": spec})
        if expected is not None:
            assert answer.body == expected, spec
        if status == 206:
            assert answer.headers["content-range"].endswith(f"/{len(DATA)}")
        if status == 416:
            assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


async def test_several_ranges(box: Account) -> None:
    from email.parser import BytesParser

    await box("PUT", "/box/o", 201, body=DATA, headers={"Content-Type": "text/x-t"})
    answer = await box("GET", "/box/o", 206, headers={"Range": "bytes=0-3,100-101,-2"})
    assert answer.headers["content-length"] == str(len(answer.body))
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + answer.body).get_payload()
    assert [p.get_payload(decode=True) for p in parts] == [DATA[:4], DATA[100:102], DATA[-2:]]  # type: ignore[union-attr]
    assert [p["Content-Range"] for p in parts] == [  # type: ignore[index]
        f"bytes 0-3/{len(DATA)}", f"bytes 100-101/{len(DATA)}", f"bytes {len(DATA) - 2}-{len(DATA) - 1}/{len(DATA)}"]


async def test_conditions(box: Account) -> None:
    put = await box("PUT", "/box/o", 201, body=DATA)
    etag, modified = put.headers["etag"], put.headers["last-modified"]
    old, new = "Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 01 Jan 2080 00:00:00 GMT"
    for headers, status in [
            ({"If-Match": etag}, 200), ({"If-Match": f'"{etag}"'}, 200), ({"If-Match": "x"}, 412),
            ({"If-Match": "*"}, 200), ({"If-None-Match": etag}, 304), ({"If-None-Match": "x"}, 200),
            ({"If-None-Match": "*"}, 304), ({"If-Modified-Since": old}, 200), ({"If-Modified-Since": modified}, 304),
            ({"If-Unmodified-Since": old}, 412), ({"If-Unmodified-Since": new}, 200),
            ({"If-Modified-Since": "nonsense"}, 200), ({"Range": "bytes=0-1", "If-Range": etag}, 206),
            ({"Range": "bytes=0-1", "If-Range": '"other"'}, 200)]:
        answer = await box("GET", "/box/o", headers=headers)
        assert answer.status == status, (headers, answer.status)
        if status == 304:
            assert answer.body == b"" and answer.headers["etag"] == etag
    await box("PUT", "/box/o", 412, body=b"x", headers={"If-None-Match": "*"})
    await box("PUT", "/box/new", 201, body=b"x", headers={"If-None-Match": "*"})
    await box("PUT", "/box/o", 400, body=b"x", headers={"If-None-Match": etag})


async def test_metadata_is_replaced_by_post_and_limited(box: Account) -> None:
    await box("PUT", "/box/o", 201, body=b"x", headers={"X-Object-Meta-A": "1", "Content-Type": "text/a"})
    await box("POST", "/box/o", 202, headers={"X-Object-Meta-B": "grün".encode().decode("latin-1")})
    head = (await box("HEAD", "/box/o", 200)).headers
    assert "x-object-meta-a" not in head and head["content-type"] == "text/a"
    assert head["x-object-meta-b"].encode("latin-1").decode() == "grün"
    too_many = {f"X-Object-Meta-{i}": "v" for i in range(91)}
    too_much = {f"X-Object-Meta-{i}": "v" * 200 for i in range(30)}
    for headers in ({"X-Object-Meta-" + "n" * 129: "v"}, {"X-Object-Meta-N": "v" * 257}, too_many, too_much,
                    {"X-Object-Meta-N": "\xff"}, {"X-Object-Meta-": "v"}):
        await box("POST", "/box/o", 400, headers=headers)
        await box("PUT", "/box/p", 400, body=b"x", headers=headers)
    await box("PUT", "/box/" + "n" * 1025, 400, body=b"x")
    await box("PUT", "/box/" + "n" * 1024, 201, body=b"x")


async def test_copy(cloud: Cloud, box: Account) -> None:
    await box("PUT", "/box/o", 201, body=DATA, headers={"X-Object-Meta-A": "1", "Content-Type": "text/a"})
    copied = await box("PUT", "/box/p", 201, headers={"X-Copy-From": "/box/o", "Content-Length": "0",
                                                      "X-Object-Meta-B": "2"})
    assert copied.headers["x-copied-from"] == "box/o" and copied.headers["etag"] == hashlib.md5(DATA).hexdigest()
    head = (await box("HEAD", "/box/p", 200)).headers
    assert (head["x-object-meta-a"], head["x-object-meta-b"], head["content-type"]) == ("1", "2", "text/a")
    await box("COPY", "/box/o", 201, headers={"Destination": "box/%C3%BC", "X-Fresh-Metadata": "true"})
    await box("DELETE", "/box/o", 204)
    await cleanup.sync_files(cloud.service("swift").handle)
    got = await box("GET", "/box/ü", 200)
    assert got.body == DATA and "x-object-meta-a" not in got.headers
    await box("COPY", "/box/o", 404, headers={"Destination": "box/x"})
    await box("COPY", "/box/p", 412)
    await box("COPY", "/box/p", 412, headers={"Destination": "box"})
    await box("COPY", "/box/p", 404, headers={"Destination": "none/x"})


async def test_copying_over_itself_keeps_the_bytes(cloud: Cloud, box: Account) -> None:
    await box("PUT", "/box/o", 201, body=DATA)
    await box("COPY", "/box/o", 201, headers={"Destination": "box/o", "X-Object-Meta-New": "1"})
    await cleanup.sync_files(cloud.service("swift").handle)
    assert (await box("GET", "/box/o", 200)).body == DATA


async def test_expiry(cloud: Cloud, box: Account, monkeypatch: Any) -> None:
    await box("PUT", "/box/o", 201, body=b"x", headers={"X-Delete-After": "100"})
    at = int((await box("HEAD", "/box/o", 200)).headers["x-delete-at"])
    assert abs(at - time.time() - 100) < 5
    for headers in ({"X-Delete-After": "x"}, {"X-Delete-At": "100"}, {"X-Delete-At": "9" * 50}):
        await box("PUT", "/box/p", 400, body=b"x", headers=headers)
    later = time.time() + 101
    monkeypatch.setattr("cloudseed.swift.objects.time.time", lambda: later)
    await box("GET", "/box/o", 404)
    await cleanup.expire_objects(cloud.service("swift").handle)
    assert (await box("GET", "/box?format=json", 200)).json() == []


async def test_bytes_survive_their_object_being_replaced_while_they_are_read(cloud: Cloud, box: Account) -> None:
    swift = cloud.service("swift").handle
    body = os.urandom(5 << 20)
    await box("PUT", "/box/o", 201, body=body)
    stored, _ = await files(cloud)
    reader = swift.files.open(stored[0]["file"], 0, len(body))
    got = await anext(reader)
    await box("DELETE", "/box/o", 204)
    await cleanup.sync_files(swift)
    async for piece in reader:
        got += piece
    assert got == body


@pytest.mark.parametrize("path", ["/box/%00", "/bo\x00x/o"])
async def test_nul_is_412(box: Account, path: str) -> None:
    await box("PUT", path.replace("%00", "\x00"), 412, body=b"x")


async def test_a_download_ends_when_its_client_leaves(cloud: Cloud, box: Account) -> None:
    """What is sent to a client that left costs nothing: the file is let go at once, not read to its end."""
    await box("PUT", "/box/o", 201, body=os.urandom(30 << 20))
    left, sent = asyncio.Event(), 0
    path = f"/object-store/v1/{box.name}/box/o"

    async def receive() -> dict[str, Any]:
        if not left.is_set() and not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        if sent > 3 << 20:
            left.set()
        await asyncio.sleep(0)

    asked = asyncio.Event()
    headers = [(b"host", b"x"), (b"x-auth-token", (box.client.token or "").encode())]
    await cloud.env.edge({"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
                          "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
                          "root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("x", 1)},
                         receive, send)
    assert 3 << 20 < sent < 10 << 20
    files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{fd}")]
    assert not [name for name in files if str(cloud.env.state) in name and "/objects/" in name]
