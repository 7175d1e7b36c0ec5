"""/v2/metadefs/...: namespaces and their parts."""

from __future__ import annotations

from typing import Any

from cloudseed.glance.api.images import when
from cloudseed.glance.images import Glance
from cloudseed.glance.metadefs import namespaces, parts
from cloudseed.glance.metadefs.schemas import PUBLISHED
from cloudseed.kernel.errors import Invalid, MethodNotAllowed, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

_COLLECTIONS = {"objects": "object", "properties": "property", "tags": "tag", "resource_types": "resource_type"}


def part_view(row: Any, namespace: str, *, listed: bool = False) -> dict[str, Any]:
    """A part as clients see it; in lists an object shows all its fields and a tag only its name."""
    if row.kind == "property":
        return {**row.body, "name": row.name}
    if row.kind == "tag" and listed:
        return {"name": row.name}
    shown = {"name": row.name, **({"required": [], "properties": {}} if row.kind == "object" and listed else {}),
             **row.body, "created_at": when(row.created_at), "updated_at": when(row.updated_at)}
    if row.kind == "object":
        shown["self"] = f"/v2/metadefs/namespaces/{namespace}/objects/{row.name}"
        shown["schema"] = "/v2/schemas/metadefs/object"
    return shown


def namespace_view(row: Any, found: list[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"namespace": row.namespace}
    shown |= {name: value for name in ("display_name", "description") if (value := getattr(row, name)) is not None}
    shown |= {"visibility": row.visibility, "protected": row.protected, "owner": row.owner,
              "created_at": when(row.created_at), "updated_at": when(row.updated_at)}
    by_kind: dict[str, list[Any]] = {}
    for part in found:
        by_kind.setdefault(part.kind, []).append(part)
    for kind, field in (("resource_type", "resource_type_associations"), ("object", "objects"), ("tag", "tags")):
        if kind in by_kind:
            shown[field] = [part_view(part, row.namespace, listed=True) for part in by_kind[kind]]
    if "property" in by_kind:
        shown["properties"] = {part.name: part_view(part, row.namespace) for part in by_kind["property"]}
    return shown | {"self": f"/v2/metadefs/namespaces/{row.namespace}", "schema": "/v2/schemas/metadefs/namespace"}


class NamespacesResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response) -> None:
        limit = req.int_param("limit", 25, maximum=1000) or 0
        direction = req.text_param("sort_dir") or "desc"
        if direction not in ("asc", "desc"):
            raise Invalid(f"Invalid sort direction: {direction}")
        types = [t for t in (req.text_param("resource_types") or "").split(",") if t]
        page = await namespaces.list_namespaces(
            self._glance, req.ctx, limit=limit, marker=req.text_param("marker"), ascending=direction == "asc",
            visibility=req.text_param("visibility"), resource_types=types)
        first = f"/v2/metadefs/namespaces?limit={limit}" if "limit" in req.params else "/v2/metadefs/namespaces"
        resp.media = {"namespaces": [namespace_view(row, found) for row, found in page],
                      "schema": "/v2/schemas/metadefs/namespaces", "first": first}
        if page and len(page) == limit:
            resp.media["next"] = f"/v2/metadefs/namespaces?limit={limit}&marker={page[-1][0].namespace}"

    async def on_post(self, req: Request, resp: Response) -> None:
        row, found = await namespaces.create_namespace(self._glance, req.ctx, await req.json())
        resp.status = 201
        resp.set_header("Location", f"{req.base_url}/v2/metadefs/namespaces/{row.id}")
        resp.media = namespace_view(row, found)


class NamespaceResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response, namespace: str) -> None:
        resp.media = namespace_view(*await namespaces.get_namespace(self._glance, req.ctx, namespace))

    async def on_put(self, req: Request, resp: Response, namespace: str) -> None:
        row = await namespaces.update_namespace(self._glance, req.ctx, namespace, await req.json())
        resp.media = namespace_view(row, [])

    async def on_delete(self, req: Request, resp: Response, namespace: str) -> None:
        await namespaces.delete_namespace(self._glance, req.ctx, namespace)
        resp.status = 204


class PartsResource:
    """/v2/metadefs/namespaces/{namespace}/{collection}"""

    def __init__(self, glance: Glance, collection: str) -> None:
        self._glance = glance
        self._collection = collection
        self._kind = _COLLECTIONS[collection]

    async def on_get(self, req: Request, resp: Response, namespace: str) -> None:
        rows = await parts.list_parts(self._glance, req.ctx, namespace, self._kind)
        views = [part_view(row, namespace, listed=True) for row in rows]
        if self._kind == "property":
            resp.media = {"properties": {row.name: view for row, view in zip(rows, views, strict=True)}}
        elif self._kind == "resource_type":
            resp.media = {"resource_type_associations": views}
        else:
            resp.media = {self._collection: views, "schema": f"/v2/schemas/metadefs/{self._collection}"}

    async def on_post(self, req: Request, resp: Response, namespace: str) -> None:
        if self._kind == "tag":
            append = (req.get_header("X-Openstack-Append") or "").lower() == "true"
            tags = await parts.replace_tags(self._glance, req.ctx, namespace, await req.json(), append=append)
            resp.media = {"tags": [{"name": tag["name"]} for tag in tags]}
        else:
            row = await parts.create_part(self._glance, req.ctx, namespace, self._kind, await req.json())
            resp.media = part_view(row, namespace)
        resp.status = 201

    async def on_delete(self, req: Request, resp: Response, namespace: str) -> None:
        if self._kind == "resource_type":
            raise MethodNotAllowed()
        await parts.delete_parts(self._glance, req.ctx, namespace, self._kind)
        resp.status = 204


class PartResource:
    """/v2/metadefs/namespaces/{namespace}/{collection}/{name}"""

    def __init__(self, glance: Glance, collection: str) -> None:
        self._glance = glance
        self._kind = _COLLECTIONS[collection]

    def _only(self, *kinds: str) -> None:
        if self._kind not in kinds:
            raise MethodNotAllowed()

    async def on_get(self, req: Request, resp: Response, namespace: str, name: str) -> None:
        self._only("object", "property", "tag")
        resp.media = part_view(await parts.get_part(self._glance, req.ctx, namespace, self._kind, name), namespace)

    async def on_post(self, req: Request, resp: Response, namespace: str, name: str) -> None:
        self._only("tag")
        row = await parts.create_part(self._glance, req.ctx, namespace, self._kind, {"name": name})
        resp.status = 201
        resp.media = part_view(row, namespace)

    async def on_put(self, req: Request, resp: Response, namespace: str, name: str) -> None:
        self._only("object", "property", "tag")
        row = await parts.update_part(self._glance, req.ctx, namespace, self._kind, name, await req.json())
        resp.media = part_view(row, namespace)

    async def on_delete(self, req: Request, resp: Response, namespace: str, name: str) -> None:
        await parts.delete_parts(self._glance, req.ctx, namespace, self._kind, name)
        resp.status = 204


class ResourceTypesResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response) -> None:
        rows = await namespaces.all_resource_types(self._glance, req.ctx)
        resp.media = {"resource_types": [{"name": row.name, "created_at": when(row.created_at),
                                          "updated_at": when(row.updated_at)} for row in rows]}


class MetadefSchemaResource:
    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        if name not in PUBLISHED:
            raise NotFound()
        resp.media = PUBLISHED[name]


def routes(glance: Glance) -> dict[str, Any]:
    """URI templates of the metadata definitions."""
    one = "/v2/metadefs/namespaces/{namespace}"
    table: dict[str, Any] = {
        "/v2/metadefs/namespaces": NamespacesResource(glance), one: NamespaceResource(glance),
        "/v2/metadefs/resource_types": ResourceTypesResource(glance),
        "/v2/schemas/metadefs/{name}": MetadefSchemaResource()}
    for collection in _COLLECTIONS:
        table[f"{one}/{collection}"] = PartsResource(glance, collection)
        table[f"{one}/{collection}/{{name}}"] = PartResource(glance, collection)
    return table
