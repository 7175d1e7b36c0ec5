"""/os-server-groups"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_groups
from cloudseed.nova.api.body import check_name, check_query, check_range, read, shown

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_HARD = ("anti-affinity", "affinity")
_SOFT = ("soft-anti-affinity", "soft-affinity")


class Rules(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    max_server_per_host: int | None = None

    def __post_init__(self) -> None:
        check_range(self.max_server_per_host, "max_server_per_host", 1)


class OldGroup(msgspec.Struct, forbid_unknown_fields=True):
    """POST before 2.64"""

    name: str
    policies: list[str]

    def __post_init__(self) -> None:
        check_name(self.name)


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    """POST since 2.64"""

    name: str
    policy: str
    rules: Rules = msgspec.field(default_factory=Rules)

    def __post_init__(self) -> None:
        check_name(self.name)


def view(row: Any, members: list[str], version: tuple[int, int]) -> dict[str, Any]:
    body: dict[str, Any] = {"id": row.id, "name": row.name}
    if version >= (2, 64):
        body |= {"policy": row.policy, "rules": row.rules}
    else:
        body |= {"policies": [row.policy], "metadata": {}}
    body["members"] = members
    if version >= (2, 13):
        body |= {"project_id": row.project_id, "user_id": row.user_id}
    return body


class ServerGroups:
    """/v2.1/os-server-groups"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response) -> None:
        own = {"project_id": req.ctx.project_id, "user_id": req.ctx.user_id}
        self.nova.policy.enforce("os_compute_api:os-server-groups:index", req.ctx.identity, own)
        check_query(req, ("all_projects", "limit", "offset"), since=(2, 75))
        page = paging.parse(req)
        offset = req.int_param("offset", 0) or 0
        everybodys = "all_projects" in req.params and self.nova.policy.check(
            "os_compute_api:os-server-groups:index:all_projects", req.ctx.identity, own)
        rows, members = await server_groups.list_groups(self.nova, req.ctx, everybodys=everybodys, limit=page.limit,
                                                        offset=offset)
        resp.media = {"server_groups": [view(row, members.get(row.id, []), req.microversion) for row in rows]}

    async def on_post(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:os-server-groups:create", req.ctx.identity,
                                 {"project_id": req.ctx.project_id, "user_id": req.ctx.user_id})
        rules: dict[str, int] = {}
        if req.microversion >= (2, 64):
            new = await read(req, "server_group", NewGroup)
            name, policy, rules = new.name, new.policy, msgspec.to_builtins(new.rules)
        else:
            old = await read(req, "server_group", OldGroup)
            if len(old.policies) != 1:
                raise Invalid("Invalid input for field/attribute policies. It must name one policy.")
            name, policy = old.name, old.policies[0]
        allowed = (*_HARD, *_SOFT) if req.microversion >= (2, 15) else _HARD
        if policy not in allowed:
            raise Invalid(f"Invalid input for field/attribute policies. Value: {shown(policy)}. {shown(policy)} is not "
                          f"one of {list(allowed)}")
        if rules and policy != "anti-affinity":
            raise Invalid("Only anti-affinity policy supports rules.")
        row = await server_groups.create_group(self.nova, req.ctx, name, policy, rules)
        resp.media = {"server_group": view(row, [], req.microversion)}


class ServerGroup:
    """/v2.1/os-server-groups/{group_id}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, group_id: str) -> None:
        row, members = await server_groups.get_group(self.nova, req.ctx, group_id,
                                                     "os_compute_api:os-server-groups:show")
        resp.media = {"server_group": view(row, members, req.microversion)}

    async def on_delete(self, req: Request, resp: Response, group_id: str) -> None:
        await server_groups.delete_group(self.nova, req.ctx, group_id)
        resp.status = 204
