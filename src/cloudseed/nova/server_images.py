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


async def get_boot_image(nova: Nova, ctx: Context, image_id: str,
                         missing: str = "Can not find requested image") -> BootImage:
    """The image, if the user may see it and it is active.  Raises Invalid with upstream's texts."""
    try:
        image = await nova.api_session.get_json(ctx, "image", f"/v2/images/{image_id}", as_user=True)
    except (NotFound, Forbidden):
        raise Invalid(missing) from None
    if image.get("status") != "active":
        raise Invalid(f"Image {image_id} is not active.")
    schema = await nova.api_session.get_json(ctx, "image", "/v2/schemas/image", as_user=True)
    return describe(image, schema)


def custom_properties(image: dict[str, Any], schema: dict[str, Any]) -> dict[str, str]:
    """Pure: what the schema calls base attributes are no properties; all else is."""
    base = {name for name, rule in schema.get("properties", {}).items() if rule.get("is_base", True)}
    known = base | {"self", "file", "schema", "links", "direct_url", "locations", "stores", "checksum", "os_hash_algo",
                    "os_hash_value", "os_hidden", "id", "name", "status", "tags", "owner", "visibility",
                    "created_at", "updated_at", "size", "virtual_size", "protected"}
    return {name: str(value) for name, value in image.items()
            if name not in known and value is not None and not isinstance(value, dict | list)}


def describe(image: dict[str, Any], schema: dict[str, Any]) -> BootImage:
    """Pure: an image of glance as a server boots from it."""
    properties = custom_properties(image, schema)
    properties |= {"base_image_ref": image["id"], "container_format": str(image.get("container_format")),
                   "disk_format": str(image.get("disk_format")), "min_disk": str(image.get("min_disk") or 0),
                   "min_ram": str(image.get("min_ram") or 0)}
    return BootImage(id=image["id"], size_bytes=image.get("size") or 0, min_disk_gib=image.get("min_disk") or 0,
                     min_ram_mib=image.get("min_ram") or 0, properties=properties)


# what cinder keeps of an image beside its properties
_BASIC = ("image_id", "image_name", "size", "checksum", "container_format", "disk_format", "min_ram", "min_disk",
          "signature_verified")


def describe_volume(volume: dict[str, Any]) -> BootImage:
    """A volume to boot from, as the image that it was made of: its properties and minima, and the volume's size."""
    kept = volume.get("volume_image_metadata") or {}

    def number(name: str) -> int:
        value = str(kept.get(name) or 0)
        return int(value) if value.isdecimal() else 0

    properties = {name: str(value) for name, value in kept.items() if name not in _BASIC}
    properties |= {"base_image_ref": str(kept.get("image_id") or ""), "min_disk": str(volume.get("size") or 0),
                   "min_ram": str(number("min_ram"))}
    return BootImage(id=str(kept.get("image_id") or ""), size_bytes=int(volume.get("size") or 0) * 2**30,
                     min_disk_gib=number("min_disk"), min_ram_mib=number("min_ram"), properties=properties)
