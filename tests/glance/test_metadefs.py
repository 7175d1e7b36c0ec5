"""Metadata definitions: namespaces, and the parts that lie in them."""

from __future__ import annotations

from typing import Any

from tests.glance.conftest import Images
from tests.support.cloud import Cloud

ROOT = "/metadefs/namespaces"
PROPERTY = {"title": "Colour", "type": "string", "enum": ["red", "blue"]}


async def test_a_namespace_with_all_its_parts(records: Images) -> None:
    body = {"namespace": "OS::Things", "display_name": "Things", "visibility": "public",
            "properties": {"colour": PROPERTY}, "objects": [{"name": "box", "properties": {"size": {
                "title": "Size", "type": "integer", "minimum": 1}}}], "tags": [{"name": "new"}],
            "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}]}
    made = await records("POST", ROOT, 201, json=body)
    shown = (await records("GET", f"{ROOT}/OS::Things", 200)).json()
    assert shown == made.json() and shown["properties"] == {"colour": {"name": "colour", **PROPERTY}}
    assert [o["name"] for o in shown["objects"]] == ["box"] and shown["tags"] == [{"name": "new"}]
    assert shown["resource_type_associations"][0]["prefix"] == "hw_" and shown["owner"] == records.client.project_id
    await records("POST", ROOT, 409, json=body)
    types = (await records("GET", "/metadefs/resource_types", 200)).json()["resource_types"]
    assert [t["name"] for t in types].count("OS::Glance::Image") == 1 and len(types) == 5
    listed = (await records("GET", f"{ROOT}?resource_types=OS::Glance::Image", 200)).json()["namespaces"]
    assert [n["namespace"] for n in listed] == ["OS::Things"]
    changed = {"namespace": "OS::Other", "protected": True}
    assert (await records("PUT", f"{ROOT}/OS::Things", 200, json=changed)).json()["visibility"] == "private"
    await records("DELETE", f"{ROOT}/OS::Other", 403)
    await records("PUT", f"{ROOT}/OS::Other", 200, json={"namespace": "OS::Other"})
    await records("DELETE", f"{ROOT}/OS::Other", 204)
    await records("GET", f"{ROOT}/OS::Other", 404)


async def test_parts(records: Images) -> None:
    await records("POST", ROOT, 201, json={"namespace": "N"})
    for collection, first, second in [
            ("objects", {"name": "a", "description": "d"}, {"name": "b", "required": ["x"]}),
            ("properties", {"name": "a", **PROPERTY}, {"name": "b", **PROPERTY, "maximum": 2.5})]:
        path = f"{ROOT}/N/{collection}"
        assert (await records("POST", path, 201, json=first)).json()["name"] == "a"
        await records("POST", path, 409, json=first)
        assert first.items() <= (await records("GET", f"{path}/a", 200)).json().items()
        assert second.items() <= (await records("PUT", f"{path}/a", 200, json=second)).json().items()
        assert "b" in str((await records("GET", path, 200)).json()[collection])
        await records("DELETE", f"{path}/a", 404)
        await records("DELETE", f"{path}/b", 204)
        await records("POST", path, 201, json=first)
        await records("DELETE", path, 204)
        assert not (await records("GET", path, 200)).json()[collection]


async def test_tags_and_resource_types(records: Images) -> None:
    await records("POST", ROOT, 201, json={"namespace": "N"})
    tags = f"{ROOT}/N/tags"
    await records("POST", f"{tags}/one", 201)
    await records("PUT", f"{tags}/one", 200, json={"name": "uno"})
    await records("POST", tags, 409, json={"tags": [{"name": "x"}, {"name": "x"}]})
    await records("POST", tags, 201, json={"tags": [{"name": "x"}]}, headers={"X-Openstack-Append": "True"})
    assert (await records("GET", tags, 200)).json()["tags"] == [{"name": "x"}, {"name": "uno"}]
    await records("POST", tags, 201, json={"tags": [{"name": "y"}]})
    assert (await records("GET", tags, 200)).json()["tags"] == [{"name": "y"}]
    types = f"{ROOT}/N/resource_types"
    await records("POST", types, 201, json={"name": "OS::A", "prefix": "p"})
    assert (await records("GET", types, 200)).json()["resource_type_associations"][0]["name"] == "OS::A"
    await records("DELETE", f"{types}/OS::A", 204)
    await records("DELETE", f"{types}/OS::A", 404)
    await records("DELETE", types, 405)


BAD: list[tuple[str, Any, int]] = [
    (ROOT, {"display_name": "d"}, 400), (ROOT, {"namespace": "n" * 81}, 400), (ROOT, {"namespace": 5}, 400),
    (ROOT, {"namespace": "M", "visibility": "x"}, 400), (ROOT, {"namespace": "M", "self": "x"}, 403),
    (ROOT, {"namespace": "M", "what": 1}, 400), (ROOT, [], 400),
    (ROOT, {"namespace": "M", "tags": [{"name": "a"}, {"name": "a"}]}, 409),
    (ROOT, {"namespace": "M", "tags": [{}]}, 400), (f"{ROOT}/N/objects", {}, 400),
    (f"{ROOT}/N/objects", {"name": "o", "properties": {"p": {"type": "string"}}}, 400),
    (f"{ROOT}/N/properties", {"name": "p", "title": "t", "type": "float"}, 400),
    (f"{ROOT}/N/properties", {"name": "p", "title": "t", "type": "string", "maxLength": -1}, 400),
    (f"{ROOT}/none/objects", {"name": "o"}, 404), (f"{ROOT}/N/tags", {"tags": "x"}, 400)]


async def test_bad_bodies(records: Images) -> None:
    await records("POST", ROOT, 201, json={"namespace": "N"})
    for path, body, status in BAD:
        await records("POST", path, status, json=body)
    assert len((await records("GET", ROOT, 200)).json()["namespaces"]) == 1


async def test_who_sees_and_changes_what(fast_cloud: Cloud, records: Images) -> None:
    await records("POST", ROOT, 201, json={"namespace": "secret"})
    await records("POST", ROOT, 201, json={"namespace": "open", "visibility": "public"})
    member = Images(await fast_cloud.new_project("m"))
    assert [n["namespace"] for n in (await member("GET", ROOT, 200)).json()["namespaces"]] == ["open"]
    await member("GET", f"{ROOT}/secret", 404)
    for method, path in [("POST", ROOT), ("PUT", f"{ROOT}/open"), ("DELETE", f"{ROOT}/open"),
                         ("POST", f"{ROOT}/open/objects"), ("POST", f"{ROOT}/open/tags/x")]:
        await member(method, path, 403, json={"namespace": "x", "name": "x"})


async def test_pages_and_schemas(records: Images) -> None:
    for name in "abc":
        await records("POST", ROOT, 201, json={"namespace": name})
    page = (await records("GET", f"{ROOT}?limit=2&sort_dir=asc", 200)).json()
    assert [n["namespace"] for n in page["namespaces"]] == ["a", "b"] and "marker=b" in page["next"]
    rest = (await records("GET", f"{ROOT}?limit=2&sort_dir=asc&marker=b", 200)).json()
    assert [n["namespace"] for n in rest["namespaces"]] == ["c"]
    for name in ("namespace", "namespaces", "object", "objects", "property", "properties", "tag", "tags",
                 "resource_type", "resource_types"):
        assert "properties" in (await records("GET", f"/schemas/metadefs/{name}", 200)).json()
    await records("GET", "/schemas/metadefs/none", 404)
