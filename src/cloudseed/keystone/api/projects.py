"""/v3/projects, their tags, and /v3/users/{id}/projects"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import access, directory, projects
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid, NotFound
from cloudseed.keystone.lists import parse_filters

TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")


class Create(msgspec.Struct):
    name: str
    domain_id: str | None = None
    parent_id: str | None = None
    description: str | None = None
    enabled: bool = True
    is_domain: bool = False
    options: dict[str, Any] | None = None
    tags: list[str] = []


class Update(msgspec.Struct):
    name: str | msgspec.UnsetType = msgspec.UNSET
    domain_id: str | msgspec.UnsetType | None = msgspec.UNSET
    parent_id: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    is_domain: bool | msgspec.UnsetType = msgspec.UNSET
    options: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET


class Tags(msgspec.Struct):
    tags: list[str]


def project_view(req: Request, row: Record, tags: list[str]) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "name": row.name, "domain_id": row.domain_id,
            "description": row.description or "", "enabled": row.enabled, "parent_id": row.parent_id,
            "is_domain": row.is_domain, "tags": tags, "options": row.options,
            "links": link(req, f"projects/{row.id}")}


class _WithViews(Resource):
    async def views(self, req: Request, rows: list[Record]) -> list[dict[str, Any]]:
        tags = await projects.tags_of(self.ks, [row.id for row in rows])
        return [project_view(req, row, tags.get(row.id, [])) for row in rows]

    async def show(self, req: Request, resp: Response, row: Record) -> None:
        resp.media = {"project": (await self.views(req, [row]))[0]}


class ProjectsResource(_WithViews):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("name", "domain_id", "enabled", "parent_id", "is_domain"))
        tags = {name: value.split(",") for name in TAG_FILTERS if (value := req.text_param(name))}
        rows = await projects.list_projects(self.ks, req.ctx, filters, tags)
        set_list(req, resp, "projects", await self.views(req, rows), filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "project"), Create)
        row = await projects.create_project(
            self.ks, req.ctx, name=body.name, domain_id=body.domain_id, parent_id=body.parent_id,
            description=body.description, enabled=body.enabled, is_domain=body.is_domain, options=body.options,
            tags=body.tags, extra=extra)
        resp.status = 201
        resp.media = {"project": project_view(req, row, sorted(set(body.tags)))}


class ProjectResource(_WithViews):
    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        row = await projects.get_project(self.ks, req.ctx, project_id)
        await self.show(req, resp, row)
        asked = {name for name in ("parents_as_list", "parents_as_ids", "subtree_as_list", "subtree_as_ids")
                 if name in req.params and req.bool_param(name)}
        for kind in ("parents", "subtree"):
            if {f"{kind}_as_list", f"{kind}_as_ids"} <= asked:
                raise Invalid(f"Use either {kind}_as_list or {kind}_as_ids, not both.")
        shown = resp.media["project"]
        if asked & {"parents_as_list", "parents_as_ids"}:
            above = await directory.ancestors(self.ks, row.id)
            shown["parents"] = _nest_upwards(above) if "parents_as_ids" in asked else [
                {"project": view} for view in await self.views(req, await access.visible_to(self.ks, req.ctx, above))]
        if asked & {"subtree_as_list", "subtree_as_ids"}:
            below = await projects.subtree(self.ks, row.id)
            shown["subtree"] = _nest_downwards(row.id, below) if "subtree_as_ids" in asked else [
                {"project": view} for view in await self.views(req, await access.visible_to(self.ks, req.ctx, below))]

    async def on_patch(self, req: Request, resp: Response, project_id: str) -> None:
        body, extra = split(await read(req, "project"), Update)
        await self.show(req, resp, await projects.update_project(self.ks, req.ctx, project_id, changes(body), extra))

    async def on_delete(self, req: Request, resp: Response, project_id: str) -> None:
        await projects.delete_project(self.ks, req.ctx, project_id)
        resp.status = 204


def _nest_upwards(above: list[Record]) -> dict[str, Any] | None:
    """{parent: {grandparent: {domain: null}}}"""
    nested: dict[str, Any] | None = None
    for row in reversed(above):
        nested = {row.id: nested}
    return nested


def _nest_downwards(root: str, below: list[Record]) -> dict[str, Any] | None:
    """{child: {grandchild: null}, other child: null}"""
    children: dict[str, list[str]] = {}
    for row in below:
        children.setdefault(row.parent_id, []).append(row.id)

    def nest(project_id: str) -> dict[str, Any] | None:
        inside = children.get(project_id)
        return {child: nest(child) for child in inside} if inside else None

    return nest(root)


class ProjectTagsResource(Resource):
    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        await projects.get_project(self.ks, req.ctx, project_id, "list_project_tags")
        await self._show(req, resp, project_id)

    async def on_put(self, req: Request, resp: Response, project_id: str) -> None:
        body: Tags = await req.json(Tags)
        await projects.set_tags(self.ks, req.ctx, project_id, body.tags, "update_project_tags")
        await self._show(req, resp, project_id)

    async def on_delete(self, req: Request, resp: Response, project_id: str) -> None:
        await projects.set_tags(self.ks, req.ctx, project_id, [], "delete_project_tags")
        resp.status = 204

    async def _show(self, req: Request, resp: Response, project_id: str) -> None:
        tags = await projects.tags_of(self.ks, [project_id])
        resp.media = {"tags": tags.get(project_id, []), "links": link(req, f"projects/{project_id}/tags")}


class ProjectTagResource(Resource):
    async def on_get(self, req: Request, resp: Response, project_id: str, tag: str) -> None:
        await projects.get_project(self.ks, req.ctx, project_id, "get_project_tag")
        if tag not in (await projects.tags_of(self.ks, [project_id])).get(project_id, []):
            raise NotFound("project tag", tag)
        resp.status = 204

    async def on_put(self, req: Request, resp: Response, project_id: str, tag: str) -> None:
        await projects.add_tag(self.ks, req.ctx, project_id, tag)
        resp.status = 201
        resp.set_header("Location", f"{req.base_url}/v3/projects/{project_id}/tags/{tag}")

    async def on_delete(self, req: Request, resp: Response, project_id: str, tag: str) -> None:
        await projects.remove_tag(self.ks, req.ctx, project_id, tag)
        resp.status = 204


class UserProjectsResource(_WithViews):
    async def on_get(self, req: Request, resp: Response, user_id: str) -> None:
        filters = parse_filters(req, ("name", "domain_id", "enabled", "parent_id"))
        rows = await access.projects_of_user(self.ks, req.ctx, user_id, filters)
        set_list(req, resp, "projects", await self.views(req, rows), filters)
