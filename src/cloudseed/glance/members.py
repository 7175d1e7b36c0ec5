"""Members: projects that an image is shared with, and what they answered."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.glance.errors import MemberNotFound, TooLarge
from cloudseed.glance.images import Glance, Image, find_image, target
from cloudseed.glance.models import members
from cloudseed.glance.schemas import MEMBER_STATUSES
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid


async def _open(glance: Glance, tx: Tx, ctx: Context, image_id: str, rule: str) -> tuple[Image, str | None]:
    image, member = await find_image(tx, ctx, image_id)
    glance.policy.enforce(rule, ctx.identity, target(image, member))
    return image, member


async def list_members(glance: Glance, ctx: Context, image_id: str) -> list[Any]:
    """All members to the owner; to a member, itself alone."""
    async with glance.db.read() as tx:
        image, member = await _open(glance, tx, ctx, image_id, "get_members")
        if image.visibility != "shared":
            raise Forbidden("Only shared images have members.")
        statement = sa.select(members).where(members.c.image_id == image.id).order_by(members.c.created_at)
        if member is not None and "admin" not in ctx.identity.roles:
            statement = statement.where(members.c.member == member)
        return list(await tx.all(statement))


async def get_member(glance: Glance, ctx: Context, image_id: str, project: str) -> Any:
    async with glance.db.read() as tx:
        image, member = await _open(glance, tx, ctx, image_id, "get_member")
        row = await _find(tx, image.id, project)
    if member is not None and member != project and "admin" not in ctx.identity.roles:
        raise MemberNotFound(member=project, image_id=image_id)
    return row


async def _find(tx: Tx, image_id: str, project: str) -> Any:
    row = await tx.first(sa.select(members).where(members.c.image_id == image_id, members.c.member == project))
    if row is None:
        raise MemberNotFound(member=project, image_id=image_id)
    return row


async def create_member(glance: Glance, ctx: Context, image_id: str, project: str) -> Any:
    """Share the image with a project; its answer is `pending`."""
    if not project or len(project) > 255 or not project.isprintable():
        raise Invalid("The member must be the id of a project: 1 to 255 printable characters.")
    now = utcnow()
    async with glance.db.write() as tx:
        image, _ = await _open(glance, tx, ctx, image_id, "add_member")
        if image.visibility != "shared":
            raise Forbidden("Only shared images have members.")
        known = await tx.scalars(sa.select(members.c.member).where(members.c.image_id == image.id))
        if project in known:
            raise Conflict(f"Member {project} is duplicated for image {image_id}")
        if len(known) >= glance.limits.image_member_quota:
            raise TooLarge("The limit has been exceeded on the number of allowed image members for this image. "
                           f"Attempted: {len(known) + 1}, Maximum: {glance.limits.image_member_quota}")
        await tx.execute(sa.insert(members).values(image_id=image.id, member=project, status="pending",
                                                   created_at=now, updated_at=now))
        return await _find(tx, image.id, project)


async def update_member(glance: Glance, ctx: Context, image_id: str, project: str, status: str) -> Any:
    """The member's answer; the owner cannot give it."""
    if status not in MEMBER_STATUSES:
        raise Invalid(f"Status must be \"pending\", \"accepted\" or \"rejected\": {status!r} is not.")
    async with glance.db.write() as tx:
        image, _ = await find_image(tx, ctx, image_id)
        row = await _find(tx, image.id, project)
        glance.policy.enforce("modify_member", ctx.identity, target(image, row.member))
        await tx.execute(sa.update(members).where(members.c.image_id == image.id, members.c.member == project)
                         .values(status=status, updated_at=utcnow()))
        return await _find(tx, image.id, project)


async def delete_member(glance: Glance, ctx: Context, image_id: str, project: str) -> None:
    async with glance.db.write() as tx:
        image, _ = await _open(glance, tx, ctx, image_id, "delete_member")
        if image.visibility != "shared":
            raise Forbidden("Only shared images have members.")
        await _find(tx, image.id, project)
        await tx.execute(sa.delete(members).where(members.c.image_id == image.id, members.c.member == project))
