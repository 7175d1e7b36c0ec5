"""What hangs on a volume type: access of projects, encryption records, default types of projects, qos specs."""

from __future__ import annotations

import uuid
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from cloudseed.cinder import volume_types
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import as_type, check_range, check_text, links, read, read_action, read_object, shown
from cloudseed.cinder.api.volume_types import act_on_type
from cloudseed.cinder.errors import QosSpecsNotFound, VolumeTypeNotFound
from cloudseed.cinder.listing import Listing, equals
from cloudseed.cinder.models import (
    default_types,
    qos_specs,
    volume_type_access,
    volume_type_encryption,
    volumes,
)
from cloudseed.cinder.models import volume_types as types_table
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request


class _Base:
    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    def allow(self, req: Request, rule: str) -> None:
        self.cinder.policy.enforce(f"volume_extension:{rule}", req.ctx.identity)


# ---- access

class TypeAccess(_Base):
    """/v3/types/{type_id}/os-volume-type-access"""

    async def on_get(self, req: Request, resp: Response, type_id: str) -> None:
        self.allow(req, "volume_type_access:get_all_for_type")
        async with self.cinder.db.read() as tx:
            kind = await volume_types.get_type(tx, req.ctx, type_id)
            if kind.is_public:
                raise NotFound("Access list not available for public volume types.")
            rows = await tx.scalars(sa.select(volume_type_access.c.project_id).where(
                volume_type_access.c.volume_type_id == type_id).order_by(volume_type_access.c.project_id))
        resp.media = {"volume_type_access": [{"volume_type_id": type_id, "project_id": row} for row in rows]}


class _Project(msgspec.Struct, forbid_unknown_fields=True):
    project: str

    def __post_init__(self) -> None:
        check_text(self.project, "project", minimum=1)


class TypeAction(_Base):
    """/v3/types/{type_id}/action"""

    async def on_post(self, req: Request, resp: Response, type_id: str) -> None:
        name, value = await read_action(req, '{"addProjectAccess": {...}}')
        if name in ("create", "update", "delete"):
            await act_on_type(self.cinder, req, resp, type_id, name, value)
            return
        if name not in ("addProjectAccess", "removeProjectAccess"):
            raise Invalid(f"There is no such action: {shown(name)}")
        self.allow(req, f"volume_type_access:{name}")
        project_id = as_type(value, _Project, name).project
        table, adds = volume_type_access, name == "addProjectAccess"
        mine = sa.and_(table.c.volume_type_id == type_id, table.c.project_id == project_id)
        async with self.cinder.db.write() as tx:
            kind = await volume_types.get_type(tx, req.ctx, type_id)
            if kind.is_public:
                raise Invalid("Type access modification is not applicable to public volume type.")
            known = await tx.scalar(sa.select(table.c.project_id).where(mine))
            if adds and known:
                raise Conflict(f"Volume type access for {type_id} / {project_id} combination already exists.")
            if not adds and not known:
                raise NotFound(f"Volume type access not found for {type_id} / {project_id} combination.")
            await tx.execute(sa.insert(table).values(volume_type_id=type_id, project_id=project_id) if adds else
                             sa.delete(table).where(mine))
        resp.status = 202


# ---- encryption records

class _Encryption(msgspec.Struct):
    provider: str | None = None
    control_location: Literal["front-end", "back-end"] | None = None
    cipher: str | None = None
    key_size: int | None = None

    def __post_init__(self) -> None:
        check_text(self.provider, "provider")
        check_text(self.cipher, "cipher")
        check_range(self.key_size, "key_size", 0)


def _encryption_view(row: Any) -> dict[str, Any]:
    return {"volume_type_id": row.volume_type_id, "encryption_id": row.encryption_id, "provider": row.provider,
            "control_location": row.control_location, "cipher": row.cipher, "key_size": row.key_size,
            "created_at": row.created_at.strftime("%Y-%m-%dT%H:%M:%S.%f"), "updated_at": None, "deleted_at": None,
            "deleted": False}


class TypeEncryption(_Base):
    """/v3/types/{type_id}/encryption: a record of what an operator wishes; volumes of such a type are refused"""

    async def on_get(self, req: Request, resp: Response, type_id: str) -> None:
        self.allow(req, "volume_type_encryption:get")
        async with self.cinder.db.read() as tx:
            await volume_types.get_type(tx, req.ctx, type_id)
            row = (await volume_types.encryptions(tx, [type_id])).get(type_id)
        resp.media = _encryption_view(row) if row is not None else {}

    async def on_post(self, req: Request, resp: Response, type_id: str) -> None:
        self.allow(req, "volume_type_encryption:create")
        order = await read(req, "encryption", _Encryption, strict_from=(99, 0))
        if order.provider is None or order.control_location is None:
            raise Invalid("Invalid input for field/attribute encryption. It needs 'provider' and 'control_location'.")
        async with self.cinder.db.write() as tx:
            await volume_types.get_type(tx, req.ctx, type_id)
            await _check_not_used(tx, type_id, "create")
            if await volume_types.encryptions(tx, [type_id]):
                raise Invalid(f"Volume type encryption for type {type_id} already exists.")
            values = {**msgspec.structs.asdict(order), "encryption_id": str(uuid.uuid4())}
            await tx.execute(sa.insert(volume_type_encryption).values(volume_type_id=type_id, created_at=utcnow(),
                                                                      **values))
        resp.media = {"encryption": {"volume_type_id": type_id, **values}}


async def _check_not_used(tx: Tx, type_id: str, verb: str) -> None:
    if await tx.scalar(sa.select(sa.func.count()).select_from(volumes).where(volumes.c.volume_type_id == type_id)):
        raise Invalid(f"Cannot {verb} encryption specs. Volume type in use.")


class TypeEncryptionItem(_Base):
    """/v3/types/{type_id}/encryption/{key}: GET a field; PUT and DELETE the whole, by its id"""

    async def _row(self, tx: Tx, req: Request, type_id: str) -> Any:
        await volume_types.get_type(tx, req.ctx, type_id)
        row = (await volume_types.encryptions(tx, [type_id])).get(type_id)
        if row is None:
            raise NotFound(f"Volume type encryption for type {type_id} does not exist.")
        return row

    async def on_get(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        self.allow(req, "volume_type_encryption:get")
        async with self.cinder.db.read() as tx:
            view = _encryption_view(await self._row(tx, req, type_id))
        if key not in view:
            raise NotFound(f"Volume type encryption for type {type_id} does not exist.")
        resp.media = {key: view[key]}

    async def on_put(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        self.allow(req, "volume_type_encryption:update")
        order = await read(req, "encryption", _Encryption, strict_from=(99, 0))
        changes = {name: value for name, value in msgspec.structs.asdict(order).items() if value is not None}
        async with self.cinder.db.write() as tx:
            await self._row(tx, req, type_id)
            await _check_not_used(tx, type_id, "update")
            await tx.execute(sa.update(volume_type_encryption).where(
                volume_type_encryption.c.volume_type_id == type_id).values(**changes, updated_at=utcnow()))
        resp.media = {"encryption": changes}

    async def on_delete(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        self.allow(req, "volume_type_encryption:delete")
        async with self.cinder.db.write() as tx:
            row = await self._row(tx, req, type_id)
            if key not in (row.encryption_id, "provider"):
                raise NotFound(f"Volume type encryption {key} for type {type_id} does not exist.")
            await _check_not_used(tx, type_id, "delete")
            await tx.execute(sa.delete(volume_type_encryption).where(
                volume_type_encryption.c.volume_type_id == type_id))
        resp.status = 202


# ---- default types (3.62)

class DefaultTypes(_Base):
    """/v3/default-types"""

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, (3, 62))
        self.allow(req, "default_get_all")
        async with self.cinder.db.read() as tx:
            rows = await tx.all(sa.select(default_types).order_by(default_types.c.project_id))
        resp.media = {"default_types": [{"project_id": row.project_id, "volume_type_id": row.volume_type_id}
                                        for row in rows]}


class _Default(msgspec.Struct, forbid_unknown_fields=True):
    volume_type: str


class DefaultType(_Base):
    """/v3/default-types/{project_id}"""

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        require(req.microversion, (3, 62))
        self.allow(req, "default_get")
        async with self.cinder.db.read() as tx:
            found = await tx.scalar(sa.select(default_types.c.volume_type_id)
                                    .where(default_types.c.project_id == project_id))
        if found is None:
            raise NotFound(f"Default type for project {project_id} not found.")
        resp.media = {"default_type": {"project_id": project_id, "volume_type_id": found}}

    async def on_put(self, req: Request, resp: Response, project_id: str) -> None:
        require(req.microversion, (3, 62))
        self.allow(req, "default_set_or_update")
        order = await read(req, "default_type", _Default)
        await self.cinder.session.request(req.ctx, "identity", "GET", f"/v3/projects/{_id(project_id)}")
        async with self.cinder.db.write() as tx:
            kind = await volume_types.find_type(tx, req.ctx, order.volume_type)
            await tx.execute(sa.delete(default_types).where(default_types.c.project_id == project_id))
            await tx.execute(sa.insert(default_types).values(project_id=project_id, volume_type_id=kind.id))
        resp.media = {"default_type": {"project_id": project_id, "volume_type_id": kind.id}}

    async def on_delete(self, req: Request, resp: Response, project_id: str) -> None:
        require(req.microversion, (3, 62))
        self.allow(req, "default_unset")
        async with self.cinder.db.write() as tx:
            await tx.execute(sa.delete(default_types).where(default_types.c.project_id == project_id))
        resp.status = 204


def _id(text: str) -> str:
    if not (1 <= len(text) <= 64 and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)):
        raise NotFound(f"Project {shown(text)} could not be found.")
    return text


# ---- qos specs

QOS_LISTING = Listing(qos_specs, {key: qos_specs.c[key] for key in ("id", "name", "consumer", "created_at")},
                      lambda marker: QosSpecsNotFound(specs_id=marker))
CONSUMERS = ("front-end", "back-end", "both")


async def _qos(tx: Tx, specs_id: str) -> Any:
    row = await tx.first(sa.select(qos_specs).where(qos_specs.c.id == specs_id))
    if row is None:
        raise QosSpecsNotFound(specs_id=specs_id)
    return row


def _qos_view(row: Any) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "consumer": row.consumer, "specs": row.specs}


def _texts(value: Any) -> dict[str, str]:
    """Specs of a body: an object of short texts or numbers."""
    found: dict[str, str] = as_type(value, dict[str, str | int | float], "qos_specs")
    try:
        for key, item in found.items():
            check_text(key, "qos_specs' key", minimum=1)
            check_text(str(item), f"qos_specs {shown(key)}")
    except ValueError as exc:
        raise Invalid(f"{exc}.") from None
    return {key: str(item) for key, item in found.items()}


class QosSpecs(_Base):
    """/v3/qos-specs"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.allow(req, "qos_specs_manage:get_all")
        query = lists.parse(req, {key: equals(qos_specs.c[key]) for key in ("id", "name", "consumer")})
        async with self.cinder.db.read() as tx:
            rows = await QOS_LISTING.rows(tx, query.page, query.where)
        resp.media = lists.answer(req, "qos_specs", query, rows, [_qos_view(row) for row in rows])

    async def on_post(self, req: Request, resp: Response) -> None:
        self.allow(req, "qos_specs_manage:create")
        specs = _texts((await read_object(req, "qos_specs"))["qos_specs"])
        name, consumer = specs.pop("name", "").strip(), specs.pop("consumer", "back-end")
        if not name:
            raise Invalid("Invalid input for field/attribute name. It must not be empty.")
        if consumer not in CONSUMERS:
            raise Invalid(f"Invalid input for field/attribute consumer. It must be one of {', '.join(CONSUMERS)}.")
        async with self.cinder.db.write() as tx:
            if await tx.scalar(sa.select(qos_specs.c.id).where(qos_specs.c.name == name)):
                raise Conflict(f"QoS Specs {name} already exists.")
            specs_id = str(uuid.uuid4())
            await tx.execute(sa.insert(qos_specs).values(id=specs_id, name=name, consumer=consumer, specs=specs,
                                                         created_at=utcnow()))
            row = await _qos(tx, specs_id)
        resp.media = {"qos_specs": _qos_view(row), "links": links(req, "qos-specs", specs_id)}


class QosSpec(_Base):
    """/v3/qos-specs/{specs_id}"""

    async def on_get(self, req: Request, resp: Response, specs_id: str) -> None:
        self.allow(req, "qos_specs_manage:get")
        async with self.cinder.db.read() as tx:
            row = await _qos(tx, specs_id)
        resp.media = {"qos_specs": _qos_view(row), "links": links(req, "qos-specs", specs_id)}

    async def on_put(self, req: Request, resp: Response, specs_id: str) -> None:
        self.allow(req, "qos_specs_manage:update")
        given = _texts((await read_object(req, "qos_specs"))["qos_specs"])
        specs = dict(given)
        consumer = specs.pop("consumer", None)
        if consumer is not None and consumer not in CONSUMERS:
            raise Invalid(f"Invalid input for field/attribute consumer. It must be one of {', '.join(CONSUMERS)}.")
        async with self.cinder.db.write() as tx:
            row = await _qos(tx, specs_id)
            await tx.execute(sa.update(qos_specs).where(qos_specs.c.id == specs_id).values(
                consumer=consumer or row.consumer, specs={**row.specs, **specs}, updated_at=utcnow()))
        resp.media = {"qos_specs": given}

    async def on_delete(self, req: Request, resp: Response, specs_id: str) -> None:
        self.allow(req, "qos_specs_manage:delete")
        force = req.bool_param("force")
        async with self.cinder.db.write() as tx:
            await _qos(tx, specs_id)
            users = types_table.c.qos_specs_id == specs_id
            if not force and await tx.scalar(sa.select(sa.func.count()).select_from(types_table).where(users)):
                raise Invalid("Qos specs still in use.")
            await tx.execute(sa.update(types_table).where(users).values(qos_specs_id=None))
            await tx.execute(sa.delete(qos_specs).where(qos_specs.c.id == specs_id))
        resp.status = 202


class QosSpecKeys(_Base):
    """/v3/qos-specs/{specs_id}/delete_keys"""

    async def on_put(self, req: Request, resp: Response, specs_id: str) -> None:
        self.allow(req, "qos_specs_manage:delete")
        keys: list[str] = as_type((await read_object(req, "keys"))["keys"], list[str], "keys")
        async with self.cinder.db.write() as tx:
            row = await _qos(tx, specs_id)
            for key in keys:
                if key not in row.specs:
                    raise NotFound(f"QoS spec {specs_id} has no spec with key {shown(key)}.")
            rest = {key: value for key, value in row.specs.items() if key not in keys}
            await tx.execute(sa.update(qos_specs).where(qos_specs.c.id == specs_id)
                             .values(specs=rest, updated_at=utcnow()))
        resp.status = 202


class QosSpecAssociations(_Base):
    """/v3/qos-specs/{specs_id}/associations: which types have them; associate, disassociate, disassociate_all"""

    async def on_get(self, req: Request, resp: Response, specs_id: str, verb: str) -> None:
        if verb not in ("associations", "associate", "disassociate", "disassociate_all"):
            raise NotFound()
        self.allow(req, f"qos_specs_manage:{'get_all' if verb == 'associations' else 'update'}")
        table = types_table
        if verb == "associations":
            async with self.cinder.db.read() as tx:
                await _qos(tx, specs_id)
                rows = await tx.all(sa.select(table.c.id, table.c.name).where(table.c.qos_specs_id == specs_id))
            resp.media = {"qos_associations": [{"association_type": "volume_type", "name": row.name, "id": row.id}
                                               for row in rows]}
            return
        type_id = req.text_param("vol_type_id")
        if verb != "disassociate_all" and not type_id:
            raise Invalid("Volume Type id must not be None.")
        async with self.cinder.db.write() as tx:
            await _qos(tx, specs_id)
            if verb == "disassociate_all":
                await tx.execute(sa.update(table).where(table.c.qos_specs_id == specs_id).values(qos_specs_id=None))
            else:
                kind = await volume_types.get_type(tx, req.ctx, str(type_id))
                if verb == "associate" and kind.qos_specs_id not in (None, specs_id):
                    raise Invalid(f"Volume type {type_id} is already associated with another qos specs: "
                                  f"{kind.qos_specs_id}")
                if verb == "disassociate" and kind.qos_specs_id != specs_id:
                    raise VolumeTypeNotFound(f"Volume type {type_id} has no such qos specs.")
                await tx.execute(sa.update(table).where(table.c.id == type_id).values(
                    qos_specs_id=specs_id if verb == "associate" else None))
        resp.status = 202


