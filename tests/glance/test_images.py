"""Images' records: created, listed, changed, shared, deleted, as upstream's clients see them."""

from __future__ import annotations

import time
from typing import Any

from tests.glance.conftest import Images
from tests.support.cloud import Cloud
from tests.support.statements import counted_statements

V20 = "application/openstack-images-v2.0-json-patch"


def ids(answer: Any) -> list[str]:
    return [image["id"] for image in answer.json()["images"]]


def names(answer: Any) -> list[str]:
    return [image["name"] for image in answer.json()["images"]]


async def test_versions(fast_cloud: Cloud) -> None:
    stranger = fast_cloud.anonymous()
    for path, status in (("/image/", 300), ("/image", 300), ("/image/versions", 200)):
        answer = await stranger.get(path)
        assert answer.status == status
        current = [v for v in answer.json()["versions"] if v["status"] == "CURRENT"]
        assert current == [{"id": "v2.17", "status": "CURRENT",
                            "links": [{"rel": "self", "href": "http://127.0.0.1:8080/image/v2/"}]}]


async def test_create_and_show(records: Images) -> None:
    answer = await records("POST", "/images", 201, json={
        "name": "n", "disk_format": "raw", "container_format": "bare", "tags": ["b", "a", "a"], "min_disk": 1,
        "min_ram": 2, "hw_thing": "yes", "protected": True})
    body = answer.json()
    assert answer.headers["location"] == f"http://127.0.0.1:8080/image/v2/images/{body['id']}"
    assert answer.headers["openstack-image-import-methods"] == "glance-direct"
    assert body == await records.show(body["id"])
    assert {"status": "queued", "visibility": "shared", "owner": records.client.project_id, "tags": ["a", "b"],
            "size": None, "virtual_size": None, "checksum": None, "os_hash_algo": None, "os_hash_value": None,
            "os_hidden": False, "protected": True, "min_disk": 1, "min_ram": 2, "hw_thing": "yes",
            "self": f"/v2/images/{body['id']}", "file": f"/v2/images/{body['id']}/file",
            "schema": "/v2/schemas/image"}.items() <= body.items()
    assert body["created_at"].endswith("Z") and len(body["created_at"]) == 20


BAD_CREATIONS: list[tuple[Any, int]] = [
    ({"name": 5}, 400), ({"name": "n" * 256}, 400), ({"id": "abc"}, 400), ({"disk_format": "x"}, 400),
    ({"container_format": "x"}, 400), ({"visibility": "x"}, 400), ({"min_disk": -1}, 400), ({"min_ram": 2**31}, 400),
    ({"min_ram": True}, 400), ({"protected": "yes"}, 400), ({"tags": "a"}, 400), ({"tags": ["t" * 256]}, 400),
    ({"size": 4}, 403), ({"status": "active"}, 403), ({"checksum": "x"}, 403), ({"self": "x"}, 403),
    ({"location": "x"}, 403), ({"locations": []}, 403), ({"os_glance_x": "1"}, 403), ({"custom": 5}, 400),
    ({"k" * 256: "v"}, 400), ({"a\x00": "v"}, 400), ({"name": "a\x00b"}, 400), ([], 400),
    ({"disk_format": "aki", "container_format": "ami"}, 400), ({f"p{i}": "v" for i in range(129)}, 413),
    ({"tags": [str(i) for i in range(129)]}, 413)]


async def test_bad_creations(records: Images) -> None:
    for body, status in BAD_CREATIONS:
        await records("POST", "/images", status, json=body)
    assert ids(await records("GET", "/images", 200)) == []


async def test_ids_may_be_chosen_once(records: Images) -> None:
    wanted = "01234567-89ab-cdef-0123-456789abcdef"
    assert await records.create(id=wanted) == wanted
    taken = await records("POST", "/images", 409, json={"id": wanted})
    assert f"Image ID {wanted} already exists!".encode() in taken.body


CHANGES: list[tuple[Any, int]] = [
    ({"op": "replace", "path": "/name", "value": "new"}, 200), ({"op": "add", "path": "/custom", "value": "1"}, 200),
    ({"op": "add", "path": "/a~1b~0", "value": "1"}, 200),
    ({"op": "replace", "path": "/tags", "value": ["z", "z"]}, 200),
    ({"op": "replace", "path": "/foo", "value": "2"}, 200), ({"op": "remove", "path": "/foo"}, 200),
    ({"op": "replace", "path": "/nope", "value": "x"}, 409), ({"op": "remove", "path": "/nope"}, 409),
    ({"op": "remove", "path": "/name"}, 403), ({"op": "replace", "path": "/id", "value": "x"}, 403),
    ({"op": "replace", "path": "/status", "value": "active"}, 403),
    ({"op": "replace", "path": "/size", "value": 1}, 403),
    ({"op": "replace", "path": "/os_glance_x", "value": "1"}, 403),
    ({"op": "replace", "path": "/deleted", "value": "1"}, 403),
    ({"op": "replace", "path": "/visibility", "value": "weird"}, 400), ({"op": "add", "path": "/foo", "value": 5}, 400),
    ({"op": "test", "path": "/foo", "value": "x"}, 400), ({"op": "add", "path": "foo", "value": "x"}, 400),
    ({"op": "add", "path": "/foo/bar", "value": "x"}, 400), ({"op": "add", "path": "/foo"}, 400),
    ({"op": "add", "path": "/~2", "value": "x"}, 400), ({"op": "add", "path": "//", "value": "x"}, 400),
    ({"op": "add", "path": "/locations/-", "value": {"url": "x", "metadata": {}}}, 403), ({"op": "add"}, 400),
    ({"path": "/x", "value": "y"}, 400), ("x", 400), ({"op": "replace", "path": "/min_disk", "value": -1}, 400),
    ({"op": "replace", "path": "/owner", "value": "someone"}, 200), ({"op": "add", "path": 5, "value": "x"}, 400)]


async def test_patch(records: Images) -> None:
    for change, status in CHANGES:
        image_id = await records.create(foo="1")
        before = await records.show(image_id)
        await records.patch(image_id, change, status=status)
        after = await records.show(image_id)
        if status != 200:
            assert after == before, change
        elif change["op"] == "remove":
            assert "foo" not in after
        else:
            field = change["path"][1:].replace("~1", "/").replace("~0", "~")
            assert after[field] == (["z"] if field == "tags" else change["value"])


async def test_patch_dialects(records: Images) -> None:
    image_id = await records.create()
    path = f"/images/{image_id}"
    refused = await records("PATCH", path, 415, json=[])
    assert "accept-patch" in refused.headers
    done = await records("PATCH", path, 200, json=[{"replace": "/name", "value": "v20"}, {"add": "/x", "value": "y"}],
                         headers={"Content-Type": V20})
    assert done.json()["name"] == "v20" and done.json()["x"] == "y"
    await records("PATCH", path, 400, json={}, headers={"Content-Type": V20})
    await records.patch(image_id, {"op": "add", "path": "/one", "value": "1"}, {"op": "remove", "path": "/none"},
                        status=409)
    assert "one" not in await records.show(image_id)  # all or nothing


async def test_formats_are_fixed_with_the_data(records: Images) -> None:
    image_id = await records.upload(b"x")
    refused = await records.patch(image_id, {"op": "replace", "path": "/disk_format", "value": "iso"}, status=403)
    assert b"can be only replaced for a queued image" in refused.body


async def test_protected(records: Images) -> None:
    image_id = await records.create(protected=True)
    refused = await records("DELETE", f"/images/{image_id}", 403)
    assert b"is protected" in refused.body
    await records.patch(image_id, {"op": "replace", "path": "/protected", "value": False})
    await records("DELETE", f"/images/{image_id}", 204)


async def test_tags(records: Images) -> None:
    image_id = await records.create()
    for _ in range(2):
        await records("PUT", f"/images/{image_id}/tags/red", 204)
    assert (await records.show(image_id))["tags"] == ["red"]
    await records("DELETE", f"/images/{image_id}/tags/red", 204)
    await records("DELETE", f"/images/{image_id}/tags/red", 404)
    await records("PUT", f"/images/{image_id}/tags/{'t' * 256}", 400)


async def test_schemas(records: Images) -> None:
    image = (await records("GET", "/schemas/image", 200)).json()
    assert image["name"] == "image" and image["additionalProperties"] == {"type": "string"}
    assert set(image["properties"]) == {
        "id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value",
        "owner", "size", "virtual_size", "container_format", "disk_format", "created_at", "updated_at", "tags",
        "direct_url", "min_ram", "min_disk", "self", "file", "stores", "schema", "locations"}
    for name in ("images", "member", "members", "task", "tasks"):
        assert (await records("GET", f"/schemas/{name}", 200)).json()["name"] == name
    await records("GET", "/schemas/none", 404)


async def test_pages_and_order(records: Images) -> None:
    made = [await records.create(name=name, min_disk=n) for n, name in enumerate(["b", None, "a", "c", "a"])]
    assert ids(await records("GET", "/images", 200)) == made[::-1]
    for order, wanted in [("sort=name:asc", [None, "a", "a", "b", "c"]), ("sort_key=name&sort_dir=desc",
                          ["c", "b", "a", "a", None]), ("sort=size:asc,name:desc", ["c", "b", "a", "a", None])]:
        assert names(await records("GET", f"/images?{order}", 200)) == wanted
        seen, path = [], f"/images?limit=2&{order}"
        while path:
            page = await records("GET", path.removeprefix("/v2"), 200)
            seen += names(page)
            path = page.json().get("next")
        assert seen == wanted, order
    page = (await records("GET", "/images?limit=2", 200)).json()
    assert page["first"] == "/v2/images?limit=2" and page["schema"] == "/v2/schemas/images"


async def test_filters(records: Images) -> None:
    one = await records.upload(b"12345", name="one", colour="red", tags=["x", "y"], min_ram=3)
    two = await records.create(name="two", colour="blue", tags=["x"], protected=True)
    hidden = await records.create(name="hid", os_hidden=True)
    checksum = (await records.show(one))["checksum"]
    for query, wanted in [
            ("name=one", [one]), ("status=active", [one]), ("status=in:active,queued", [two, one]),
            ("name=in:one,\"two\"", [two, one]), ("colour=red", [one]), ("colour=green", []), ("tag=x", [two, one]),
            ("tag=x&tag=y", [one]), ("size_min=5", [one]), ("size_max=4", []), ("min_ram=3", [one]),
            ("protected=true", [two]), ("os_hidden=true", [hidden]), (f"checksum={checksum}", [one]),
            ("created_at=gt:2020-01-01T00:00:00Z", [two, one]), ("created_at=lt:2020-01-01", []),
            (f"id={two}", [two]), (f"owner={records.client.project_id}", [two, one]),
            ("container_format=bare", [two, one]),
            ("visibility=shared", [two, one]), ("visibility=public", []), ("limit=0", [])]:
        assert ids(await records("GET", f"/images?{query}", 200)) == wanted, query


BAD_LISTS = [
    "limit=x", "limit=-1", "sort_key=zz", "sort=name:up", "sort_dir=x", "marker=x", "visibility=x", "size_min=x",
    "created_at=gt:zz", "member_status=foo", "os_hidden=x", "protected=x", "disk_format=in:%22a", "changes-since=x",
    "sort_key=name&sort=name", "sort_key=name&sort_dir=asc&sort_dir=desc", "min_ram=x", "name=a%00b"]


async def test_bad_lists(records: Images) -> None:
    for query in BAD_LISTS:
        await records("GET", f"/images?{query}", 400)


async def test_isolation(fast_cloud: Cloud, records: Images) -> None:
    alice, bob = Images(await fast_cloud.new_project("alice")), Images(await fast_cloud.new_project("bob"))
    mine = await alice.create(visibility="private")
    for method, path in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/file"), ("PUT", "/file"),
                         ("GET", "/members"), ("POST", "/members"), ("PUT", "/tags/x"), ("DELETE", "/tags/x"),
                         ("POST", "/actions/deactivate"), ("PUT", "/stage"), ("POST", "/import"), ("GET", "/tasks")]:
        content = {"Content-Type": "application/openstack-images-v2.1-json-patch" if method == "PATCH"
                   else "application/octet-stream" if method == "PUT" else "application/json"}
        body = b'{"member": "x", "method": {"name": "glance-direct"}}' if method == "POST" else b"[]"
        await bob(method, f"/images/{mine}{path}", 404, body=body, headers=content)
    assert ids(await bob("GET", "/images", 200)) == []
    assert ids(await records("GET", "/images", 200)) == [mine]  # the admin sees all
    public = await records.create(visibility="public")
    community = await alice.create(visibility="community")
    assert set(ids(await bob("GET", "/images", 200))) == {public}
    assert ids(await bob("GET", "/images?visibility=community", 200)) == [community]
    assert set(ids(await alice("GET", "/images", 200))) == {public, mine, community}
    assert (await bob.show(community))["id"] == community
    await bob("DELETE", f"/images/{community}", 403)
    await bob.patch(public, {"op": "replace", "path": "/name", "value": "x"}, status=403)
    await alice("POST", "/images", 403, json={"visibility": "public"})
    await alice("POST", "/images", 403, json={"owner": bob.client.project_id})
    await alice.patch(mine, {"op": "replace", "path": "/visibility", "value": "public"}, status=403)
    await alice.patch(mine, {"op": "replace", "path": "/owner", "value": "x"}, status=403)


async def test_a_reader_only_reads(fast_cloud: Cloud) -> None:
    reader = Images(await fast_cloud.new_project("reader", roles=("reader",)))
    assert ids(await reader("GET", "/images", 200)) == []
    await reader("POST", "/images", 403, json={"name": "x"})


async def test_members(fast_cloud: Cloud) -> None:
    alice, bob = Images(await fast_cloud.new_project("alice")), Images(await fast_cloud.new_project("bob"))
    image_id = await alice.upload(b"bytes")
    project = bob.client.project_id
    path = f"/images/{image_id}/members"
    assert (await alice("GET", path, 200)).json() == {"members": [], "schema": "/v2/schemas/members"}
    made = (await alice("POST", path, 200, json={"member": project})).json()
    assert made["status"] == "pending" and made["member_id"] == project and made["image_id"] == image_id
    await alice("POST", path, 409, json={"member": project})
    for body in ({}, {"member": ""}, {"member": 5}, {"member": "x" * 256}):
        await alice("POST", path, 400, json=body)
    assert (await bob.show(image_id))["id"] == image_id  # known to the member, but not in its list yet
    assert ids(await bob("GET", "/images", 200)) == []
    assert ids(await bob("GET", "/images?visibility=shared&member_status=pending", 200)) == [image_id]
    await alice("PUT", f"{path}/{project}", 403, json={"status": "accepted"})
    await bob("PUT", f"{path}/{project}", 400, json={"status": "maybe"})
    assert (await bob("PUT", f"{path}/{project}", 200, json={"status": "accepted"})).json()["status"] == "accepted"
    assert ids(await bob("GET", "/images", 200)) == [image_id]
    assert (await bob("GET", f"/images/{image_id}/file", 200)).body == b"bytes"
    await bob("DELETE", f"{path}/{project}", 403)
    await bob("DELETE", f"/images/{image_id}", 403)
    await alice("GET", f"{path}/none", 404)
    await alice("DELETE", f"{path}/none", 404)
    await alice("DELETE", f"{path}/{project}", 204)
    await bob("GET", f"/images/{image_id}", 404)
    private = await alice.create(visibility="private")
    await alice("POST", f"/images/{private}/members", 403, json={"member": project})


async def test_a_list_costs_the_same_statements_for_any_number(fast_cloud: Cloud, records: Images) -> None:
    costs = []
    for _ in range(2):
        for _ in range(5):
            await records.create(tags=["a"], x="y")
        with counted_statements() as statements:
            await records("GET", "/images", 200)
        costs.append(len(statements))
    assert costs[0] == costs[1] <= 5


async def test_unknown_images_and_methods(records: Images) -> None:
    for image_id in ("nope", "%00", "é", "x" * 300):
        await records("GET", f"/images/{image_id}", 404)
        await records("DELETE", f"/images/{image_id}", 404)
    await records("PUT", "/images", 405)
    began = time.monotonic()
    await records("POST", "/images", 400, body=b"[" * 100_000)
    assert time.monotonic() - began < 2
