"""Roles of a user or group on a project, a domain or the system; with OS-INHERIT, on what lies below.

One pair of resources serves all those URLs: the template says who and on what.
"""

from __future__ import annotations

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import grants
from cloudseed.keystone.api.resource import Resource, set_list
from cloudseed.keystone.api.roles import role_view
from cloudseed.keystone.grants import Actor, Grant
from cloudseed.keystone.scopes import Scope
from cloudseed.keystone.state import Keystone


class _Grants(Resource):
    def __init__(self, ks: Keystone, target_kind: str, actor_kind: str, *, inherited: bool = False) -> None:
        super().__init__(ks)
        self._target_kind, self._actor_kind, self._inherited = target_kind, actor_kind, inherited

    def grant(self, ids: dict[str, str]) -> Grant:
        """`ids`: the URL's variables; the system has none of its own."""
        on = Scope(self._target_kind, ids.get(f"{self._target_kind}_id", "all"))
        return Grant(Actor(self._actor_kind, ids["actor_id"]), on, self._inherited)


class GrantsResource(_Grants):
    async def on_get(self, req: Request, resp: Response, **ids: str) -> None:
        rows = await grants.list_grants(self.ks, req.ctx, self.grant(ids))
        set_list(req, resp, "roles", [role_view(req, row) for row in rows])


class GrantResource(_Grants):
    async def on_get(self, req: Request, resp: Response, role_id: str, **ids: str) -> None:
        await grants.check_grant(self.ks, req.ctx, self.grant(ids), role_id)
        resp.status = 204

    async def on_put(self, req: Request, resp: Response, role_id: str, **ids: str) -> None:
        await grants.create_grant(self.ks, req.ctx, self.grant(ids), role_id)
        resp.status = 204

    async def on_delete(self, req: Request, resp: Response, role_id: str, **ids: str) -> None:
        await grants.revoke_grant(self.ks, req.ctx, self.grant(ids), role_id)
        resp.status = 204
