"""Allocation candidates the slow way: try every assignment and check each condition as the API defines it.

Shares nothing with the search but the records; knows providers as plain dicts.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

from cloudseed.placement.candidates.request import CandidateRequest, Group

Provider = dict[str, Any]  # id, parent, inventories {class: (capacity, used, min, max, step)}, traits, aggregates
Outcome = tuple[frozenset[tuple[int, str, int]], frozenset[tuple[str, frozenset[int]]]]


class Reference:
    def __init__(self, providers: list[Provider]) -> None:
        self.providers = {p["id"]: p for p in providers}
        self.root = {p["id"]: self._root_of(p) for p in providers}
        self.anchors: dict[int, set[int]] = defaultdict(set)  # sharing provider -> roots that may use it
        for p in providers:
            if "MISC_SHARES_VIA_AGGREGATE" in p["traits"]:
                self.anchors[p["id"]] = {self.root[q["id"]] for q in providers if p["aggregates"] & q["aggregates"]}

    def _root_of(self, provider: Provider) -> int:
        while provider["parent"] is not None:
            provider = self.providers[provider["parent"]]
        root: int = provider["id"]
        return root

    def candidates(self, request: CandidateRequest) -> set[Outcome]:
        found: set[Outcome] = set()
        for anchor in {root for root in self.root.values() if self._anchor_fits(root, request)}:
            ways = [self._ways(group, anchor) for group in request.groups]
            for choice in itertools.product(*ways):
                outcome = self._merge(request, choice)
                if outcome is not None:
                    found.add(outcome)
        return found

    def _anchor_fits(self, root: int, request: CandidateRequest) -> bool:
        traits = self.providers[root]["traits"]
        return request.root_required <= traits and not request.root_forbidden & traits

    def _has_room(self, number: int, name: str, amount: int) -> bool:
        if name not in self.providers[number]["inventories"]:
            return False
        capacity, used, low, high, step = self.providers[number]["inventories"][name]
        return bool(used + amount <= capacity and low <= amount <= high and amount % step == 0)

    def _ways(self, group: Group, anchor: int) -> list[dict[str, int]]:
        """Assignments class -> provider for one group from one anchor; {"": provider} beside, without resources."""
        inside = [number for number, root in self.root.items() if root == anchor]
        shared = [number for number, reach in self.anchors.items() if anchor in reach and number not in inside]
        names = list(group.resources)
        if group.suffix:
            return [{**dict.fromkeys(names, number), "": number} for number in inside + shared
                    if self._alone(group, number)]
        if group.in_tree is not None:
            shared = []
            inside = [n for n in inside if self.root.get(int(group.in_tree)) == anchor]
        ways = []
        for numbers in itertools.product(inside + shared, repeat=len(names)):
            if all(self._has_room(number, name, group.resources[name]) and self._in(group, number, anchor)
                   and (number in inside or self._in(group, number, number))
                   for number, name in zip(numbers, names, strict=True)):
                traits = set().union(*(self.providers[number]["traits"] for number in numbers))
                if all(any_of & traits for any_of in group.required) and not group.forbidden & traits:
                    ways.append(dict(zip(names, numbers, strict=True)))
        return ways

    def _in(self, group: Group, number: int, anchor: int) -> bool:
        both = self.providers[number]["aggregates"] | self.providers[anchor]["aggregates"]
        # every wanted set must be met by the provider, or every one by its anchor
        return (any(all(any_of & self.providers[who]["aggregates"] for any_of in group.member_of)
                    for who in (number, anchor)) and not group.not_member_of & both)

    def _alone(self, group: Group, number: int) -> bool:
        me = self.providers[number]
        return (all(self._has_room(number, name, amount) for name, amount in group.resources.items())
                and all(any_of & me["traits"] for any_of in group.required) and not group.forbidden & me["traits"]
                and all(any_of & me["aggregates"] for any_of in group.member_of)
                and not group.not_member_of & me["aggregates"]
                and (group.in_tree is None or self.root.get(int(group.in_tree)) == self.root[number]))

    def _merge(self, request: CandidateRequest, choice: tuple[dict[str, int], ...]) -> Outcome | None:
        amounts: dict[tuple[int, str], int] = defaultdict(int)
        serving: dict[str, frozenset[int]] = {}
        for group, way in zip(request.groups, choice, strict=True):
            serving[group.suffix] = frozenset(way.values())
            for name, amount in group.resources.items():
                amounts[way[name], name] += amount
        for (number, name), amount in amounts.items():
            capacity, used, _, high, _ = self.providers[number]["inventories"][name]
            if used + amount > capacity or amount > high:
                return None
        alone = [who for suffix, who in serving.items() if suffix]
        if request.isolate and len(set().union(*alone)) < len(alone):
            return None
        for suffixes in request.same_subtrees:
            together = set().union(*(serving[suffix] for suffix in suffixes))
            if not any(all(top in self._ancestry(number) for number in together) for top in together):
                return None
        used_roots = [self.root[number] for number in {number for number, _ in amounts}]
        if not request.nested and len(set(used_roots)) < len(used_roots):
            return None
        return (frozenset((number, name, amount) for (number, name), amount in amounts.items()),
                frozenset(serving.items()))

    def _ancestry(self, number: int | None) -> set[int]:
        found: set[int] = set()
        while number is not None:
            found.add(number)
            number = self.providers[number]["parent"]
        return found
