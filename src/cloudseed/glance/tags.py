"""Tags one at a time, and the switch that makes an image's bytes unavailable."""

from __future__ import annotations

import msgspec

from cloudseed.glance import image_states
from cloudseed.glance.images import Glance, find_image, save_image, target
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Forbidden, Invalid, NotFound


async def add_tag(glance: Glance, ctx: Context, image_id: str, tag: str) -> None:
    if len(tag) > 255 or not tag.isprintable():
        raise Invalid("A tag is at most 255 printable characters.")
    await _change(glance, ctx, image_id, tag, add=True)


async def delete_tag(glance: Glance, ctx: Context, image_id: str, tag: str) -> None:
    """Raises NotFound for a tag that the image has not."""
    await _change(glance, ctx, image_id, tag, add=False)


async def _change(glance: Glance, ctx: Context, image_id: str, tag: str, *, add: bool) -> None:
    async with glance.db.write() as tx:
        image, member = await find_image(tx, ctx, image_id)
        glance.policy.enforce("modify_image", ctx.identity, target(image, member))
        if not add and tag not in image.tags:
            raise NotFound()
        words = {*image.tags, tag} if add else set(image.tags) - {tag}
        await save_image(glance, ctx, tx, image, msgspec.structs.replace(image, tags=sorted(words)))


async def set_active(glance: Glance, ctx: Context, image_id: str, active: bool) -> None:
    """Deactivate (the bytes are for administrators alone then) or reactivate; doing it again is fine."""
    verb, old, new = ("reactivate", "deactivated", "active") if active else ("deactivate", "active", "deactivated")
    async with glance.db.write() as tx:
        image, member = await find_image(tx, ctx, image_id)
        glance.policy.enforce(verb, ctx.identity, target(image, member))
        if image.status not in (old, new):
            raise Forbidden(f"Not allowed to {verb} image in status '{image.status}'")
        if image.status == old:
            await image_states.require_move(tx, image_id, (old,), new)
