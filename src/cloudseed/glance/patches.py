"""JSON-patch of an image: glance's two dialects, applied to a record.

v2.1 is RFC 6902 without test, move and copy; v2.0 writes {"replace": "/name", "value": ...}.  Paths have one
part (two for `/locations/N`): what lies below is not addressable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from cloudseed.glance import schemas
from cloudseed.glance.images import BASE, Glance, Image, check_name, find_image, save_image, target
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid

MEDIA_TYPES = ("application/openstack-images-v2.0-json-patch", "application/openstack-images-v2.1-json-patch")
_OPERATIONS = ("add", "remove", "replace")


class Change(NamedTuple):
    op: str
    name: str
    value: Any


def parse(body: Any, media_type: str) -> list[Change]:
    """A request's body as changes.  Raises Invalid, Forbidden."""
    if not isinstance(body, list):
        raise Invalid("Request body must be a JSON array of operation objects.")
    return [_change(item, media_type) for item in body]


def _change(item: Any, media_type: str) -> Change:
    if not isinstance(item, dict):
        raise Invalid("Operations must be JSON objects.")
    op: Any
    if media_type == MEDIA_TYPES[0]:
        ops = [op for op in _OPERATIONS if op in item]
        if len(ops) != 1:
            raise Invalid(f"Operation objects must contain exactly one member named {', '.join(_OPERATIONS)}.")
        op, path = ops[0], item[ops[0]]
    else:
        op, path = item.get("op"), item.get("path")
        if op is None:
            raise Invalid("Unable to find 'op' in JSON Schema change.")
    if op not in _OPERATIONS:
        raise Invalid(f"Invalid operation: `{op}`. It must be one of the following: {', '.join(_OPERATIONS)}.")
    name = _name(path)
    if op != "remove" and "value" not in item:
        raise Invalid(f"Operation \"{op}\" requires a member named \"value\".")
    return Change(op, name, item.get("value"))


def _name(path: Any) -> str:
    if not isinstance(path, str) or not path:
        raise Invalid("Unable to find 'path' in JSON Schema change.")
    if not path.startswith("/"):
        raise Invalid(f'Pointer `{path}` does not start with "/".')
    if "//" in path or path.endswith("/"):
        raise Invalid(f"Pointer `{path}` contains adjacent or trailing slashes.")
    if any(part[:1] not in "01" or not part for part in path.split("~")[1:]):
        raise Invalid(f"Pointer `{path}` contains \"~\" not part of a recognized escape sequence.")
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    if parts[0] == "locations":
        raise Forbidden("It's not allowed to add locations if locations are invisible.")
    if len(parts) > 1:
        raise Invalid(f"Invalid JSON pointer for this resource: '{path}'")
    return parts[0]


def apply(image: Image, changes: list[Change]) -> Image:
    """The image after the changes.  Raises Conflict, Forbidden, Invalid."""
    fields: dict[str, Any] = {}
    custom = dict(image.properties)
    for op, name, value in changes:
        if name == "id":
            raise Forbidden("Attribute 'id' is read-only.")
        check_name(name)
        if name in BASE:
            if op == "remove":
                raise Forbidden(f"Property {name} may not be removed.")
            fields[name] = value
        elif op == "remove":
            if name not in custom:
                raise Conflict(f"Property {name} does not exist.")
            del custom[name]
        else:
            if op == "replace" and name not in custom:
                raise Conflict(f"Property {name} does not exist.")
            custom[name] = value
    _check(fields, custom, image.properties)
    if "tags" in fields:
        fields["tags"] = sorted(set(fields["tags"]))
    return msgspec.structs.replace(image, properties=custom, **fields)


def _check(fields: Mapping[str, Any], custom: Mapping[str, Any], old: Mapping[str, str]) -> None:
    schemas.check(schemas.IMAGE, {**fields, **{k: v for k, v in custom.items() if old.get(k) != v}})


async def update_image(glance: Glance, ctx: Context, image_id: str, changes: list[Change]) -> Image:
    """Apply changes to an image, in one transaction."""
    async with glance.db.write() as tx:
        image, member = await find_image(tx, ctx, image_id)
        glance.policy.enforce("modify_image", ctx.identity, target(image, member))
        return await save_image(glance, ctx, tx, image, apply(image, changes))
