"""/v3/credentials and /v3/users/{id}/credentials/OS-EC2"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import credentials as domain
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.credentials import Credential
from cloudseed.keystone.lists import parse_filters


class Create(msgspec.Struct):
    type: str
    blob: str
    user_id: str | None = None
    project_id: str | None = None


class Update(msgspec.Struct):
    type: str | msgspec.UnsetType = msgspec.UNSET
    blob: str | msgspec.UnsetType = msgspec.UNSET
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    project_id: str | msgspec.UnsetType | None = msgspec.UNSET


class CreateEc2(msgspec.Struct):
    tenant_id: str


def credential_view(req: Request, found: Credential) -> dict[str, Any]:
    row = found.row
    return {**row.extra, "id": row.id, "user_id": row.user_id, "project_id": row.project_id, "type": row.type,
            "blob": found.blob, "links": link(req, f"credentials/{row.id}")}


class CredentialsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("user_id", "type"))
        found = await domain.list_credentials(self.ks, req.ctx, filters)
        set_list(req, resp, "credentials", [credential_view(req, item) for item in found], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "credential"), Create)
        found = await domain.create_credential(self.ks, req.ctx, kind=body.type, blob=body.blob,
                                               user_id=body.user_id, project_id=body.project_id, extra=extra)
        resp.status = 201
        resp.media = {"credential": credential_view(req, found)}


class CredentialResource(Resource):
    async def on_get(self, req: Request, resp: Response, credential_id: str) -> None:
        found = await domain.get_credential(self.ks, req.ctx, credential_id)
        resp.media = {"credential": credential_view(req, found)}

    async def on_patch(self, req: Request, resp: Response, credential_id: str) -> None:
        body, extra = split(await read(req, "credential"), Update)
        found = await domain.update_credential(self.ks, req.ctx, credential_id, changes(body), extra)
        resp.media = {"credential": credential_view(req, found)}

    async def on_delete(self, req: Request, resp: Response, credential_id: str) -> None:
        await domain.delete_credential(self.ks, req.ctx, credential_id)
        resp.status = 204


def ec2_view(req: Request, found: Credential) -> dict[str, Any]:
    blob = msgspec.json.decode(found.blob)
    user_id = found.row.user_id
    return {"user_id": user_id, "tenant_id": found.row.project_id, "access": blob["access"],
            "secret": blob.get("secret", ""), "trust_id": blob.get("trust_id"),
            "links": link(req, f"users/{user_id}/credentials/OS-EC2/{blob['access']}")}


class Ec2CredentialsResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str) -> None:
        found = await domain.list_ec2(self.ks, req.ctx, user_id)
        set_list(req, resp, "credentials", [ec2_view(req, item) for item in found])

    async def on_post(self, req: Request, resp: Response, user_id: str) -> None:
        body: CreateEc2 = await req.json(CreateEc2)
        found = await domain.create_ec2(self.ks, req.ctx, user_id, body.tenant_id)
        resp.status = 201
        resp.media = {"credential": ec2_view(req, found)}


class Ec2CredentialResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str, access: str) -> None:
        found = await domain.get_ec2(self.ks, req.ctx, user_id, access)
        resp.media = {"credential": ec2_view(req, found)}

    async def on_delete(self, req: Request, resp: Response, user_id: str, access: str) -> None:
        await domain.delete_ec2(self.ks, req.ctx, user_id, access)
        resp.status = 204
