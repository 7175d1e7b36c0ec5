"""The JSON schemas that glance publishes, which are also what it checks bodies against.

Only the part of JSON Schema that these schemas use is evaluated: type, enum, maxLength, pattern, items.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cloudseed.kernel.errors import Invalid

Schema = dict[str, Any]
UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
VISIBILITIES = ("community", "public", "private", "shared")
STATUSES = ("queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete",
            "deactivated")
MEMBER_STATUSES = ("pending", "accepted", "rejected")


def _text(description: str, *, null: bool = False, read_only: bool = False, **more: Any) -> Schema:
    return {"type": ["null", "string"] if null else "string", **({"readOnly": True} if read_only else {}),
            "description": description, **more}


IMAGE_PROPERTIES: dict[str, Schema] = {
    "id": _text("The image's id", pattern=UUID),
    "name": _text("A name for people; need not be unique", null=True, maxLength=255),
    "status": _text("Where the image is in its life", read_only=True, enum=list(STATUSES)),
    "visibility": _text("Who can see the image", enum=list(VISIBILITIES)),
    "protected": {"type": "boolean", "description": "Whether the image is safe from deletion"},
    "os_hidden": {"type": "boolean", "description": "Whether the image is left out of lists by default"},
    "checksum": _text("MD5 of the image's bytes", null=True, read_only=True, maxLength=32),
    "os_hash_algo": _text("The algorithm of os_hash_value", null=True, read_only=True, maxLength=64),
    "os_hash_value": _text("Hex digest of the image's bytes by os_hash_algo", null=True, read_only=True,
                           maxLength=128),
    "owner": _text("The project that owns the image", null=True, maxLength=255),
    "size": {"type": ["null", "integer"], "readOnly": True, "description": "Bytes of the image's file"},
    "virtual_size": {"type": ["null", "integer"], "readOnly": True,
                     "description": "Bytes of the disk that the image's file describes"},
    "container_format": _text("What wraps the disk", null=True, enum=[None, *CONTAINER_FORMATS]),
    "disk_format": _text("Format of the disk", null=True, enum=[None, *DISK_FORMATS]),
    "created_at": _text("When the image was registered", read_only=True),
    "updated_at": _text("When the image was changed last", read_only=True),
    "tags": {"type": "array", "description": "Words attached to the image",
             "items": {"type": "string", "maxLength": 255}},
    "direct_url": _text("Where the bytes lie in their store", read_only=True),
    "min_ram": {"type": "integer", "description": "MiB of memory that a server needs to boot it"},
    "min_disk": {"type": "integer", "description": "GiB of disk that a server needs to boot it"},
    "self": _text("This image's URL", read_only=True),
    "file": _text("The URL of the image's bytes", read_only=True),
    "stores": _text("Ids of the stores that hold the bytes, separated by commas", read_only=True),
    "schema": _text("The URL of this schema", read_only=True),
    "locations": {
        "type": "array", "description": "Where the bytes lie",
        "items": {"type": "object", "required": ["url", "metadata"],
                  "properties": {"url": {"type": "string", "maxLength": 255}, "metadata": {"type": "object"}}}},
}
IMAGE: Schema = {
    "name": "image", "properties": IMAGE_PROPERTIES, "additionalProperties": {"type": "string"},
    "links": [{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"},
              {"rel": "describedby", "href": "{schema}"}]}
MEMBER: Schema = {"name": "member", "properties": {
    "member_id": _text("The project that the image is shared with"),
    "image_id": _text("The image's id", pattern=UUID),
    "created_at": _text("When the image was shared"),
    "updated_at": _text("When the member's status changed last"),
    "status": _text("The member's answer", enum=list(MEMBER_STATUSES)),
    "schema": {"readOnly": True, "type": "string"}}}
TASK: Schema = {"name": "task", "properties": {
    "id": _text("The task's id", pattern=UUID),
    "type": _text("What the task does", enum=["import", "api_image_import", "location_import"]),
    "status": _text("Where the task is", enum=["pending", "processing", "success", "failure"]),
    "input": {"type": ["null", "object"], "description": "What the task was asked"},
    "result": {"type": ["null", "object"], "description": "What the task made"},
    "owner": _text("The project that ordered the task"),
    "message": _text("Why the task failed, if it did"),
    "image_id": _text("The image that the task works on"),
    "request_id": _text("The request that ordered the task"),
    "user_id": _text("The user who ordered the task"),
    "expires_at": _text("When the task's record may be removed", null=True),
    "created_at": _text("When the task was ordered"),
    "updated_at": _text("When the task changed last"),
    "self": {"readOnly": True, "type": "string"}, "schema": {"readOnly": True, "type": "string"}}}


def collection(name: str, item: Schema, *, paged: bool) -> Schema:
    """The schema of a list of `item`."""
    fields: dict[str, Schema] = {name: {"type": "array", "items": item}}
    links = [{"rel": "describedby", "href": "{schema}"}]
    if paged:
        fields |= {"first": {"type": "string"}, "next": {"type": "string"}}
        links = [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, *links]
    return {"name": name, "properties": {**fields, "schema": {"type": "string"}}, "links": links}


PUBLISHED: dict[str, Schema] = {
    "image": IMAGE, "images": collection("images", IMAGE, paged=True),
    "member": MEMBER, "members": collection("members", MEMBER, paged=False),
    "task": TASK, "tasks": collection("tasks", TASK, paged=True)}

_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "boolean": (bool,), "array": (list,),
                                       "object": (dict,), "null": (type(None),)}


def check(schema: Schema, value: Mapping[str, Any]) -> None:
    """Raise Invalid that names the first field of `value` against its schema."""
    known, other = schema["properties"], schema.get("additionalProperties")
    for name, item in value.items():
        rule = known.get(name, other)
        if rule is None:
            raise Invalid(f"Provided object does not match schema '{schema['name']}': "
                          f"Additional properties are not allowed ('{name}' was unexpected)")
        problem = _problem(rule, item)
        if problem:
            raise Invalid(f"Provided object does not match schema '{schema['name']}': {problem} (field '{name}')")
        if len(name) > 255 or not name.isprintable():
            raise Invalid(f"The property name {name[:80]!r} is longer than 255 characters or not printable.")


def _problem(rule: Schema, value: Any) -> str:
    types = rule.get("type", ())
    types = [types] if isinstance(types, str) else types
    fits = any(isinstance(value, _TYPES[t]) and not (t == "integer" and isinstance(value, bool)) for t in types)
    if types and not fits:
        return f"{value!r:.100} is not of type {', '.join(types)}"
    if "enum" in rule and value not in rule["enum"]:
        return f"{value!r:.100} is not one of {rule['enum']}"
    if isinstance(value, str):
        if len(value) > rule.get("maxLength", 65535):
            return f"{value[:50]!r}... is longer than {rule.get('maxLength', 65535)} characters"
        if "pattern" in rule and not re.fullmatch(rule["pattern"], value):
            return f"{value!r:.100} does not match {rule['pattern']!r}"
        if "\x00" in value or any("\ud800" <= c <= "\udfff" or (ord(c) < 32 and c not in "\t\n\r") for c in value):
            return f"{value!r:.100} holds control characters"
    if isinstance(value, list) and "items" in rule:
        return next(filter(None, (_problem(rule["items"], item) for item in value)), "")
    return ""
