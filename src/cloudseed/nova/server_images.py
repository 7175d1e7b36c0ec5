"""The image that a server boots from, as glance has it: exists, usable, how big, with which properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Forbidden, Invalid, NotFound

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


# kept with the properties for who builds and rebuilds the server; no properties to its user
BASE = frozenset({"base_image_ref", "container_format", "disk_format", "min_disk", "min_ram"})


class BootImage(msgspec.Struct, frozen=True):
    """`properties`: what a server keeps of it: custom properties, formats and minima, as strings."""

    id: str
    size_bytes: int
    min_disk_gib: int
    min_ram_mib: int
    properties: dict[str, str]


async def get_boot_image(nova: Nova, ctx: Context, image_id: str) -> BootImage:
    """The image, if the user may see it and it is active.  Raises Invalid with upstream's texts."""
    try:
        image = await nova.api_session.get_json(ctx, "image", f"/v2/images/{image_id}", as_user=True)
    except (NotFound, Forbidden):
        raise Invalid("Can not find requested image") from None
    if image.get("status") != "active":
        raise Invalid(f"Image {image_id} is not active.")
    schema = await nova.api_session.get_json(ctx, "image", "/v2/schemas/image", as_user=True)
    return describe(image, schema)


def describe(image: dict[str, Any], schema: dict[str, Any]) -> BootImage:
    """Pure: what the schema calls base attributes are no properties; all else is."""
    base = {name for name, rule in schema.get("properties", {}).items() if rule.get("is_base", True)}
    known = base | {"self", "file", "schema", "links", "direct_url", "locations", "stores", "checksum", "os_hash_algo",
                    "os_hash_value", "os_hidden", "id", "name", "status", "tags", "owner", "visibility",
                    "created_at", "updated_at", "size", "virtual_size", "protected"}
    properties = {name: str(value) for name, value in image.items()
                  if name not in known and value is not None and not isinstance(value, dict | list)}
    properties |= {"base_image_ref": image["id"], "container_format": str(image.get("container_format")),
                   "disk_format": str(image.get("disk_format")), "min_disk": str(image.get("min_disk") or 0),
                   "min_ram": str(image.get("min_ram") or 0)}
    return BootImage(id=image["id"], size_bytes=image.get("size") or 0, min_disk_gib=image.get("min_disk") or 0,
                     min_ram_mib=image.get("min_ram") or 0, properties=properties)
