"""A resource's attributes: what a client may give when it creates or updates, what it becomes, what is default.

Bodies are checked against a table of `Attribute`s as upstream's attribute maps are, so that its error texts
("Unrecognized attribute(s) ...", "Cannot update read-only attribute ...") come from one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cloudseed.kernel.context import Context
from cloudseed.neutron import converters as to
from cloudseed.neutron.errors import BadAttribute, HTTPBadRequest

REQUIRED: Any = object()
MAX_BULK = 1000


class Attribute(NamedTuple):
    """`default` of REQUIRED: a creation must give it; a callable makes the default anew each time."""

    convert: to.Converter
    default: Any = None
    post: bool = True
    put: bool = True


Attributes = Mapping[str, Attribute]
READ_ONLY = Attribute(lambda value: value, None, post=False, put=False)


@dataclass
class Wish:
    """A checked body.  `values`: for a creation every attribute that may be given, with defaults; for an update
    those that were.  `given`: what the client named.  `expected_revision`: from its If-Match header."""

    values: dict[str, Any]
    given: frozenset[str] = field(default_factory=frozenset)
    expected_revision: int | None = None

    def differs(self, attributes: Attributes) -> list[str]:
        """What was named with another value than the default: this needs a right of its own."""
        return [name for name in self.given if name in self.values and self.values[name] != default(attributes[name])]


def default(attribute: Attribute) -> Any:
    return attribute.default() if callable(attribute.default) else attribute.default


def standard(*, name_length: int = 255, tags: bool = True, named: bool = True) -> dict[str, Attribute]:
    """The attributes that every resource has."""
    found: dict[str, Attribute] = {
        "id": READ_ONLY, "project_id": Attribute(to.string(255), "", put=False),
        "tenant_id": Attribute(to.string(255), "", put=False)}
    if named:
        found["name"] = Attribute(to.string(name_length), "")
    found["description"] = Attribute(to.string(255), "")
    if tags:
        found["tags"] = Attribute(tag_list, list, put=False)
    for name in ("created_at", "updated_at", "revision_number"):
        found[name] = READ_ONLY
    return found


def tag_list(value: Any) -> list[str]:
    return sorted(set(to.list_of(to.string(255), limit=50)(value)))


def parse_create(name: str, plural: str, attributes: Attributes, body: Any, ctx: Context,
                 may_name_project: bool) -> tuple[list[Wish], bool]:
    """The wishes of a POST body, and whether it was a bulk one ({plural: [...]}).  Raises with upstream's texts."""
    if isinstance(body, dict) and plural in body and name not in body:
        items = body[plural]
        if not isinstance(items, list) or not items:
            raise HTTPBadRequest("Resources required")
        if len(items) > MAX_BULK:
            raise HTTPBadRequest(f"More than {MAX_BULK} resources in one request")
        # upstream takes each item with and without the resource's name around it
        items = [item[name] if isinstance(item, dict) and set(item) == {name} else item for item in items]
        return [_create(name, attributes, item, ctx, may_name_project) for item in items], True
    return [_create(name, attributes, _inner(name, body), ctx, may_name_project)], False


def parse_update(name: str, attributes: Attributes, body: Any) -> Wish:
    """The changes in a PUT body."""
    item = _inner(name, body)
    _known(item, attributes)
    for key in item:
        if not attributes[key].put:
            raise HTTPBadRequest(f"Cannot update read-only attribute {key}")
    values = {key: convert(key, attributes[key], value) for key, value in item.items()}
    return Wish(values, frozenset(item))


def convert(name: str, attribute: Attribute, value: Any) -> Any:
    try:
        return attribute.convert(value)
    except to.Reason as exc:
        raise BadAttribute(name=name, reason=exc) from None


def _inner(name: str, body: Any) -> dict[str, Any]:
    if not isinstance(body, dict) or name not in body:
        raise HTTPBadRequest(f"Unable to find '{name}' in request body")
    item = body[name]
    if not isinstance(item, dict):
        raise HTTPBadRequest(f"Object '{name}' contains invalid data")
    return item


def _known(item: dict[str, Any], attributes: Attributes) -> None:
    unknown = [key for key in item if key not in attributes]
    if unknown:
        named = ", ".join(f"'{key[:255]}'" for key in unknown[:10])
        raise HTTPBadRequest(f"Unrecognized attribute(s) {named}")


def _create(name: str, attributes: Attributes, item: Any, ctx: Context, may_name_project: bool) -> Wish:
    if not isinstance(item, dict):
        raise HTTPBadRequest(f"Object '{name}' contains invalid data")
    _known(item, attributes)
    values: dict[str, Any] = {}
    for key, attribute in attributes.items():
        if key in item:
            if not attribute.post:
                raise HTTPBadRequest(f"Attribute '{key}' not allowed in POST")
            values[key] = convert(key, attribute, item[key])
        elif attribute.default is REQUIRED:
            raise HTTPBadRequest(f"Failed to parse request. Required attribute '{key}' not specified")
        elif attribute.post:
            values[key] = default(attribute)
    _project(item, values, ctx, may_name_project)
    return Wish(values, frozenset(item))


def _project(item: dict[str, Any], values: dict[str, Any], ctx: Context, may_name_project: bool) -> None:
    """Whose the new thing is: the token's project, or the named one for those who may."""
    if "project_id" in item and "tenant_id" in item and item["project_id"] != item["tenant_id"]:
        raise HTTPBadRequest("'project_id' and 'tenant_id' do not match")
    named = "project_id" in item or "tenant_id" in item
    tenant = values.pop("tenant_id")
    project = (values["project_id"] if "project_id" in item else tenant) if named else ctx.project_id
    if named and project != ctx.project_id and not may_name_project:
        raise HTTPBadRequest("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request "
                             "requires admin or advsvc privileges")
    values["project_id"] = project
