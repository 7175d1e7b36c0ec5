"""The query of a list of servers: which filters who may use, in which microversion."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Forbidden, Invalid
from cloudseed.kernel.http.request import Request
from cloudseed.nova.api.body import shown
from cloudseed.nova.paging import Sort
from cloudseed.nova.server_list import EQUAL, SORT_KEYS, Filters
from cloudseed.nova.server_states import states_of_status

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir"})
_ALIASES = {"image_ref": "image", "instance_type_id": "flavor", "display_name": "name", "tenant_id": "project_id",
            "display_description": "description"}
# filters of everybody, with the microversion that opened them to all; the rest is for admins
_EVERYBODY: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("name", "status", "image", "flavor", "ip", "changes-since", "reservation_id", "all_tenants"),
                    (2, 1)),
    "ip6": (2, 5), "tags": (2, 26), "tags-any": (2, 26), "not-tags": (2, 26), "not-tags-any": (2, 26),
    "changes-before": (2, 66), "locked": (2, 73),
    **dict.fromkeys(("availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at",
                     "power_state", "task_state", "vm_state", "progress", "user_id"), (2, 83))}
_SINCE = {name: version for name, version in _EVERYBODY.items() if version < (2, 83)}  # unknown to older versions
_ACCEPTED = frozenset({"project_id", "user_id", "deleted", "soft_deleted", "host", "node", "uuid", "kernel_id",
                       "ramdisk_id", "created_at", "launched_at", "terminated_at", "availability_zone",
                       "access_ip_v4", "access_ip_v6", *_ALIASES, *_EVERYBODY, *EQUAL})
_POWER_STATES = {"nostate": 0, "running": 1, "paused": 3, "shutdown": 4, "crashed": 6, "suspended": 7}
_INTEGERS = frozenset({"power_state", "launch_index", "progress"})


def filters_of(nova: Nova, req: Request, rule: str) -> Filters:
    """What the query asks for, as far as the caller may ask it.

    A filter that the caller may not use is ignored, as upstream does; one that does not exist is refused since
    2.75.  Raises Invalid, Forbidden.
    """
    given = _given(nova, req)
    filters = Filters(project_id=_project(nova, req, given, rule))
    if "status" in given or "vm_state" in given:
        _set_states(nova, req, filters, given)
    _set_deleted(nova, req, filters, given)
    for name, value in given.items():
        if name in EQUAL and name != "vm_state":
            filters.equal[name] = _value(req, name, value)
    if "name" in given:
        filters.name = given["name"]
    filters.addresses = [given[name] for name in ("ip", "ip6") if given.get(name)]
    filters.availability_zone = given.get("availability_zone")
    if "locked" in given:
        filters.locked = req.bool_param("locked")
    for parameter, field in (("tags", "tags"), ("tags-any", "tags_any"), ("not-tags", "not_tags"),
                             ("not-tags-any", "not_tags_any")):
        if parameter in given:
            setattr(filters, field, given[parameter].split(",")[:100])
    return filters


def _given(nova: Nova, req: Request) -> dict[str, str]:
    """The filters to apply, under their newest names."""
    everything = nova.policy.check("os_compute_api:servers:allow_all_filters", req.ctx.identity)
    given: dict[str, str] = {}
    for parameter in req.params:
        if parameter.startswith("_"):
            raise Invalid(f"{shown(parameter)} does not match any of the regexes: '^_'")
        if parameter in _PAGING:
            continue
        known = parameter in _ACCEPTED and req.microversion >= _SINCE.get(parameter, (2, 1))
        if not known:
            if req.microversion >= (2, 75):
                raise Invalid("Invalid input for query parameters. Additional properties are not allowed "
                              f"({shown(parameter)} was unexpected)")
            continue
        name = _ALIASES.get(parameter, parameter)
        if not everything and (name not in _EVERYBODY or req.microversion < _EVERYBODY[name]):
            continue
        value = req.text_param(parameter)
        if value is not None:
            given[name] = value
    return given


def _project(nova: Nova, req: Request, given: dict[str, str], rule: str) -> str | None:
    """Whose servers: null for everybody's, which a rule of its own allows."""
    if "all_tenants" in given:
        try:
            everybodys = req.bool_param("all_tenants")
        except Invalid:
            raise Invalid(f"Invalid value for all_tenants: {shown(given['all_tenants'])}. It must be true or "
                          "false.") from None
        if everybodys:
            nova.policy.enforce(f"{rule}:get_all_tenants", req.ctx.identity)
            return given.get("project_id")
    return req.ctx.project_id


def _set_states(nova: Nova, req: Request, filters: Filters, given: dict[str, str]) -> None:
    states: list[tuple[list[str], list[str]]] = []
    statuses = req.params.get("status", [])
    for status in statuses if isinstance(statuses, list) else [statuses]:
        vm_states, task_states = states_of_status(status)
        if not vm_states and req.microversion >= (2, 38):
            raise Invalid(f"Invalid status value: {shown(status)}")
        if "deleted" in vm_states:
            if not nova.policy.check("context_is_admin", req.ctx.identity):
                raise Forbidden("Only administrators may list deleted instances")
            filters.deleted = True
        states.append((vm_states, task_states))
    if "vm_state" in given:
        states = states or [([given["vm_state"]], [])]
    filters.states = states


def _set_deleted(nova: Nova, req: Request, filters: Filters, given: dict[str, str]) -> None:
    """What was deleted shows when it is asked for, and in lists of changes."""
    since, before = given.get("changes-since"), given.get("changes-before")
    if since is not None:
        filters.changed_since = moment(since, "changes-since")
    if before is not None:
        filters.changed_before = moment(before, "changes-before")
    if filters.changed_since and filters.changed_before and filters.changed_since > filters.changed_before:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    if "deleted" in given:
        filters.deleted = req.bool_param("deleted")
    elif filters.changed_since is not None and filters.deleted is False:
        filters.deleted = None


def moment(text: str, what: str) -> datetime.datetime:
    """An ISO 8601 time; without a zone it is UTC."""
    try:
        parsed = datetime.datetime.fromisoformat(text.replace(" ", "+") if text.count(" ") == 1 and "T" in text
                                                 else text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid input for query parameters {what}. Value: {shown(text)}. {shown(text)} is not a "
                      "'date-time'") from None


def _value(req: Request, name: str, value: str) -> Any:
    if name == "config_drive":
        return req.bool_param("config_drive")
    if name in _INTEGERS:
        number = _POWER_STATES.get(value.lower(), value) if name == "power_state" else value
        try:
            return min(int(number), 2**31 - 1)
        except ValueError:
            raise Invalid(f"Invalid input for query parameters {name}. Value: {shown(value)}. It must be an "
                          "integer.") from None
    if name == "flavor" or name == "image":
        return value.rpartition("/")[2]
    return value


def sort_of(req: Request) -> Sort:
    """Keys and directions; newest first when none is named."""
    keys, directions = _all(req, "sort_key"), _all(req, "sort_dir")
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid(f"Unknown sort direction, must be 'desc' or 'asc': {shown(direction)}")
    if len(directions) > max(1, len(keys)):
        raise Invalid("Sort direction size exceeds sort key size")
    keys = keys or ["created_at"]
    columns = []
    for index, key in enumerate(keys[:10]):
        column = SORT_KEYS.get(key)
        if column is None or (key == "locked" and req.microversion < (2, 73)):
            if req.microversion >= (2, 75) or key.startswith("_"):
                raise Invalid(f"Invalid input for query parameters sort_key. Value: {shown(key)}. It is not one of "
                              f"{sorted(SORT_KEYS)}")
            continue
        direction = directions[index] if index < len(directions) else directions[0] if directions else "desc"
        columns.append((column, direction == "desc"))
    return Sort(tuple(columns) or ((SORT_KEYS["created_at"], True),))


def _all(req: Request, name: str) -> list[str]:
    value = req.params.get(name, [])
    return value if isinstance(value, list) else [value]
