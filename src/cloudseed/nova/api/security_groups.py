"""/os-security-groups and /os-security-group-rules: gone since microversion 2.36, when clients had to ask neutron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import security_groups
from cloudseed.nova.api.body import check_text, is_uuid, read, shown

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

LAST = (2, 35)


class Group(msgspec.Struct):
    name: str
    description: str | None

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_text(self.description, "description")


class Rule(msgspec.Struct):
    parent_group_id: str
    ip_protocol: str | None = None
    from_port: int | str | None = None
    to_port: int | str | None = None
    cidr: str | None = None
    group_id: str | None = None

    def __post_init__(self) -> None:
        for what in ("parent_group_id", "group_id"):
            value = getattr(self, what)
            if value is not None and not is_uuid(value):
                raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. "
                                 f"{shown(value)} is not a 'uuid'")


def _check_id(value: str) -> None:
    if not is_uuid(value):
        raise Invalid("Security group id should be uuid")


class SecurityGroups:
    """/v2.1/os-security-groups"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, maximum=LAST)
        identity = req.ctx.identity
        everybody = req.params.get("all_tenants", "0") in ("1", "true", "True") and "admin" in identity.roles
        groups = await security_groups.list_groups(self.nova, req.ctx, everybody=everybody)
        offset, limit = _number(req, "offset") or 0, _number(req, "limit")
        resp.media = {"security_groups": groups[offset:None if limit is None else offset + limit]}

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, maximum=LAST)
        body = await read(req, "security_group", Group)
        resp.media = {"security_group": await security_groups.create_group(
            self.nova, req.ctx, body.name, body.description)}


class SecurityGroup:
    """/v2.1/os-security-groups/{group_id}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, group_id: str) -> None:
        require(req.microversion, maximum=LAST)
        _check_id(group_id)
        resp.media = {"security_group": await security_groups.get_group(self.nova, req.ctx, group_id)}

    async def on_put(self, req: Request, resp: Response, group_id: str) -> None:
        require(req.microversion, maximum=LAST)
        _check_id(group_id)
        body = await read(req, "security_group", Group)
        resp.media = {"security_group": await security_groups.update_group(
            self.nova, req.ctx, group_id, body.name, body.description)}

    async def on_delete(self, req: Request, resp: Response, group_id: str) -> None:
        require(req.microversion, maximum=LAST)
        _check_id(group_id)
        await security_groups.delete_group(self.nova, req.ctx, group_id)
        resp.status = 202


class SecurityGroupRules:
    """/v2.1/os-security-group-rules"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, maximum=LAST)
        body = await read(req, "security_group_rule", Rule)
        resp.media = {"security_group_rule": await security_groups.create_rule(
            self.nova, req.ctx, body.parent_group_id, protocol=body.ip_protocol, from_port=body.from_port,
            to_port=body.to_port, cidr=body.cidr, remote_group_id=body.group_id)}


class SecurityGroupRule:
    """/v2.1/os-security-group-rules/{rule_id}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_delete(self, req: Request, resp: Response, rule_id: str) -> None:
        require(req.microversion, maximum=LAST)
        _check_id(rule_id)
        await security_groups.delete_rule(self.nova, req.ctx, rule_id)
        resp.status = 202


def _number(req: Request, name: str) -> int | None:
    value: Any = req.params.get(name)
    if value is None:
        return None
    if not (isinstance(value, str) and value.isdigit() and len(value) < 10):
        raise Invalid(f"Invalid input for query parameters {name}. Value: {shown(value)}. It must be a number")
    return int(value)
