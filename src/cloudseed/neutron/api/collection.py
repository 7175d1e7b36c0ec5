"""One way in for every resource: what `GET /networks`, `POST /networks`, `PUT /networks/{id}`, ... have in common.

A resource's own file declares a `Kind`: its names, its attributes, its domain functions.  The two falcon
resources here parse against it, call the domain, leave out what the caller may not see, and render.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cloudseed.kernel.errors import MethodNotAllowed
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import access, attributes, listing
from cloudseed.neutron.attributes import Attributes, Wish
from cloudseed.neutron.errors import HTTPBadRequest
from cloudseed.neutron.server import Neutron

Record = dict[str, Any]
BODY_LIMIT = 1_048_576  # bytes; bulk creations are larger than kernel's usual limit
_IF_MATCH = re.compile(r"^\s*\"?revision_number=(\d{1,18})\"?\s*$")


@dataclass(frozen=True)
class Kind:
    """A resource of the API.  `hideable`: attributes that a policy rule may hide from some callers."""

    name: str  # in bodies: {"network": {...}}
    plural: str  # in list bodies
    attributes: Attributes
    spec: listing.Spec
    find: Callable[[Neutron, Any, listing.Query], Awaitable[list[Record]]]
    get: Callable[[Neutron, Any, str], Awaitable[Record]]
    create: Callable[[Neutron, Any, list[Wish], Attributes], Awaitable[list[Record]]] | None = None
    update: Callable[[Neutron, Any, str, Wish], Awaitable[Record]] | None = None
    delete: Callable[..., Awaitable[None]] | None = None
    hideable: tuple[str, ...] = ()

    def shown(self, neutron: Neutron, req: Request, records: list[Record],
              fields: tuple[str, ...] = ()) -> list[Record]:
        """Records without what the caller may not see, reduced to the fields that he asked for."""
        for name in access.hidden(neutron, req.ctx, self.name, self.hideable):
            for record in records:
                record.pop(name, None)
        if fields:
            return [{name: record[name] for name in fields if name in record} for record in records]
        return records


def expected_revision(req: Request) -> int | None:
    """The revision that an If-Match header insists on; None without one."""
    header = req.get_header("If-Match")
    if header is None:
        return None
    match = _IF_MATCH.match(header)
    if match is None:
        raise HTTPBadRequest("If-Match must have the form revision_number=<number>")
    return int(match[1])


class Collection:
    """/v2.0/<plural>"""

    def __init__(self, neutron: Neutron, kind: Kind) -> None:
        self._neutron = neutron
        self._kind = kind

    async def on_get(self, req: Request, resp: Response) -> None:
        kind = self._kind
        query = listing.parse(req, kind.spec)
        found = await kind.find(self._neutron, req.ctx, query)
        links = listing.links(req, query, found)
        resp.media = {kind.plural: kind.shown(self._neutron, req, found, query.fields)}
        if links:
            resp.media[f"{kind.plural}_links"] = links

    async def on_post(self, req: Request, resp: Response) -> None:
        kind = self._kind
        if kind.create is None:
            raise MethodNotAllowed()
        body: Any = await req.json(limit=BODY_LIMIT)
        wishes, bulk = attributes.parse_create(kind.name, kind.plural, kind.attributes, body, req.ctx,
                                               access.sees_all(self._neutron, req.ctx))
        made = kind.shown(self._neutron, req, await kind.create(self._neutron, req.ctx, wishes, kind.attributes))
        resp.status = 201
        resp.media = {kind.plural: made} if bulk else {kind.name: made[0]}


class Item:
    """/v2.0/<plural>/{id}"""

    def __init__(self, neutron: Neutron, kind: Kind) -> None:
        self._neutron = neutron
        self._kind = kind

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        kind = self._kind
        named = req.params.get("fields", [])
        fields = tuple(named if isinstance(named, list) else [named])
        record = await kind.get(self._neutron, req.ctx, id)
        resp.media = {kind.name: kind.shown(self._neutron, req, [record], fields)[0]}

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        kind = self._kind
        if kind.update is None:
            raise MethodNotAllowed()
        wish = attributes.parse_update(kind.name, kind.attributes, await req.json(limit=BODY_LIMIT))
        wish.expected_revision = expected_revision(req)
        record = await kind.update(self._neutron, req.ctx, id, wish)
        resp.media = {kind.name: kind.shown(self._neutron, req, [record])[0]}

    async def on_delete(self, req: Request, resp: Response, id: str) -> None:
        if self._kind.delete is None:
            raise MethodNotAllowed()
        await self._kind.delete(self._neutron, req.ctx, id, expected_revision(req))
        resp.status = 204
