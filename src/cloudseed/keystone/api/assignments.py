"""/v3/role_assignments"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone.api.resource import Resource, set_list
from cloudseed.keystone.assignments import Assignment, Names, Query, list_assignments


def _link(req: Request, item: Assignment) -> str:
    """The URL of the assignment as it stands."""
    source = item.source
    root = f"{req.base_url}/v3"
    actor = f"{source.actor_kind}s/{source.actor_id}/roles/{source.role_id}"
    if source.target_kind == "system":
        return f"{root}/system/{actor}"
    place = f"{source.target_kind}s/{source.target_id}"
    return f"{root}/OS-INHERIT/{place}/{actor}/inherited_to_projects" if source.inherited else f"{root}/{place}/{actor}"


def assignment_view(req: Request, item: Assignment, names: Names | None) -> dict[str, Any]:
    scope: dict[str, Any]
    if item.target_kind == "system":
        scope = {"system": {"all": True}}
    else:
        scope = {item.target_kind: _named(item.target_kind, item.target_id, names)}
    if item.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    links = {"assignment": _link(req, item)}
    if item.via_group is not None:
        links["membership"] = f"{req.base_url}/v3/groups/{item.via_group}/users/{item.actor_id}"
    if item.implied_by is not None:
        links["prior_role"] = f"{req.base_url}/v3/roles/{item.implied_by}"
    return {"links": links, "scope": scope, item.actor_kind: _named(item.actor_kind, item.actor_id, names),
            "role": _named("role", item.role_id, names)}


def _named(kind: str, item_id: str, names: Names | None) -> dict[str, Any]:
    """{"id": ...}, with names {"id", "name", "domain": {"id", "name"}}.  What is gone keeps its id."""
    if names is None:
        return {"id": item_id}
    table = {"user": names.users, "group": names.groups, "role": names.roles}.get(kind, names.projects)
    row = table.get(item_id)
    if row is None:
        return {"id": item_id, "name": "", **({} if kind == "role" else {"domain": {"id": "", "name": ""}})}
    shown = {"id": row.id, "name": row.name}
    home = names.projects.get(row.domain_id) if row.domain_id else None
    if home is not None:
        shown["domain"] = {"id": home.id, "name": home.name}
    return shown


def _flag(req: Request, name: str) -> bool:
    """Present without a value means yes, as upstream reads it."""
    return name in req.params and req.text_param(name) not in ("0", "false", "False", "no")


class RoleAssignmentsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        query = Query(
            user_id=req.text_param("user.id"), group_id=req.text_param("group.id"), role_id=req.text_param("role.id"),
            project_id=req.text_param("scope.project.id"), domain_id=req.text_param("scope.domain.id"),
            system="scope.system" in req.params,
            inherited=True if req.text_param("scope.OS-INHERIT:inherited_to") else None,
            effective=_flag(req, "effective"), include_names=_flag(req, "include_names"),
            include_subtree=_flag(req, "include_subtree"))
        found, names = await list_assignments(self.ks, req.ctx, query)
        shown = names if query.include_names else None
        set_list(req, resp, "role_assignments", [assignment_view(req, item, shown) for item in found])
