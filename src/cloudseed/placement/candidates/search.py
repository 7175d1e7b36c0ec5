"""Which providers could serve a request: a search over the picture's columns.

Every candidate has an anchor: the root of the tree that serves it, alone or with providers that share with it
through an aggregate.  A root without children that nobody shares with can serve a group only by itself: for
those, one group is a few array operations.  All others are looked at one anchor after the other, in the order of
their creation, until the limit is reached.

Combinations can explode (twenty groups over twenty devices), so the work of one request is bounded; what was
found until then is answered, as upstream's max_allocation_candidates does.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from cloudseed.kernel.errors import Invalid
from cloudseed.placement.candidates.request import CandidateRequest, Group
from cloudseed.placement.picture import Mask, Picture
from cloudseed.placement.provider_filters import any_mask, ordered
from cloudseed.placement.vocabulary import Vocabulary

SHARES = "MISC_SHARES_VIA_AGGREGATE"
MAX_STEPS = 100_000  # combinations looked at in one request: about half a second
Amounts: TypeAlias = Mapping[tuple[int, int], int]  # (position, class id) -> amount


class Option(NamedTuple):
    """One way to serve one group from one anchor."""

    amounts: tuple[tuple[int, int, int], ...]  # (position, class id, amount)
    providers: frozenset[int]


class Candidate(NamedTuple):
    """One way to serve the whole request.  Positions are the picture's."""

    amounts: Amounts
    mappings: Mapping[str, frozenset[int]]  # suffix -> who serves that group


class Found(NamedTuple):
    """Candidates, one anchor's after the other's.  A bare position: a provider that serves the only group,
    which has no suffix, by itself."""

    entries: list[int | Candidate]
    resources: Mapping[int, int]  # that group's: class id -> amount
    complete: bool  # False: the bound on combinations was met


class _Terms:
    """One group against the picture: masks that say which providers fit in which respect."""

    def __init__(self, picture: Picture, names: Vocabulary, group: Group) -> None:
        self.group = group
        self.resources = {_class_id(names, name): amount for name, amount in group.resources.items()}
        self.required = [names.traits_by_name(sorted(any_of), Invalid) for any_of in group.required]
        self.forbidden = names.traits_by_name(sorted(group.forbidden), Invalid)
        self.room = {class_id: picture.room(class_id, amount) for class_id, amount in self.resources.items()}
        alive = picture.alive()
        self.in_aggregates: Mask = alive
        for aggregates in group.member_of:
            self.in_aggregates = self.in_aggregates & picture.in_any_aggregate(aggregates)
        self.outside: Mask = ~picture.in_any_aggregate(group.not_member_of) if group.not_member_of else alive
        self.without_forbidden: Mask = ~any_mask(picture, self.forbidden) if self.forbidden else alive
        self.in_tree = alive
        self.tree_only = group.in_tree is not None
        if group.in_tree is not None:
            at = picture.position_of_uuid.get(group.in_tree)
            self.in_tree = picture.roots == picture.roots[at] if at is not None else np.zeros(picture.size, np.bool_)

    def by_itself(self, picture: Picture) -> Mask:
        """Who fits in every respect without anybody's help."""
        mask = picture.alive() & self.in_tree & self.in_aggregates & self.outside & self.without_forbidden
        for room in self.room.values():
            mask = mask & room
        for any_of in self.required:
            mask = mask & any_mask(picture, any_of)
        return mask


def _class_id(names: Vocabulary, name: str) -> int:
    if name not in names.class_ids:
        raise Invalid(f"Invalid resource class in resources parameter: No such resource class {name[:255]}.")
    return names.class_ids[name]


class _Budget:
    """How many more combinations may be looked at."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.exhausted = False

    def spend(self) -> bool:
        self.steps -= 1
        if self.steps < 0:
            self.exhausted = True
        return not self.exhausted


def search(picture: Picture, names: Vocabulary, request: CandidateRequest, *, max_steps: int = MAX_STEPS,
           randomly: bool = False) -> Found:
    """All candidates, or the first `request.limit`; `randomly`: any, where there are more anchors than the limit,
    so that not always the same hosts are offered.  Raises Invalid for an unknown class or trait."""
    terms = [_Terms(picture, names, group) for group in request.groups]
    anchors = _allowed_anchors(picture, names, request)
    sharing = names.trait_ids[SHARES]
    alone = picture.alone(sharing)
    single = len(terms) == 1 and not terms[0].group.suffix
    flat = terms[0].by_itself(picture) & alone & anchors if single else np.zeros(picture.size, np.bool_)
    rest = anchors & ~alone if single else anchors
    if rest.any():
        rest = rest & _possible(picture, terms, sharing)
    budget = _Budget(max_steps)
    finder = _Finder(picture, request, terms, picture.anchors(sharing), budget)
    either = flat | rest
    count = int(np.count_nonzero(either))
    if randomly and request.limit is not None and count > request.limit:
        drawn = random.sample(range(count), count if rest.any() else request.limit)
        anchors_found: list[int] = np.flatnonzero(either)[drawn].tolist()
    else:
        anchors_found = ordered(picture, either)
    entries = list(itertools.islice(_in_order(anchors_found, finder, flat), request.limit))
    return Found(entries, terms[0].resources if single else {}, not budget.exhausted)


def _allowed_anchors(picture: Picture, names: Vocabulary, request: CandidateRequest) -> Mask:
    """Roots that have what is required of roots."""
    mask: Mask = picture.roots == np.arange(picture.size)
    for trait in names.traits_by_name(sorted(request.root_required), Invalid):
        mask = mask & picture.has_trait(trait)
    forbidden = names.traits_by_name(sorted(request.root_forbidden), Invalid)
    return mask & ~any_mask(picture, forbidden) if forbidden else mask


def _possible(picture: Picture, terms: list[_Terms], sharing: int) -> Mask:
    """Roots from which every group finds each of its classes somewhere: necessary, not sufficient."""
    shared = picture.anchors(sharing)
    mask = picture.alive()
    for term in terms:
        wanted = list(term.room.values()) if not term.group.suffix else [term.by_itself(picture)]
        for fits in wanted:
            fits = fits & term.in_tree
            roots = np.zeros(picture.size, np.bool_)
            roots[picture.roots[fits & picture.alive()]] = True
            for at, reach in shared.items():
                if fits[at]:
                    roots[list(reach)] = True
            mask = mask & roots
    return mask


def _in_order(anchors: Iterable[int], finder: _Finder, flat: Mask) -> Iterator[int | Candidate]:
    """The flat providers and the others' candidates, anchor by anchor; equal candidates once."""
    seen: set[object] = set()
    for anchor in anchors:
        if flat[anchor]:
            yield anchor
            continue
        for candidate in finder.of_anchor(anchor):
            key = (frozenset(candidate.amounts.items()), frozenset(candidate.mappings.items()))
            if key not in seen:
                seen.add(key)
                yield candidate
        if finder.budget.exhausted:
            return


class _Finder:
    """Candidates of one anchor at a time, by trying how each group could be served."""

    def __init__(self, picture: Picture, request: CandidateRequest, terms: list[_Terms],
                 shared: Mapping[int, set[int]], budget: _Budget) -> None:
        self._picture = picture
        self._request = request
        self._terms = terms
        self.budget = budget
        self._sharers: dict[int, list[int]] = {}  # anchor -> who shares with it
        for at in sorted(shared, key=picture.ids.__getitem__):
            for anchor in shared[at]:
                self._sharers.setdefault(anchor, []).append(at)
        self._by_itself = [term.by_itself(picture) if term.group.suffix else None for term in terms]

    def of_anchor(self, anchor: int) -> Iterator[Candidate]:
        options = []
        for term, mask in zip(self._terms, self._by_itself, strict=True):
            found = self._from_one(term, mask, anchor) if mask is not None else self._from_many(term, anchor)
            if not found:
                return
            options.append(found)
        yield from self._combine(options, 0, {}, {})

    def _near(self, term: _Terms, anchor: int) -> list[int]:
        """The anchor's tree, and who shares with it unless the group is bound to a tree."""
        tree = self._picture.tree(anchor)
        if term.tree_only:
            return [at for at in tree if term.in_tree[at]]
        return tree + [at for at in self._sharers.get(anchor, ()) if self._picture.roots[at] != anchor]

    def _from_one(self, term: _Terms, fits: Mask, anchor: int) -> list[Option]:
        """A group with a suffix: each provider that fits is a way."""
        tree = self._picture.tree(anchor)
        near = tree + [at for at in self._sharers.get(anchor, ()) if self._picture.roots[at] != anchor]
        return [Option(tuple((at, class_id, amount) for class_id, amount in term.resources.items()), frozenset([at]))
                for at in near if fits[at]]

    def _from_many(self, term: _Terms, anchor: int) -> list[Option]:
        """The group without a suffix: each class from any provider near; traits count together."""
        in_aggregate = term.in_aggregates[anchor]
        if not term.outside[anchor]:
            return []
        near = [at for at in self._near(term, anchor) if term.outside[at] and (in_aggregate or term.in_aggregates[at])
                and term.without_forbidden[at]]
        # a sharing provider from outside must itself be in the wanted aggregates
        near = [at for at in near if self._picture.roots[at] == anchor or term.in_aggregates[at]]
        ways = [[(at, class_id, term.resources[class_id]) for at in near if room[at]]
                for class_id, room in sorted(term.room.items())]
        if not all(ways):
            return []
        found = []
        for combination in itertools.product(*ways):
            if not self.budget.spend():
                break
            providers = frozenset(at for at, _, _ in combination)
            if self._have_traits(providers, term):
                found.append(Option(combination, providers))
        return found

    def _have_traits(self, providers: frozenset[int], term: _Terms) -> bool:
        return all(any(trait in self._picture.facts(at).traits for at in providers for trait in any_of)
                   for any_of in term.required)

    def _combine(self, options: list[list[Option]], depth: int, amounts: dict[tuple[int, int], int],
                 mappings: dict[str, frozenset[int]]) -> Iterator[Candidate]:
        """Depth first over the groups; a beginning that cannot work is not continued."""
        if depth == len(options):
            candidate = Candidate(amounts, mappings)
            if self._request.nested or self._one_of_each_tree(amounts):
                yield candidate
            return
        suffix = self._terms[depth].group.suffix
        for option in options[depth]:
            if not self.budget.spend():
                return
            if self._request.isolate and suffix and any(
                    other and option.providers & taken for other, taken in mappings.items()):
                continue
            together = dict(amounts)
            if not self._add(together, option):
                continue
            served = {**mappings, suffix: option.providers}
            if all(self._same_subtree(subtree, served) for subtree in self._request.same_subtrees
                   if suffix in subtree and subtree <= served.keys()):
                yield from self._combine(options, depth + 1, together, served)

    def _add(self, amounts: dict[tuple[int, int], int], option: Option) -> bool:
        """Add the option's amounts; False when a provider could not give all of it."""
        for at, class_id, amount in option.amounts:
            total = amounts.get((at, class_id), 0) + amount
            columns = self._picture.classes[class_id]
            if total > columns.max_unit[at] or columns.used[at] + total > columns.capacity[at]:
                return False
            amounts[at, class_id] = total
        return True

    def _same_subtree(self, suffixes: frozenset[str], served: Mapping[str, frozenset[int]]) -> bool:
        """Whether one of these groups' providers is above, or is, all the others."""
        providers = frozenset().union(*(served[suffix] for suffix in suffixes))
        above = [self._ancestry(at) for at in providers]
        return bool(providers.intersection(*above))

    def _ancestry(self, at: int) -> set[int]:
        found = {at}
        while (at := self._picture.parents[at]) >= 0:
            found.add(at)
        return found

    def _one_of_each_tree(self, amounts: Amounts) -> bool:
        providers = {at for at, _ in amounts}
        return len({int(self._picture.roots[at]) for at in providers}) == len(providers)
