"""/flavors/{id}/os-flavor-access and the actions that change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import flavors
from cloudseed.nova.api.body import as_type, check_query, shown

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class TenantAccess(msgspec.Struct, forbid_unknown_fields=True):
    """The body of both actions."""

    tenant: str

    def __post_init__(self) -> None:
        if not (1 <= len(self.tenant) <= 255 and all(c.isalnum() or c in "-_" for c in self.tenant)):
            raise ValueError(f"Project ID {shown(self.tenant)} is not a valid project.")


def _view(flavor_id: str, projects: list[str]) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project} for project in projects]}


class FlavorAccess:
    """/v2.1/flavors/{flavor_id}/os-flavor-access"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, flavor_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-access", req.ctx.identity)
        check_query(req, ())
        resp.media = _view(flavor_id, await flavors.list_access(self.nova, req.ctx, flavor_id))


class FlavorAction:
    """/v2.1/flavors/{flavor_id}/action"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_post(self, req: Request, resp: Response, flavor_id: str) -> None:
        body: Any = await req.json()
        if not isinstance(body, dict) or len(body) != 1:
            raise Invalid("The body must name one action: addTenantAccess or removeTenantAccess.")
        name, value = next(iter(body.items()))
        if name == "addTenantAccess":
            self.nova.policy.enforce("os_compute_api:os-flavor-access:add_tenant_access", req.ctx.identity)
            project = as_type(value, TenantAccess, name).tenant
            projects = await flavors.add_access(self.nova, req.ctx, flavor_id, project,
                                                refuse_public=req.microversion >= (2, 7))
        elif name == "removeTenantAccess":
            self.nova.policy.enforce("os_compute_api:os-flavor-access:remove_tenant_access", req.ctx.identity)
            project = as_type(value, TenantAccess, name).tenant
            projects = await flavors.remove_access(self.nova, req.ctx, flavor_id, project)
        else:
            raise Invalid(f"There is no such action: {shown(name)}")
        resp.media = _view(flavor_id, projects)
