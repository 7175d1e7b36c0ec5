"""What cinder asks of glance, with the user's own token: which image, may it be a volume of this size."""

from __future__ import annotations

import re
from typing import Any

from cloudseed.cinder.errors import InvalidInput
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Conflict, Forbidden, Invalid, NotFound, Unavailable

GIB = 1 << 30
_ID = re.compile(r"^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$")
# fields of an image that are not properties of it
_NOT_PROPERTIES = frozenset({
    "id", "name", "status", "owner", "visibility", "protected", "tags", "self", "file", "schema", "locations",
    "created_at", "updated_at", "direct_url", "virtual_size", "os_hidden", "os_hash_algo", "os_hash_value",
    "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size", "stores"})
# fields that a volume remembers of its image, beside the properties; upstream's list
_KEPT = ("checksum", "container_format", "disk_format", "min_disk", "min_ram", "size")


async def find_image(cinder: Cinder, ctx: Context, reference: str) -> dict[str, Any]:
    """An image by id, by a URL that ends in its id, or by name.  Raises Invalid, Conflict for a name of several."""
    name = reference.rsplit("/", 1)[-1]
    if _ID.match(name):
        try:
            image: dict[str, Any] = await cinder.session.get_json(ctx, "image", f"/v2/images/{name}", as_user=True)
            return image
        except (NotFound, Invalid, Forbidden):
            pass
    try:
        found = await cinder.session.get_json(ctx, "image", "/v2/images", params={"name": reference}, as_user=True)
    except Unavailable:
        raise
    except CloudseedError:
        found = {"images": []}
    if len(found["images"]) > 1:
        raise Conflict(f"Multiple matches found for '{reference}', use an ID to be more specific.")
    if not found["images"]:
        raise Invalid("Invalid image identifier or unable to access requested image.")
    image = found["images"][0]
    return image


def check_image(image: dict[str, Any], size: int) -> None:
    """Whether an image fits into a volume of `size` GiB.  Raises InvalidInput with the reason."""
    if image["status"] != "active":
        raise InvalidInput(reason=f"Image {image['id']} is not active.")
    for name, text in (("size", "Size of specified image {0}GB is larger than volume size {1}GB."),
                       ("virtual_size", "Image virtual size is {0}GB and doesn't fit in a volume of size {1}GB.")):
        gib = -(-int(image.get(name) or 0) // GIB)
        if gib > size:
            raise InvalidInput(reason=text.format(gib, size))
    if size < int(image.get("min_disk") or 0):
        raise InvalidInput(reason=f"Volume size {size}GB cannot be smaller than the image minDisk size "
                                  f"{image['min_disk']}GB.")


def image_metadata(image: dict[str, Any]) -> dict[str, str]:
    """What a volume made of this image remembers of it."""
    kept = {"image_id": image["id"], "image_name": image.get("name") or ""}
    for key in _KEPT:
        if image.get(key) is not None:
            kept[key] = str(image[key])
    for key, value in image.items():
        if key not in _NOT_PROPERTIES and isinstance(value, str | int | bool):
            kept[key] = str(value)
    return kept
