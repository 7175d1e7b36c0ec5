"""Images' records: reading with the caller's eyes, creating, changing, deleting."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.glance import schemas
from cloudseed.glance.errors import ImageNotFound, TooLarge
from cloudseed.glance.image_states import ALLOWED
from cloudseed.glance.models import images, members, properties, tags
from cloudseed.glance.stores import Stores
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Database, Tx, utcnow
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid
from cloudseed.kernel.operations import Engine
from cloudseed.kernel.policy import Policy

READ_ONLY = frozenset({"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "os_hash_algo",
                       "os_hash_value", "direct_url", "self", "file", "schema", "stores"})
RESERVED = frozenset({"location", "deleted", "deleted_at"})
BASE = frozenset(schemas.IMAGE_PROPERTIES) - {"locations"}
SETTABLE = ("name", "visibility", "owner", "disk_format", "container_format", "min_disk", "min_ram", "protected",
            "os_hidden")


@dataclass
class Limits:
    """Upstream's limits under upstream's names; 0: none, for the quota."""

    image_size_cap: int = 1 << 40  # bytes
    user_storage_quota: int = 0  # bytes of all images of a project
    image_property_quota: int = 128
    image_tag_quota: int = 128
    image_member_quota: int = 128


@dataclass
class Glance:
    """The service: what its functions stand on."""

    db: Database
    policy: Policy
    stores: Stores
    staging: Any  # stores.files.FileImageStore
    engine: Engine
    limits: Limits = field(default_factory=Limits)
    format_enforcement: bool = True
    sources: dict[str, Any] = field(default_factory=dict)  # of uploads in flight, by upload (uploads.py)


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image with its properties and tags.  Sizes in bytes, min_ram in MiB, min_disk in GiB."""

    id: str
    name: str | None
    status: str
    status_since: float
    visibility: str
    owner: str | None
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    min_disk: int
    min_ram: int
    protected: bool
    os_hidden: bool
    location: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime
    deleted_at: datetime.datetime | None
    properties: dict[str, str]
    tags: list[str]


def target(image: Image, member: str | None = None) -> dict[str, Any]:
    """The image as policy rules see it; `member`: the caller's project, when the image is shared with it."""
    return {"project_id": image.owner, "owner": image.owner, "member_id": member, "visibility": image.visibility,
            "image_id": image.id}


# built once: building a statement costs more than running it
_PROPERTIES = sa.select(properties.c.image_id, properties.c.name, properties.c.value).where(
    properties.c.image_id.in_(sa.bindparam("ids", expanding=True)))
_TAGS = sa.select(tags.c.image_id, tags.c.value).where(
    tags.c.image_id.in_(sa.bindparam("ids", expanding=True))).order_by(tags.c.value)
_LIVING = sa.select(images).where(images.c.id == sa.bindparam("this"), images.c.status != "deleted")


async def load(tx: Tx, rows: Sequence[Any]) -> list[Image]:
    """Rows of `images` with their properties and tags: two statements, however many rows."""
    ids = [row.id for row in rows]
    found: dict[str, dict[str, str]] = {image_id: {} for image_id in ids}
    words: dict[str, list[str]] = {image_id: [] for image_id in ids}
    if ids:
        for image_id, name, value in await tx.all(_PROPERTIES, {"ids": ids}):
            found[image_id][name] = value
        for image_id, value in await tx.all(_TAGS, {"ids": ids}):
            words[image_id].append(value)
    return [Image(**row._mapping, properties=found[row.id], tags=words[row.id]) for row in rows]


async def find_image(tx: Tx, ctx: Context, image_id: str) -> tuple[Image, str | None]:
    """The image if the caller may know of it, and the caller's project if it is shared with that.

    Raises ImageNotFound for what does not exist and for what is not the caller's to see, alike.
    """
    row = await tx.first(_LIVING, {"this": image_id})
    if row is None:
        raise ImageNotFound(image_id=image_id)
    member = None
    identity = ctx.identity
    if row.visibility == "shared" and identity.project_id and row.owner != identity.project_id:
        member = await tx.scalar(sa.select(members.c.member).where(
            members.c.image_id == image_id, members.c.member == identity.project_id))
    visible = (row.visibility in ("public", "community") or member is not None or "admin" in identity.roles
               or "service" in identity.roles or (row.owner is not None and row.owner == identity.project_id))
    if not visible:
        raise ImageNotFound(image_id=image_id)
    return (await load(tx, [row]))[0], member


async def get_image(glance: Glance, ctx: Context, image_id: str, rule: str = "get_image") -> Image:
    """The image, if policy `rule` allows.  Raises ImageNotFound, Forbidden."""
    async with glance.db.read() as tx:
        image, member = await find_image(tx, ctx, image_id)
    glance.policy.enforce(rule, ctx.identity, target(image, member))
    return image


def _check_values(glance: Glance, ctx: Context, values: Mapping[str, Any], owner: str | None) -> None:
    """Rules on values, beside the schema."""
    for name in ("min_disk", "min_ram"):
        number = values.get(name, 0)
        if number < 0:
            raise Invalid(f"Invalid value '{number}' for parameter '{name}': Cannot be a negative value")
        if number > 2**31 - 1:
            raise Invalid(f"Invalid value '{number}' for parameter '{name}': Must be at most {2**31 - 1}")
    rules = {"public": "publicize_image", "community": "communitize_image"}
    if values.get("visibility") in rules:
        glance.policy.enforce(rules[values["visibility"]], ctx.identity, {"project_id": owner, "owner": owner})
    if values.get("container_format") in ("ami", "ari", "aki") and values.get("disk_format") not in (
            None, values["container_format"]):
        raise Invalid("Invalid mix of disk and container formats. When setting a disk or container format to one "
                      "of 'aki', 'ari', or 'ami', the container and disk formats must match.")


def check_counts(glance: Glance, custom: Mapping[str, str], words: Iterable[str]) -> None:
    """Raise TooLarge (413) past the limits of properties and tags."""
    if len(custom) > glance.limits.image_property_quota >= 0:
        raise TooLarge(f"The limit has been exceeded on the number of allowed image properties. Attempted: "
                       f"{len(custom)}, Maximum: {glance.limits.image_property_quota}")
    count = len(set(words))
    if count > glance.limits.image_tag_quota >= 0:
        raise TooLarge(f"The limit has been exceeded on the number of allowed image tags. Attempted: {count}, "
                       f"Maximum: {glance.limits.image_tag_quota}")


def check_name(name: str) -> None:
    """Raise Forbidden for a property that nobody may set."""
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith("os_glance"):
        raise Forbidden(f"Attribute '{name}' is reserved.")


async def create_image(glance: Glance, ctx: Context, body: Mapping[str, Any]) -> Image:
    """A new image's record, `queued`.  Raises Invalid, Forbidden, Conflict (the id is or was in use), TooLarge."""
    for name in body:
        check_name(name)
    if "locations" in body:
        raise Forbidden("It's not allowed to add locations if locations are invisible.")
    schemas.check(schemas.IMAGE, body)
    owner = body.get("owner") or ctx.identity.project_id
    values = {name: body[name] for name in SETTABLE if name in body}
    values["owner"] = owner
    glance.policy.enforce("add_image", ctx.identity, {"project_id": owner, "owner": owner, "member_id": None,
                                                      "visibility": values.get("visibility", "shared")})
    _check_values(glance, ctx, values, owner)
    custom = {name: value for name, value in body.items() if name not in BASE}
    words = sorted(set(body.get("tags", ())))
    check_counts(glance, custom, words)
    now = utcnow()
    record = {"visibility": "shared", "min_disk": 0, "min_ram": 0, "protected": False, "os_hidden": False,
              "name": None, "disk_format": None, "container_format": None, **values,
              "id": body.get("id", "").lower() or str(uuid.uuid4()), "status": "queued", "status_since": time.time(),
              "created_at": now, "updated_at": now}
    async with glance.db.write() as tx:
        if await tx.scalar(sa.select(images.c.id).where(images.c.id == record["id"])) is not None:
            raise Conflict(f"Image ID {record['id']} already exists!")
        await tx.execute(sa.insert(images).values(**record))
        await _write_details(tx, record["id"], custom, words)
        row = await tx.first(sa.select(images).where(images.c.id == record["id"]))
        return (await load(tx, [row]))[0]


async def _write_details(tx: Tx, image_id: str, custom: Mapping[str, str], words: Iterable[str]) -> None:
    rows = [{"image_id": image_id, "name": name, "value": value} for name, value in custom.items()]
    if rows:
        await tx.execute(sa.insert(properties), rows)
    labels = [{"image_id": image_id, "value": word} for word in sorted(set(words))]
    if labels:
        await tx.execute(sa.insert(tags), labels)


async def save_image(glance: Glance, ctx: Context, tx: Tx, old: Image, new: Image) -> Image:
    """Write what differs between two versions of an image; the caller has checked the policy for changing it."""
    changed = {name: getattr(new, name) for name in SETTABLE if getattr(new, name) != getattr(old, name)}
    if "owner" in changed and "admin" not in ctx.identity.roles:
        raise Forbidden("Owner can't be updated by non admin.")
    for name in ("disk_format", "container_format"):
        if name in changed and old.status != "queued":
            raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
    if "visibility" in changed or any(name in changed for name in ("min_disk", "min_ram")):
        _check_values(glance, ctx, changed, old.owner)
    _check_values(glance, ctx, {"disk_format": new.disk_format, "container_format": new.container_format}, old.owner)
    check_counts(glance, new.properties if len(new.properties) > len(old.properties) else {},
                 new.tags if len(new.tags) > len(old.tags) else ())
    await tx.execute(sa.update(images).where(images.c.id == old.id).values(**changed, updated_at=utcnow()))
    if new.properties != old.properties:
        await tx.execute(sa.delete(properties).where(properties.c.image_id == old.id))
    if sorted(set(new.tags)) != old.tags:
        await tx.execute(sa.delete(tags).where(tags.c.image_id == old.id))
    await _write_details(tx, old.id, new.properties if new.properties != old.properties else {},
                         new.tags if sorted(set(new.tags)) != old.tags else ())
    row = await tx.first(sa.select(images).where(images.c.id == old.id))
    return (await load(tx, [row]))[0]


async def forget(tx: Tx, image_id: str) -> None:
    """Turn a record into the remains of a deleted image: its id stays taken."""
    now = utcnow()
    await tx.execute(sa.update(images).where(images.c.id == image_id, images.c.status.in_(tuple(ALLOWED)))
                     .values(status="deleted", status_since=time.time(), deleted_at=now, updated_at=now))
    for table in (properties, tags, members):
        await tx.execute(sa.delete(table).where(table.c.image_id == image_id))
