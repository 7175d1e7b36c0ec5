"""/v3/volume-transfers (3.55) and, as it was before, /v3/os-volume-transfer"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.cinder import transfers
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import check_text, check_uuid, links, read, strip, when
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Version, require
from cloudseed.kernel.http.request import Request

SNAPSHOTS_SINCE: Version = (3, 55)


class _New(msgspec.Struct):
    volume_id: str
    name: str | None = None
    no_snapshots: bool = False

    def __post_init__(self) -> None:
        check_uuid(self.volume_id, "volume_id")
        check_text(self.name, "name")


class _Accept(msgspec.Struct, forbid_unknown_fields=True):
    auth_key: str

    def __post_init__(self) -> None:
        check_text(self.auth_key, "auth_key", minimum=1)


def summary(req: Request, row: Any) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "volume_id": row.volume_id,
            "links": links(req, "os-volume-transfer", row.id)}


def detail(req: Request, row: Any, *, project: str | None = None) -> dict[str, Any]:
    view = {**summary(req, row), "created_at": when(row.created_at)}
    if req.microversion >= SNAPSHOTS_SINCE:
        view["no_snapshots"] = row.no_snapshots
    if req.microversion >= (3, 57):
        view |= {"source_project_id": row.source_project_id, "destination_project_id": project,
                 "accepted": project is not None}
    return view


class _Base:
    def __init__(self, cinder: Cinder, since: Version = (3, 0)) -> None:
        self.cinder = cinder
        self.since = since


class Transfers(_Base):
    """The list of transfers"""

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, self.since)
        await _list(self.cinder, req, resp, detailed=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, self.since)
        asked = await read(req, "transfer", _New, added={"no_snapshots": SNAPSHOTS_SINCE})
        offer = await transfers.create_transfer(self.cinder, req.ctx, asked.volume_id, strip(asked.name),
                                                no_snapshots=asked.no_snapshots)
        resp.status = 202
        resp.media = {"transfer": {**detail(req, offer.row), "auth_key": offer.auth_key}}


class TransfersDetail(_Base):
    """.../detail"""

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, self.since)
        await _list(self.cinder, req, resp, detailed=True)


async def _list(cinder: Cinder, req: Request, resp: Response, *, detailed: bool) -> None:
    query = lists.parse(req, transfers.FILTERS)
    page = query.page
    if req.microversion < (3, 59) and "sort" not in req.params and "sort_key" not in req.params:
        page = page._replace(order=[("created_at", "asc")])
    rows = await transfers.list_transfers(cinder, req.ctx, page, query.where, everybody=query.everybody)
    views = [detail(req, row) if detailed else summary(req, row) for row in rows]
    resp.media = lists.answer(req, "transfers", query, rows, views)


class Transfer(_Base):
    """.../{transfer_id}"""

    async def on_get(self, req: Request, resp: Response, transfer_id: str) -> None:
        require(req.microversion, self.since)
        row = await transfers.get_transfer(self.cinder, req.ctx, transfer_id)
        resp.media = {"transfer": detail(req, row)}

    async def on_delete(self, req: Request, resp: Response, transfer_id: str) -> None:
        require(req.microversion, self.since)
        await transfers.delete_transfer(self.cinder, req.ctx, transfer_id)
        resp.status = 202


class TransferAccept(_Base):
    """.../{transfer_id}/accept"""

    async def on_post(self, req: Request, resp: Response, transfer_id: str) -> None:
        require(req.microversion, self.since)
        asked = await read(req, "accept", _Accept)
        row = await transfers.accept_transfer(self.cinder, req.ctx, transfer_id, asked.auth_key)
        resp.status = 202
        resp.media = {"transfer": summary(req, row)}
