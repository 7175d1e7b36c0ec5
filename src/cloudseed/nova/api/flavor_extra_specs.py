"""/flavors/{id}/os-extra_specs"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import flavors
from cloudseed.nova.api.body import read_whole, shown
from cloudseed.nova.extra_specs import KEY, check_spec

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def _checked(req: Request, specs: Any) -> dict[str, str]:
    """The given specs as strings, names and values checked as this microversion does."""
    if not isinstance(specs, dict):
        raise Invalid("Invalid input for field/attribute extra_specs. It must be an object.")
    checked: dict[str, str] = {}
    for name, value in specs.items():
        if not KEY.match(name):
            raise Invalid(f"Invalid input for field/attribute extra_specs. The key {shown(name)} must have 1 to 255 "
                          "letters, digits, spaces, dashes, underscores, colons and dots.")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {shown(value)}. It must be a string.")
        text = str(value)
        if len(text) > 255 or any(ord(c) < 32 for c in text):
            raise Invalid(f"Invalid input for field/attribute {name}. It must be at most 255 printable characters.")
        if req.microversion >= (2, 86):
            check_spec(name, text)
        checked[name] = text
    return checked


class ExtraSpecs:
    """/v2.1/flavors/{flavor_id}/os-extra_specs"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, flavor_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-extra-specs:index", req.ctx.identity,
                                 {"project_id": req.ctx.project_id})
        row = await flavors.get_flavor(self.nova, req.ctx, flavor_id)
        resp.media = {"extra_specs": row.extra_specs}

    async def on_post(self, req: Request, resp: Response, flavor_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-extra-specs:create", req.ctx.identity)
        body = await read_whole(req, "extra_specs")
        specs = _checked(req, body["extra_specs"])
        resp.media = {"extra_specs": await flavors.set_extra_specs(self.nova, req.ctx, flavor_id, specs)}


class ExtraSpec:
    """/v2.1/flavors/{flavor_id}/os-extra_specs/{key}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, flavor_id: str, key: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-extra-specs:show", req.ctx.identity,
                                 {"project_id": req.ctx.project_id})
        resp.media = {key: await flavors.get_extra_spec(self.nova, req.ctx, flavor_id, key)}

    async def on_put(self, req: Request, resp: Response, flavor_id: str, key: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-extra-specs:update", req.ctx.identity)
        body: Any = await req.json()
        if not isinstance(body, dict) or list(body) != [key]:
            raise Invalid("Invalid request body: it must hold the key of the URL, and nothing else.")
        specs = _checked(req, body)
        resp.media = await flavors.set_extra_specs(self.nova, req.ctx, flavor_id, specs)

    async def on_delete(self, req: Request, resp: Response, flavor_id: str, key: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-flavor-extra-specs:delete", req.ctx.identity)
        await flavors.delete_extra_spec(self.nova, req.ctx, flavor_id, key)
