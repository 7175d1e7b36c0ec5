"""The published schemas of metadata definitions, and the check of bodies against them."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.errors import Invalid

Schema = dict[str, Any]
_TYPES = ["array", "boolean", "integer", "number", "object", "string", None]
_NAME: Schema = {"type": "string", "maxLength": 80}
_STAMPS: dict[str, Schema] = {
    moment: {"type": "string", "readOnly": True, "description": f"When it was {word}", "format": "date-time"}
    for moment, word in (("created_at", "made"), ("updated_at", "changed last"))}
_LINKS: dict[str, Schema] = {name: {"readOnly": True, "type": "string"} for name in ("schema", "self")}
_PROPERTY: dict[str, Schema] = {
    "name": _NAME, "title": {"type": "string"}, "description": {"type": "string"},
    "operators": {"type": "array", "items": {"type": "string"}}, "type": {"type": "string", "enum": _TYPES},
    "required": {"$ref": "#/definitions/stringArray"}, "minimum": {"type": "number"}, "maximum": {"type": "number"},
    "maxLength": {"$ref": "#/definitions/positiveInteger"},
    "minLength": {"$ref": "#/definitions/positiveIntegerDefault0"}, "pattern": {"type": "string", "format": "regex"},
    "enum": {"type": "array"}, "readonly": {"type": "boolean"}, "default": {},
    "items": {"type": "object", "properties": {"type": {"type": "string", "enum": _TYPES}, "enum": {"type": "array"}}},
    "maxItems": {"$ref": "#/definitions/positiveInteger"},
    "minItems": {"$ref": "#/definitions/positiveIntegerDefault0"},
    "uniqueItems": {"type": "boolean", "default": False}, "additionalItems": {"type": "boolean"}}
_DEFINITIONS: dict[str, Schema] = {
    "positiveInteger": {"type": "integer", "minimum": 0},
    "positiveIntegerDefault0": {"allOf": [{"$ref": "#/definitions/positiveInteger"}, {"default": 0}]},
    "stringArray": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "property": {"type": "object", "additionalProperties": {
        "type": "object", "required": ["title", "type"], "properties": _PROPERTY}}}


def _schema(name: str, fields: dict[str, Schema], required: list[str], **more: Any) -> Schema:
    return {"name": name, "properties": fields, "additionalProperties": False, "required": required, **more}


OBJECT = _schema("object", {"name": _NAME, "description": {"type": "string"},
                            "required": {"$ref": "#/definitions/stringArray"},
                            "properties": {"$ref": "#/definitions/property"}, **_LINKS, **_STAMPS},
                 ["name"], definitions=_DEFINITIONS)
PROPERTY = _schema("property", _PROPERTY, ["type", "title", "name"], definitions=_DEFINITIONS)
TAG = _schema("tag", {"name": _NAME, **_STAMPS}, ["name"])
RESOURCE_TYPE = _schema("resource_type_association", {
    "name": {**_NAME, "description": "A resource type, by Heat's name"},
    "prefix": {**_NAME, "description": "What precedes the namespace's properties on this type"},
    "properties_target": {**_NAME, "description": "Which of a resource's several sets of properties is meant"},
    **_STAMPS}, ["name"])
NAMESPACE = _schema("namespace", {
    "namespace": {**_NAME, "description": "The namespace's unique name"},
    "display_name": {**_NAME, "description": "A name for people"},
    "description": {"type": "string", "description": "What it is about", "maxLength": 500},
    "visibility": {"type": "string", "description": "Who can see it", "enum": ["public", "private"]},
    "protected": {"type": "boolean", "description": "Whether it is safe from deletion"},
    "owner": {"type": "string", "description": "The project that owns it", "maxLength": 255},
    **_STAMPS, **_LINKS,
    "resource_type_associations": {"type": "array", "items": {"type": "object", "properties": {
        "name": {"type": "string"}, "prefix": {"type": "string"}, "properties_target": {"type": "string"}}}},
    "properties": {"$ref": "#/definitions/property"},
    "objects": {"type": "array", "items": {"type": "object", "properties": {
        "name": {"type": "string"}, "description": {"type": "string"},
        "required": {"$ref": "#/definitions/stringArray"}, "properties": {"$ref": "#/definitions/property"}}}},
    "tags": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}}},
    ["namespace"], definitions=_DEFINITIONS)


def _collection(name: str, item: Schema) -> Schema:
    listed = {"type": "object", "additionalProperties": item} if name == "properties" \
        else {"type": "array", "items": {k: v for k, v in item.items() if k != "definitions"}}
    fields = {name: listed, "schema": {"type": "string"}, "first": {"type": "string"}, "next": {"type": "string"}}
    return {"name": name, "properties": fields, "definitions": item.get("definitions", {}),
            "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"},
                      {"rel": "describedby", "href": "{schema}"}]}


PUBLISHED: dict[str, Schema] = {
    "namespace": NAMESPACE, "object": OBJECT, "property": PROPERTY, "tag": TAG, "resource_type": RESOURCE_TYPE,
    "namespaces": _collection("namespaces", NAMESPACE), "objects": _collection("objects", OBJECT),
    "properties": _collection("properties", PROPERTY), "tags": _collection("tags", TAG),
    "resource_types": _collection("resource_type_associations", RESOURCE_TYPE)}
_PYTHON: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
                                        "array": (list,), "object": (dict,)}


def check(schema: Schema, body: Any) -> dict[str, Any]:
    """`body` as an object that fits `schema`.  Raises Invalid that names the place."""
    problem = _problem({"type": "object", **schema}, body, schema.get("definitions", {}), schema["name"])
    if problem:
        raise Invalid(f"Provided object does not match schema '{schema['name']}': {problem}")
    checked: dict[str, Any] = body
    return checked


def _problem(rule: Schema, value: Any, definitions: dict[str, Schema], place: str) -> str:
    if "$ref" in rule:
        return _problem(definitions[rule["$ref"].rpartition("/")[2]], value, definitions, place)
    for part in rule.get("allOf", ()):
        if text := _problem(part, value, definitions, place):
            return text
    kind = rule.get("type")
    if kind and (not isinstance(value, _PYTHON[kind]) or (kind in ("integer", "number") and isinstance(value, bool))):
        return f"{place}: {value!r:.80} is not of type {kind}"
    if "enum" in rule and value not in rule["enum"]:
        return f"{place}: {value!r:.80} is not one of {rule['enum']}"
    if isinstance(value, str) and (len(value) > rule.get("maxLength", 65535) or "\x00" in value):
        return f"{place}: {value[:40]!r}... is too long or holds NUL"
    if "minimum" in rule and value < rule["minimum"]:
        return f"{place}: {value} is less than {rule['minimum']}"
    if kind == "array" and "items" in rule:
        return next(filter(None, (_problem(rule["items"], v, definitions, place) for v in value)), "")
    return _object_problem(rule, value, definitions, place) if kind == "object" else ""


def _object_problem(rule: Schema, value: dict[str, Any], definitions: dict[str, Schema], place: str) -> str:
    missing = [name for name in rule.get("required", ()) if name not in value]
    if missing:
        return f"{place}: '{missing[0]}' is a required property"
    known, other = rule.get("properties", {}), rule.get("additionalProperties", {})
    for name, item in value.items():
        sub = known.get(name, other)
        if sub is False:
            return f"{place}: Additional properties are not allowed ('{name}' was unexpected)"
        if isinstance(sub, dict) and (text := _problem(sub, item, definitions, f"{place}.{name}")):
            return text
    return ""
