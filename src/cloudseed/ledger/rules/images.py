"""Glance's images have their bytes, and its stores hold no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cloudseed.ledger.violations import Item, Picture, Violation, busy, held, rule

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
WITH_BYTES = ("active", "deactivated")


def _objects(picture: Picture) -> dict[str, Item] | None:
    """The objects in which glance keeps images, by name; None when swift is not in the picture."""
    objects = held(picture, "swift", "objects")
    return None if objects is None else {o["name"]: o for o in objects
                                         if o["container"] == "glance" and UUID.match(o["name"])}


def _files(picture: Picture, name: str) -> dict[str, Any]:
    part = picture.get("glance")
    found = part.get(name) if isinstance(part, dict) else None
    return found if isinstance(found, dict) else {}


@rule
def images_have_their_bytes(picture: Picture) -> Iterator[Violation]:
    """An active image's location exists in its store, with the image's size."""
    objects, files = _objects(picture), _files(picture, "files")
    for image in held(picture, "glance", "images") or []:
        if image["status"] not in WITH_BYTES or image["id"] in busy(picture) or not image["location"]:
            continue
        scheme, _, path = image["location"].partition("://")
        key = path.rpartition("/")[2]
        size: int | None
        if scheme == "swift":
            if objects is None:
                continue
            size = objects[key]["size"] if key in objects else None
        else:
            size = files.get(key)
        if size is None:
            yield Violation(
                "image-bytes-missing", image["id"],
                f"image is {image['status']} but nothing lies at {image['location']}",
                f"upload it anew under another id, then openstack image delete {image['id']}",
            )  # fmt: skip
        elif size != image["size"]:
            yield Violation(
                "image-size", image["id"],
                f"image has {image['size']} bytes but {image['location']} has {size}",
                f"upload it anew under another id, then openstack image delete {image['id']}",
            )  # fmt: skip


@rule
def image_bytes_have_an_image(picture: Picture) -> Iterator[Violation]:
    """No object, file or staged file of an image that does not own it."""
    images = held(picture, "glance", "images")
    if images is None:
        return
    under_way = busy(picture)
    owners = {image["id"] for image in images if image["location"]} | under_way
    for name, found in sorted((_objects(picture) or {}).items()):
        if name not in owners:
            yield Violation(
                "image-bytes-leaked", name,
                f"an object of {found['size']} bytes in glance's container, and no image names it",
                f"delete it in account {found['account']}: container glance, object {name}",
            )  # fmt: skip
    for name in sorted(_files(picture, "files")):
        if name.partition(".")[0] not in owners:
            yield Violation("image-bytes-leaked", name, "a file in glance's store, and no image names it",
                            f"remove glance/images/{name} from the state directory")
    staging = {image["id"] for image in images if image["status"] in ("uploading", "importing")} | under_way
    for name in sorted(_files(picture, "staged")):
        if name.partition(".")[0] not in staging:
            yield Violation("staged-leaked", name, "a staged file, and its image awaits no import",
                            f"remove glance/staging/{name} from the state directory")
