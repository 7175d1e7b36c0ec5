"""GET /allocation_candidates: from a query string to a search, and its answer in older shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, Version, require
from cloudseed.kernel.http.request import Request
from cloudseed.placement.api import query as parse
from cloudseed.placement.api.wire import Query, accept_json, authorize, normal_uuid, query_of, say_modified
from cloudseed.placement.candidates.render import render
from cloudseed.placement.candidates.request import CandidateRequest, Group
from cloudseed.placement.candidates.search import search
from cloudseed.placement.errors import QueryBadValue, QueryDuplicateKey, QueryMissingValue

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

_KEYS = ("resources", "required", "member_of", "in_tree")
_NUMBERED = re.compile(r"(resources|required|member_of|in_tree)([1-9][0-9]*)?")
_NAMED = re.compile(r"(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{1,64})?")
_LIMIT = re.compile(r"[1-9][0-9]*")
_WIDE = (("limit", (1, 16)), ("group_policy", (1, 25)), ("root_required", (1, 35)), ("same_subtree", (1, 36)))
_PLAIN = (("resources", (1, 10)), ("required", (1, 17)), ("member_of", (1, 21)))
MAX_GROUPS = 100


def _groups(query: Query, version: Version) -> dict[str, list[str]]:
    """suffix -> the kinds of parameters given for it, in the order of the query.  Raises Invalid."""
    form = _NUMBERED if version < (1, 33) else _NAMED
    wide = {name for name, since in _WIDE if version >= since}
    plain = {name for name, since in _PLAIN if version >= since}
    groups: dict[str, list[str]] = {}

    def is_known(name: str) -> bool:
        match = form.fullmatch(name)
        if name in wide or match is None or (match[1] == "in_tree" and version < (1, 31)):
            return name in wide
        known = name in plain or version >= (1, 25)
        if known:
            groups.setdefault(match[2] or "", []).append(match[1])
        return known

    query.only(is_known)
    if len(groups) > MAX_GROUPS:
        raise Invalid(f"Invalid query string parameters: {len(groups)} request groups, at most {MAX_GROUPS} "
                      "are served.")
    return groups


def _group(query: Query, suffix: str, version: Version) -> Group:
    resources = query.last(f"resources{suffix}")
    traits = parse.traits(query, f"required{suffix}", version)
    aggregates = parse.aggregates(query, f"member_of{suffix}", version)
    tree = query.last(f"in_tree{suffix}")
    if tree is not None:
        normal = normal_uuid(tree.strip())
        if normal is None:
            raise Invalid("Invalid query string parameters: Expected 'in_tree' parameter to be a format of uuid. "
                          f"Got: {tree[:100]}")
        tree = normal
    return Group(suffix, parse.resources(resources) if resources is not None else {}, traits.required,
                 traits.forbidden, aggregates.required, aggregates.forbidden, tree)


def _check_orphans(groups: Iterable[Group]) -> None:
    """Before 1.36 every group asks for resources.  Raises Invalid."""
    groups = list(groups)
    if not groups:
        raise Invalid("At least one request group (`resources` or `resources{$S}`) is required.")
    orphans = [f"required{g.suffix}" for g in groups if g.required and not g.resources]
    if orphans:
        raise Invalid("All traits parameters must be associated with resources.  Found the following orphaned "
                      f"traits keys: {', '.join(orphans)}")
    orphans = [f"member_of{g.suffix}" for g in groups if (g.member_of or g.not_member_of) and not g.resources]
    if orphans:
        raise Invalid("All member_of parameters must be associated with resources. Found the following orphaned "
                      f"member_of keys: {', '.join(orphans)}")
    if not all(group.resources for group in groups):
        raise Invalid("All request groups must specify resources.")


def _check_subtrees(groups: Iterable[Group], subtrees: Iterable[frozenset[str]]) -> None:
    """From 1.36 on: groups without resources only where `same_subtree` names them.  Raises Invalid."""
    groups, named = list(groups), frozenset[str]().union(*subtrees)
    bare = [group.suffix for group in groups if not group.resources]
    if len(bare) == len(groups):
        raise QueryMissingValue("There must be at least one resources or resources[$S] parameter.")
    lost = [suffix for suffix in bare if suffix not in named]
    if lost:
        raise QueryBadValue("Resourceless suffixed group request should be specified in `same_subtree` query "
                            f"param: bad group(s) - {lost}.")
    known = [group.suffix for group in groups]
    unknown = sorted(named.difference(known))
    if unknown:
        raise QueryBadValue(f"Real suffixes should be specified in `same_subtree`: {unknown} not found in {known}.")


def _check_conflicts(groups: Iterable[Group]) -> None:
    conflicts = [f"required{group.suffix}: ({', '.join(sorted(any_of))})"
                 for group in groups for any_of in group.required if any_of <= group.forbidden]
    if conflicts:
        raise Invalid("Conflicting required and forbidden traits found in the following traits keys: "
                      + ", ".join(sorted(conflicts)))


def _root_traits(query: Query, version: Version) -> tuple[frozenset[str], frozenset[str]]:
    values = query.all("root_required")
    if len(values) > 1:
        raise QueryDuplicateKey("Query parameter 'root_required' may be specified only once.")
    if values and values[0].startswith("in:"):
        raise Invalid("Invalid query string parameters: root_required does not support the 'in:' format. "
                      f"Got: {values[0][:200]}")
    wanted = parse.traits(query, "root_required", min(version, (1, 38)))
    required = frozenset[str]().union(*wanted.required)
    if required & wanted.forbidden:
        raise QueryBadValue("Conflicting required and forbidden traits found in root_required: "
                            + ", ".join(sorted(required & wanted.forbidden)))
    return required, wanted.forbidden


def request_of(query: Query, version: Version) -> CandidateRequest:
    """The query string as a search.  Raises Invalid and its kin, as each microversion has it."""
    suffixes = _groups(query, version)
    if version < (1, 25) and "resources" not in query.values:
        raise Invalid("Invalid query string parameters: 'resources' is a required property")
    limit, policy = query.last("limit"), query.last("group_policy")
    if limit is not None and (not _LIMIT.fullmatch(limit) or len(limit) > 18):
        raise Invalid(f"Invalid query string parameters: limit {limit[:100]!r} must be a positive integer")
    if policy not in (None, "none", "isolate"):
        raise Invalid(f"Invalid query string parameters: group_policy {str(policy)[:100]!r} is not one of "
                      "['none', 'isolate']")
    root_required, root_forbidden = _root_traits(query, version)
    subtrees = tuple(frozenset(item.strip() for item in value.split(",")) for value in query.all("same_subtree"))
    if any("" in subtree for subtree in subtrees):
        raise QueryBadValue("Empty string (unsuffixed group) can not be specified in `same_subtree` ")
    groups = tuple(_group(query, suffix, version) for suffix in suffixes)
    if version >= (1, 36):
        _check_subtrees(groups, subtrees)
    else:
        _check_orphans(groups)
    _check_conflicts(groups)
    if policy is None and sum(bool(group.suffix) for group in groups) > 1:
        raise Invalid('The "group_policy" parameter is required when specifying more than one "resources{N}" '
                      "parameter.")
    return CandidateRequest(groups, int(limit) if limit else None, policy == "isolate", root_required,
                            root_forbidden, subtrees, nested=version >= (1, 29))


def _without_mappings(body: dict[str, Any]) -> None:
    for entry in body["allocation_requests"]:
        del entry["mappings"]


def _without(*fields: str) -> Any:
    def lower(body: dict[str, Any]) -> None:
        for summary in body["provider_summaries"].values():
            for field in fields:
                del summary[field]

    return lower


def _as_lists(body: dict[str, Any]) -> None:
    for entry in body["allocation_requests"]:
        entry["allocations"] = [{"resource_provider": {"uuid": uuid}, **share}
                                for uuid, share in entry["allocations"].items()]


def _shapes(asked: frozenset[str]) -> Adapters:
    """`asked`: the request's classes, all that summaries showed before 1.27."""
    def only_asked(body: dict[str, Any]) -> None:
        for summary in body["provider_summaries"].values():
            summary["resources"] = {name: stock for name, stock in summary["resources"].items() if name in asked}

    return Adapters(Adapter((1, 12), response=_as_lists), Adapter((1, 17), response=_without("traits")),
                    Adapter((1, 27), response=only_asked),
                    Adapter((1, 29), response=_without("parent_provider_uuid", "root_provider_uuid")),
                    Adapter((1, 34), response=_without_mappings))


class AllocationCandidatesResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, (1, 10))
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:allocation_candidates:list")
        request = request_of(query_of(req), req.microversion)
        picture, names = await self._placement.picture(), self._placement.vocabulary
        found = search(picture, names, request, randomly=self._placement.randomly)
        body = render(picture, names, found, whole_trees=request.nested or not picture.below)
        if req.microversion < (1, 34):
            asked = frozenset(name for group in request.groups for name in group.resources)
            body = msgspec.json.encode(_shapes(asked).lower(req.microversion, msgspec.json.decode(body)))
        say_modified(req, resp)
        resp.content_type = "application/json"
        resp.data = body
