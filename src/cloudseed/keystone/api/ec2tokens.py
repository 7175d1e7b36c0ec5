"""POST /v3/ec2tokens and /v3/s3tokens"""

from __future__ import annotations

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import ec2tokens, signatures
from cloudseed.keystone.api.resource import Resource
from cloudseed.keystone.authentication import Issued
from cloudseed.keystone.errors import Missing


class Ec2Request(msgspec.Struct):
    access: str
    signature: str
    host: str = ""
    verb: str = "GET"
    path: str = "/"
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    body_hash: str = ""


class S3Request(msgspec.Struct):
    access: str
    signature: str
    token: str


class _Ec2Body(msgspec.Struct):
    credentials: Ec2Request | None = None
    ec2_credentials: Ec2Request | None = msgspec.field(default=None, name="ec2Credentials")


class _S3Body(msgspec.Struct):
    credentials: S3Request


def _answer(resp: Response, issued: Issued) -> None:
    resp.set_header("X-Subject-Token", issued.token)
    resp.content_type = "application/json"
    resp.data = issued.meaning.body


class Ec2TokensResource(Resource):
    async def on_post(self, req: Request, resp: Response) -> None:
        body: _Ec2Body = await req.json(_Ec2Body)
        signed = body.credentials or body.ec2_credentials
        if signed is None:
            raise Missing("credentials", "ec2Credentials")

        def is_signed(secret: str) -> bool:
            return signatures.is_fresh(signed.params, signed.headers) and signatures.check_ec2(
                secret, signature=signed.signature, host=signed.host, verb=signed.verb, path=signed.path,
                params=signed.params, headers=signed.headers, body_hash=signed.body_hash)

        _answer(resp, await ec2tokens.issue(self.ks, req.ctx, "ec2tokens_validate", signed.access, is_signed))


class S3TokensResource(Resource):
    async def on_post(self, req: Request, resp: Response) -> None:
        body: _S3Body = await req.json(_S3Body)
        signed = body.credentials
        _answer(resp, await ec2tokens.issue(
            self.ks, req.ctx, "s3tokens_validate", signed.access,
            lambda secret: signatures.check_s3(secret, signed.token, signed.signature)))
