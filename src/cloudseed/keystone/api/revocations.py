"""/v3/OS-REVOKE/events, DELETE /v3/users/{id}/tokens, and what remains of PKI tokens"""

from __future__ import annotations

import datetime
from typing import Any

from cloudseed.kernel.errors import Gone
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import revocations
from cloudseed.keystone.api.resource import Resource
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Forbidden, Invalid
from cloudseed.keystone.meanings import iso

_NAMES = {"audit_id": "audit_id", "audit_chain_id": "audit_chain_id", "user_id": "user_id",
          "project_id": "project_id", "domain_id": "domain_id", "role_id": "role_id", "trust_id": "OS-TRUST:trust_id"}


def event_view(row: Record) -> dict[str, Any]:
    shown = {name: getattr(row, column) for column, name in _NAMES.items() if getattr(row, column) is not None}
    return {**shown, "issued_before": iso(row.issued_before.timestamp())}


class RevocationEventsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        since = req.text_param("since")
        try:
            moment = datetime.datetime.fromisoformat(since.replace("Z", "+00:00")) if since else None
        except ValueError:
            raise Invalid(f"Invalid value {since!r} for the query parameter since: it must be a time.") from None
        if moment is not None and moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        rows = await revocations.list_events(self.ks, req.ctx, moment)
        resp.media = {"events": [event_view(row) for row in rows],
                      "links": {"next": None, "self": f"{req.base_url}{req.path}", "previous": None}}


class UserTokensResource(Resource):
    async def on_delete(self, req: Request, resp: Response, user_id: str) -> None:
        await revocations.revoke_all_of_user(self.ks, req.ctx, user_id)
        resp.status = 204


class PkiRevokedResource(Resource):
    """There are no PKI tokens, so nothing to list, and upstream refuses to pretend."""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.ks.enforce(req.ctx, "revocation_list")
        raise Forbidden()


class PkiCertificatesResource(Resource):
    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        raise Gone("This API is no longer available due to the removal of support for PKI tokens.")
