"""What a search for allocation candidates asks: groups of resources, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Group(NamedTuple):
    """Resources that are wanted together.

    With an empty suffix they may come from several providers of one tree, and from providers that share with
    it; with any other suffix, from one.  `required` and `member_of`: of each set any one, of all sets.
    """

    suffix: str = ""
    resources: Mapping[str, int] = {}  # class name -> amount
    required: tuple[frozenset[str], ...] = ()  # trait names
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()  # aggregate uuids
    not_member_of: frozenset[str] = frozenset()
    in_tree: str | None = None  # uuid of any provider of the tree


class CandidateRequest(NamedTuple):
    """A whole request.

    `isolate`: groups with a suffix must not share a provider.  `same_subtrees`: the providers of these groups
    must all be below (or be) one of them.  `nested` False (before 1.29): at most one provider of a tree.
    """

    groups: tuple[Group, ...]
    limit: int | None = None
    isolate: bool = False
    root_required: frozenset[str] = frozenset()
    root_forbidden: frozenset[str] = frozenset()
    same_subtrees: tuple[frozenset[str], ...] = ()
    nested: bool = True
