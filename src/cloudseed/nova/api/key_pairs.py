"""/os-keypairs"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters
from cloudseed.kernel.http.request import Request
from cloudseed.nova import key_pairs
from cloudseed.nova.api.body import check_query, read, shown
from cloudseed.nova.api.links import add_next
from cloudseed.nova.api.server_views import micro

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_NAME = re.compile(r"^[a-zA-Z0-9_-]([a-zA-Z0-9 _-]{0,253}[a-zA-Z0-9_-])?\Z")
_NAME_2_92 = re.compile(r"^[a-zA-Z0-9_@.-]([a-zA-Z0-9 _@.-]{0,253}[a-zA-Z0-9_@.-])?\Z")


class NewKeyPair(msgspec.Struct, forbid_unknown_fields=True):
    """POST /os-keypairs"""

    name: str
    public_key: str | None = None
    type: Literal["ssh", "x509"] = "ssh"
    user_id: str | None = None

    def __post_init__(self) -> None:
        if self.public_key is not None and not 1 <= len(self.public_key) <= 16384:
            raise ValueError("Invalid input for field/attribute public_key. It must have 1 to 16384 characters")
        if self.user_id is not None and not 1 <= len(self.user_id) <= 255:
            raise ValueError("Invalid input for field/attribute user_id. It must have 1 to 255 characters")


def _without_type(body: dict[str, Any]) -> None:
    body.pop("type", None)


VIEW = Adapters(Adapter((2, 2), response=_without_type))


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    def user(self, req: Request, rule: str, named: str | None = None) -> str:
        """Whose keys: the caller's own, or since 2.10 another user's, for those whom `rule` allows."""
        user_id = named or req.ctx.user_id
        self.nova.policy.enforce(f"os_compute_api:os-keypairs:{rule}", req.ctx.identity,
                                 {"user_id": user_id, "project_id": req.ctx.project_id})
        return user_id

    def asked_user(self, req: Request) -> str | None:
        return req.text_param("user_id") if req.microversion >= (2, 10) else None


class KeyPairs(_Base):
    """/v2.1/os-keypairs"""

    async def on_get(self, req: Request, resp: Response) -> None:
        paged = req.microversion >= (2, 35)
        check_query(req, ("user_id", *(("limit", "marker") if paged else ())), since=(2, 75))
        user_id = self.user(req, "index", self.asked_user(req))
        page = paging.parse(req) if paged else paging.Page(100_000, None, False)
        rows, more = await key_pairs.list_key_pairs(self.nova, user_id, page)
        items = [{"keypair": VIEW.lower(req.microversion, {
            "name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint, "type": row.type})}
            for row in rows]
        resp.media = body = {"keypairs": items}
        add_next(req, body, "keypairs", page, rows[-1].name if rows else "", more)

    async def on_post(self, req: Request, resp: Response) -> None:
        new = await read(req, "keypair", NewKeyPair, added={"type": (2, 2), "user_id": (2, 10)})
        allowed = _NAME_2_92 if req.microversion >= (2, 92) else _NAME
        if not allowed.match(new.name):
            raise Invalid(f"Invalid input for field/attribute name. Value: {shown(new.name)}. It must have 1 to 255 "
                          "letters, digits, dashes, underscores and inner spaces.")
        if new.public_key is None and req.microversion >= (2, 92):
            raise Invalid("Invalid input for field/attribute keypair. 'public_key' is a required property")
        user_id = self.user(req, "create", new.user_id)
        row, private = await key_pairs.create_key_pair(self.nova, req.ctx, user_id, new.name, new.type,
                                                       new.public_key)
        body = {"type": row.type, "name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint,
                "user_id": row.user_id}
        if private is not None:
            body["private_key"] = private
        resp.status = 201 if req.microversion >= (2, 2) else 200
        resp.media = {"keypair": VIEW.lower(req.microversion, body)}


class KeyPair(_Base):
    """/v2.1/os-keypairs/{name}"""

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        check_query(req, ("user_id",), since=(2, 75))
        row = await key_pairs.get_key_pair(self.nova, self.user(req, "show", self.asked_user(req)), name)
        resp.media = {"keypair": VIEW.lower(req.microversion, {
            "name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint, "user_id": row.user_id,
            "created_at": micro(row.created_at), "deleted": False, "deleted_at": None, "id": row.id,
            "updated_at": None, "type": row.type})}

    async def on_delete(self, req: Request, resp: Response, name: str) -> None:
        check_query(req, ("user_id",), since=(2, 75))
        await key_pairs.delete_key_pair(self.nova, self.user(req, "delete", self.asked_user(req)), name)
        resp.status = 204 if req.microversion >= (2, 2) else 202
