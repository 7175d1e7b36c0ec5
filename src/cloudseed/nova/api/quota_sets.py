"""/os-quota-sets, /os-quota-class-sets and /limits"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import CloudseedError, Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import quotas
from cloudseed.nova.api.body import MAX_INT, as_type, check_query, read_whole, shown

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_GROUPS = ("server_groups", "server_group_members")


def resources(version: tuple[int, int], *, of_class: bool = False) -> list[str]:
    """The resources that a version knows."""
    names = [name for name in quotas.DEFAULTS if version < (2, 57) or name not in _FILES]
    if of_class and version < (2, 50):
        names = [name for name in names if name not in _GROUPS]
    if version < ((2, 50) if of_class else (2, 36)):
        names += quotas.NETWORK_RESOURCES
    return sorted(names)


def view(limits: dict[str, int], names: list[str], id: str | None = None) -> dict[str, Any]:
    return {**({"id": id} if id is not None else {}), **{name: limits.get(name, -1) for name in names}}


def read_limits(value: Any, names: list[str], where: str, extra: tuple[str, ...] = ()) -> dict[str, int]:
    """Limits of a body: -1 to 2^31-1, as numbers or digits."""
    if not isinstance(value, dict):
        raise Invalid(f"Invalid input for field/attribute {where}. It must be an object.")
    limits: dict[str, int] = {}
    for name, raw in value.items():
        if name in extra:
            continue
        if name not in names:
            raise Invalid(f"Invalid input for field/attribute {where}. Additional properties are not allowed "
                          f"({shown(name)} was unexpected)")
        number = as_type(raw, int, name)
        if isinstance(raw, bool) or not -1 <= number <= MAX_INT:
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {shown(raw)}. It must be an integer from "
                          f"-1 to {MAX_INT}.")
        limits[name] = number
    return limits


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def check_project(self, req: Request, project_id: str) -> None:
        """A project that keystone does not know is refused; where it may not be asked, the id is believed."""
        if project_id == req.ctx.project_id:
            return
        if not (1 <= len(project_id) <= 64 and all(c.isascii() and (c.isalnum() or c in "-_") for c in project_id)):
            raise Invalid(f"Project ID {shown(project_id)} is not a valid project.")
        try:
            await self.nova.api_session.request(req.ctx, "identity", "GET", f"/v3/projects/{project_id}", as_user=True)
        except NotFound:
            raise Invalid(f"Project ID {project_id} is not a valid project.") from None
        except CloudseedError:
            return

    def allow(self, req: Request, action: str, project_id: str) -> None:
        self.nova.policy.enforce(f"os_compute_api:os-quota-sets:{action}", req.ctx.identity,
                                 {"project_id": project_id})

    def user(self, req: Request) -> str | None:
        check_query(req, ("user_id",), since=(2, 75))
        return req.text_param("user_id") or None


class QuotaSet(_Base):
    """/v2.1/os-quota-sets/{project_id}"""

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "show", project_id)
        user_id = self.user(req)
        await self.check_project(req, project_id)
        async with self.nova.db.read() as tx:
            limits = await quotas.get_limits(tx, project_id, user_id)
        resp.media = {"quota_set": view(limits, resources(req.microversion), project_id)}

    async def on_put(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "update", project_id)
        user_id = self.user(req)
        value = (await read_whole(req, "quota_set"))["quota_set"]
        names = resources(req.microversion)
        limits = read_limits(value, names, "quota_set", ("force", "tenant_id"))
        await self.check_project(req, project_id)
        force = as_type(value.get("force", False), bool, "force")
        found = await quotas.update_quota(self.nova, project_id, user_id, limits, force=force)
        resp.media = {"quota_set": view(found, names)}

    async def on_delete(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "delete", project_id)
        await quotas.delete_quota(self.nova, project_id, self.user(req))
        resp.status = 202


class QuotaSetDetail(_Base):
    """/v2.1/os-quota-sets/{project_id}/detail"""

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "detail", project_id)
        user_id = self.user(req)
        await self.check_project(req, project_id)
        async with self.nova.db.read() as tx:
            limits = await quotas.get_limits(tx, project_id, user_id)
            used = await quotas.get_usage_by_resource(tx, project_id, user_id)
        resp.media = {"quota_set": {"id": project_id, **{
            name: {"limit": limits.get(name, -1), "in_use": used.get(name, 0), "reserved": 0}
            for name in resources(req.microversion)}}}


class QuotaSetDefaults(_Base):
    """/v2.1/os-quota-sets/{project_id}/defaults"""

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "defaults", project_id)
        await self.check_project(req, project_id)
        async with self.nova.db.read() as tx:
            limits = await quotas.get_limits(tx, None)
        resp.media = {"quota_set": view(limits, resources(req.microversion), project_id)}


class QuotaClassSet(_Base):
    """/v2.1/os-quota-class-sets/{class_id}: "default" holds the defaults of all projects"""

    async def on_get(self, req: Request, resp: Response, class_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-quota-class-sets:show", req.ctx.identity)
        async with self.nova.db.read() as tx:
            limits = await quotas.get_limits(tx, None)
        resp.media = {"quota_class_set": view(limits, resources(req.microversion, of_class=True), class_id)}

    async def on_put(self, req: Request, resp: Response, class_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-quota-class-sets:update", req.ctx.identity)
        names = resources(req.microversion, of_class=True)
        limits = read_limits((await read_whole(req, "quota_class_set"))["quota_class_set"], names, "quota_class_set")
        if class_id != "default":
            raise Invalid(f"Quota class {shown(class_id)} is not known: only default is.")
        async with self.nova.db.write() as tx:
            await quotas.set_limits(tx, quotas.CLASS, {name: limit for name, limit in limits.items()
                                                       if name in quotas.DEFAULTS})
            found = await quotas.get_limits(tx, None)
        resp.media = {"quota_class_set": view(found, names)}


# the names that GET /limits gives to limits, with the version from which each is gone
_LIMITS: dict[str, tuple[str, tuple[int, int]]] = {
    "maxTotalCores": ("cores", (9, 0)), "maxPersonality": ("injected_files", (2, 57)),
    "maxPersonalitySize": ("injected_file_content_bytes", (2, 57)), "maxTotalInstances": ("instances", (9, 0)),
    "maxTotalKeypairs": ("key_pairs", (9, 0)), "maxServerMeta": ("metadata_items", (9, 0)),
    "maxImageMeta": ("metadata_items", (2, 39)), "maxTotalRAMSize": ("ram", (9, 0)),
    "maxServerGroups": ("server_groups", (9, 0)), "maxServerGroupMembers": ("server_group_members", (9, 0)),
    "maxTotalFloatingIps": ("floating_ips", (2, 36)), "maxSecurityGroups": ("security_groups", (2, 36)),
    "maxSecurityGroupRules": ("security_group_rules", (2, 36))}
_USED: dict[str, tuple[str, tuple[int, int]]] = {
    "totalRAMUsed": ("ram", (9, 0)), "totalCoresUsed": ("cores", (9, 0)), "totalInstancesUsed": ("instances", (9, 0)),
    "totalFloatingIpsUsed": ("floating_ips", (2, 36)), "totalSecurityGroupsUsed": ("security_groups", (2, 36)),
    "totalServerGroupsUsed": ("server_groups", (9, 0))}


class Limits(_Base):
    """/v2.1/limits"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:limits", req.ctx.identity)
        check_query(req, ("tenant_id", "reserved"), since=(2, 75))
        project_id = req.ctx.project_id
        other = req.text_param("tenant_id")
        if other and other != project_id:
            self.nova.policy.enforce("os_compute_api:limits:other_project", req.ctx.identity, {"project_id": other})
            project_id = other
        async with self.nova.db.read() as tx:
            limits = await quotas.get_limits(tx, project_id)
            used = await quotas.get_usage_by_resource(tx, project_id)
        version = req.microversion
        resp.media = {"limits": {"rate": [], "absolute": {
            **{name: limits.get(resource, -1) for name, (resource, gone) in _LIMITS.items() if version < gone},
            **{name: used.get(resource, 0) for name, (resource, gone) in _USED.items() if version < gone}}}}
