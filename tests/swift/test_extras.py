"""Temporary URLs, versions and archives: what swift's optional parts promise."""

from __future__ import annotations

import hashlib
import hmac
import io
import tarfile
import time

from tests.support.cloud import Cloud
from tests.swift.conftest import Account


def sign(method: str, path: str, key: str = "secret", expires: int | None = None) -> dict[str, str]:
    expires = expires if expires is not None else int(time.time()) + 60
    signature = hmac.new(key.encode(), f"{method}\n{expires}\n{path}".encode(), hashlib.sha256).hexdigest()
    return {"temp_url_sig": signature, "temp_url_expires": str(expires)}


async def test_temporary_urls(cloud: Cloud, alice: Account) -> None:
    await alice("POST", "", 204, headers={"X-Account-Meta-Temp-URL-Key": "secret"})
    await alice("PUT", "/box", 201, headers={"X-Container-Meta-Temp-URL-Key": "other"})
    await alice("PUT", "/box/o", 201, body=b"bytes")
    stranger = Account(cloud.anonymous(), alice.name)
    path = f"/v1/{alice.name}/box/o"
    for good in (sign("GET", path), sign("GET", "/object-store" + path), sign("GET", path, "other")):
        got = await stranger("GET", "/box/o", 200, params=good)
        assert got.body == b"bytes" and got.headers["content-disposition"] == 'attachment; filename="o"'
        await stranger("HEAD", "/box/o", 200, params=good)
        await stranger("PUT", "/box/o", 401, params=good, body=b"x")
        await stranger("GET", "/box/other", 401, params=good)
        await stranger("GET", "/box", 401, params=good)
    for bad in (sign("GET", path, "wrong"), sign("GET", path, expires=1), {"temp_url_sig": "x"},
                {**sign("GET", path), "temp_url_expires": "soon"}, {**sign("GET", path), "temp_url_sig": "é" * 64}):
        await stranger("GET", "/box/o", 401, params=bad)
    put = sign("PUT", f"/v1/{alice.name}/box/new")
    await stranger("PUT", "/box/new", 201, params=put, body=b"new")
    # a signature for one object must not read another
    for header in ("X-Copy-From", "X-Object-Manifest"):
        await stranger("PUT", "/box/new", 400, params=put, headers={header: "box/o", "Content-Length": "0"})
    await stranger("PUT", "/box/new", 400, params={**put, "multipart-manifest": "put"}, body=b'[{"path": "/box/o"}]')


async def test_versions(alice: Account) -> None:
    await alice("PUT", "/old", 201)
    await alice("PUT", "/box", 201, headers={"X-Versions-Location": "old"})
    assert (await alice("HEAD", "/box", 204)).headers["x-versions-location"] == "old"
    for body in (b"one", b"two", b"three"):
        await alice("PUT", "/box/o", 201, body=body)
    kept = (await alice("GET", "/old?format=json", 200)).json()
    assert len(kept) == 2 and all(entry["name"].startswith("001o/") for entry in kept)
    for body in (b"three", b"two", b"one"):
        assert (await alice("GET", "/box/o", 200)).body == body
        await alice("DELETE", "/box/o", 204)
    await alice("GET", "/box/o", 404)
    await alice("POST", "/box", 204, headers={"X-Versions-Location": "", "X-History-Location": "old"})
    await alice("PUT", "/box/o", 201, body=b"four")
    await alice("DELETE", "/box/o", 204)
    await alice("GET", "/box/o", 404)
    assert len((await alice("GET", "/old?format=json", 200)).json()) == 1
    await alice("POST", "/box", 204, headers={"X-History-Location": "nowhere"})
    await alice("PUT", "/box/p", 201, body=b"x")
    await alice("PUT", "/box/p", 412, body=b"y")
    await alice("POST", "/box", 400, headers={"X-History-Location": "a", "X-Versions-Location": "b"})


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("box/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return out.getvalue()


async def test_archives(alice: Account, bob: Account) -> None:
    members = {"box/a": b"1", "./box/b/c": b"22", "other/d": b"", "box/../../escape": b"x"}
    json = {"Accept": "application/json"}
    report = (await alice("PUT", "?extract-archive=tar.gz", 200, body=tar(members, "w:gz"), headers=json)).json()
    assert report == {"Number Files Created": 4, "Response Status": "201 Created", "Response Body": "", "Errors": []}
    assert (await alice("GET", "/box", 200)).body == b"../../escape\na\nb/c\n"  # names are names, not paths
    assert (await alice("GET", "/box/b/c", 200)).body == b"22"
    await alice("PUT", "/in", 201)
    await alice("PUT", "/in/sub?extract-archive=tar", 200, body=tar({"x": b"y"}))
    assert (await alice("GET", "/in/sub/x", 200)).body == b"y"
    broken = (await alice("PUT", "?extract-archive=tar.gz", 200, body=b"not a tar", headers=json)).json()
    assert broken["Response Status"].startswith("400")
    await alice("PUT", "?extract-archive=zip", 400, body=b"x")
    await Account(bob.client, alice.name)("PUT", "?extract-archive=tar", 403, body=tar(members))


async def test_account_quotas_count_too(cloud: Cloud, alice: Account) -> None:
    await alice("POST", "", 403, headers={"X-Account-Quota-Count": "1"})
    await alice("POST", "", 403, headers={"X-Remove-Account-Quota-Count": "1"})
