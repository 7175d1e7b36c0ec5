"""/usages and /resource_providers/{uuid}/usages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, require
from cloudseed.kernel.http.request import Request
from cloudseed.placement import usages
from cloudseed.placement.api.wire import accept_json, authorize, query_of, say_modified

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

_TYPE = re.compile(r"[A-Z0-9_]+|all|unknown")


def _without_types(body: dict[str, Any]) -> None:
    """Before 1.38: one sum, whatever the consumers' type."""
    total: dict[str, int] = {}
    for usage in body["usages"].values():
        for name, used in usage.items():
            if name != "consumer_count":
                total[name] = total.get(name, 0) + used
    body["usages"] = total


_SHAPES = Adapters(Adapter((1, 38), response=_without_types))


class UsagesResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, (1, 9))
        accept_json(req)
        query = query_of(req)
        # the sums are of this very project's rows, so what is asked for and what is checked cannot differ
        authorize(self._placement, req.ctx, "placement:usages", {"project_id": query.last("project_id")})
        query.only(["project_id", "user_id", *(["consumer_type"] if req.microversion >= (1, 38) else [])])
        project_id, user_id, kind = query.last("project_id"), query.last("user_id"), query.last("consumer_type")
        if project_id is None:
            raise Invalid("Invalid query string parameters: 'project_id' is a required property")
        for name, value in (("project_id", project_id), ("user_id", user_id), ("consumer_type", kind)):
            if value is not None and not 1 <= len(value) <= 255:
                raise Invalid(f"Invalid query string parameters: {name} must have 1 to 255 characters")
        if kind is not None and not _TYPE.fullmatch(kind):
            raise Invalid(f"Invalid query string parameters: {kind!r} is not a consumer type, all or unknown")
        found = await usages.owner_usages(self._placement, project_id, user_id, kind)
        body = {"usages": {name: {**usage.resources, "consumer_count": usage.consumer_count}
                           for name, usage in found.items()}}
        say_modified(req, resp)
        resp.media = _SHAPES.lower(req.microversion, body)


class ProviderUsagesResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, uuid: str) -> None:
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:resource_providers:usages")
        provider, used = await usages.provider_usages(self._placement, uuid)
        say_modified(req, resp)
        resp.media = {"resource_provider_generation": provider.generation, "usages": used}
