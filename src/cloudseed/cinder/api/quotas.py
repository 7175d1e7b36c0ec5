"""/v3/os-quota-sets, /v3/os-quota-class-sets and /v3/limits"""

from __future__ import annotations

from typing import Any

from cloudseed.cinder import quotas
from cloudseed.cinder.api.body import MAX_INT, as_type, is_admin, read_object, shown
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.errors import CloudseedError, Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request


def _read(value: Any, known: dict[str, int], where: str) -> dict[str, int]:
    """Limits of a body: -1 to 2^31-1, as numbers or digits."""
    if not isinstance(value, dict):
        raise Invalid(f"Invalid input for field/attribute {where}. It must be an object.")
    limits = {}
    for name, raw in value.items():
        if name in ("tenant_id", "force", "class_name", "id"):
            continue
        number = as_type(raw, int, name)
        if isinstance(raw, bool) or not -1 <= number <= MAX_INT:
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {shown(raw)}. It must be an integer from "
                          f"-1 to {MAX_INT}.")
        if name in known:  # upstream ignores the others
            limits[name] = number
    return limits


class _Base:
    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    def allow(self, req: Request, action: str, project_id: str) -> None:
        self.cinder.policy.enforce(f"volume_extension:quotas:{action}", req.ctx.identity, {"project_id": project_id})

    async def check_project(self, req: Request, project_id: str) -> None:
        """A project that keystone does not know is refused; where it may not be asked, the id is believed."""
        if project_id == req.ctx.project_id:
            return
        if not (1 <= len(project_id) <= 64 and all(c.isascii() and (c.isalnum() or c in "-_") for c in project_id)):
            raise Invalid(f"Project ID {shown(project_id)} is not a valid project.")
        try:
            await self.cinder.session.request(req.ctx, "identity", "GET", f"/v3/projects/{project_id}", as_user=True)
        except NotFound:
            raise Invalid(f"Project ID {project_id} is not a valid project.") from None
        except CloudseedError:
            return


class QuotaSet(_Base):
    """/v3/os-quota-sets/{project_id}"""

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "show", project_id)
        usage = req.bool_param("usage")
        async with self.cinder.db.read() as tx:
            limits = await quotas.get_limits(tx, project_id)
            used = await quotas.get_usage(tx, project_id) if usage else {}
        values: dict[str, Any] = {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
                                  for name, limit in limits.items()} if usage else limits
        resp.media = {"quota_set": {"id": project_id, **values}}

    async def on_put(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "update", project_id)
        value = (await read_object(req, "quota_set"))["quota_set"]
        await self.check_project(req, project_id)
        async with self.cinder.db.write() as tx:
            wanted = _read(value, await quotas.get_limits(tx, project_id), "quota_set")
            used = await quotas.get_usage(tx, project_id)
            for name, limit in wanted.items():
                if 0 <= limit < used.get(name, 0):
                    raise Invalid(f"Quota {name} limit must be equal or greater than existing resources. Current usage "
                                  f"is {used[name]} and the requested limit is {limit}.")
            await quotas.set_limits(tx, project_id, wanted)
            resp.media = {"quota_set": await quotas.get_limits(tx, project_id)}

    async def on_delete(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "delete", project_id)
        async with self.cinder.db.write() as tx:
            await quotas.delete_limits(tx, project_id)


class QuotaSetDefaults(_Base):
    """/v3/os-quota-sets/{project_id}/defaults"""

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        self.allow(req, "show", project_id)
        async with self.cinder.db.read() as tx:
            resp.media = {"quota_set": {"id": project_id, **await quotas.get_limits(tx, None)}}


class QuotaClassSet(_Base):
    """/v3/os-quota-class-sets/{class_id}: "default" holds the defaults of all projects"""

    async def on_get(self, req: Request, resp: Response, class_id: str) -> None:
        self.cinder.policy.enforce("volume_extension:quota_classes:get", req.ctx.identity)
        async with self.cinder.db.read() as tx:
            resp.media = {"quota_class_set": {"id": class_id, **await quotas.get_limits(tx, None)}}

    async def on_put(self, req: Request, resp: Response, class_id: str) -> None:
        self.cinder.policy.enforce("volume_extension:quota_classes:update", req.ctx.identity)
        value = (await read_object(req, "quota_class_set"))["quota_class_set"]
        if class_id != "default":
            raise Invalid(f"Quota class {shown(class_id)} is not known: only default is.")
        async with self.cinder.db.write() as tx:
            await quotas.set_limits(tx, quotas.CLASS, _read(value, await quotas.get_limits(tx, None),
                                                            "quota_class_set"))
            resp.media = {"quota_class_set": await quotas.get_limits(tx, None)}


_LIMITS = {"maxTotalVolumes": "volumes", "maxTotalVolumeGigabytes": "gigabytes", "maxTotalSnapshots": "snapshots",
           "maxTotalBackups": "backups", "maxTotalBackupGigabytes": "backup_gigabytes"}
_USED = {"totalVolumesUsed": "volumes", "totalGigabytesUsed": "gigabytes", "totalSnapshotsUsed": "snapshots",
         "totalBackupsUsed": "backups", "totalBackupGigabytesUsed": "backup_gigabytes"}


class Limits(_Base):
    """/v3/limits"""

    async def on_get(self, req: Request, resp: Response) -> None:
        project_id = req.ctx.project_id
        if is_admin(req) and req.microversion >= (3, 39):
            project_id = req.text_param("project_id") or req.text_param("tenant_id") or project_id
        async with self.cinder.db.read() as tx:
            limits = await quotas.get_limits(tx, project_id)
            used = await quotas.get_usage(tx, project_id)
        absolute = {name: limits[resource] for name, resource in _LIMITS.items()}
        if self.cinder.policy.check("limits_extension:used_limits", req.ctx.identity,
                                    {"project_id": req.ctx.identity.project_id}):
            absolute |= {name: used[resource] for name, resource in _USED.items()}
        resp.media = {"limits": {"rate": [], "absolute": absolute}}
