"""All providers as columns in memory: what candidates are searched in.

A provider has a position, the same in every column; freed positions are used again.  Numbers are NumPy arrays,
so that a question about ten thousand providers is a few array operations; what belongs to few providers
(traits, aggregates, trees) is sets of positions.  Pure: `picture_sync` fills it from the database.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
Positions: TypeAlias = NDArray[np.int64]
T = TypeVar("T")
K = TypeVar("K")
NONE = -1  # no position
LARGEST = 2**62  # capacities are cut here: beyond any sum of claims, within an int64


class InventoryFacts(NamedTuple):
    """One inventory with its usage."""

    capacity: int
    used: int
    min_unit: int
    max_unit: int
    step_size: int


class ProviderFacts(NamedTuple):
    """One provider with all that hangs on it, as the database has it."""

    id: int
    uuid: str
    name: str
    generation: int
    parent_id: int | None
    root_id: int
    modified_at: datetime.datetime
    inventories: Mapping[int, InventoryFacts]  # by resource class id
    traits: frozenset[int]
    aggregates: frozenset[str]


def capacity_of(total: int, reserved: int, allocation_ratio: float) -> int:
    """How much of an inventory may be allocated."""
    return min(int((total - reserved) * allocation_ratio), LARGEST)


class ClassColumns:
    """One resource class of all providers.  No inventory is a capacity of -1."""

    def __init__(self, size: int) -> None:
        self.capacity: NDArray[np.int64] = np.full(size, -1, np.int64)
        self.used: NDArray[np.int64] = np.zeros(size, np.int64)
        self.min_unit: NDArray[np.int64] = np.ones(size, np.int64)
        self.max_unit: NDArray[np.int64] = np.zeros(size, np.int64)
        self.step_size: NDArray[np.int64] = np.ones(size, np.int64)

    def grow(self, size: int) -> None:
        fresh = ClassColumns(size)
        for name, column in vars(self).items():
            getattr(fresh, name)[:len(column)] = column
        vars(self).update(vars(fresh))

    def put(self, at: int, facts: InventoryFacts | None) -> None:
        self.capacity[at], self.used[at], self.min_unit[at], self.max_unit[at], self.step_size[at] = \
            facts or (-1, 0, 1, 0, 1)

    def room(self, amount: int) -> Mask:
        """Which providers could hand out `amount` more in one piece."""
        mask: Mask = ((self.used + amount <= self.capacity) & (self.min_unit <= amount) &
                      (self.max_unit >= amount) & (amount % self.step_size == 0))
        return mask


class Picture:
    """The columns.  Positions are valid until the next `put` or `remove`."""

    def __init__(self, size: int = 256) -> None:
        self.ids: NDArray[np.int64] = np.zeros(size, np.int64)  # 0: position is free
        self.roots: NDArray[np.int64] = np.full(size, NONE, np.int64)
        self.providers: list[ProviderFacts | None] = [None] * size
        self.parents: list[int] = [NONE] * size
        self.classes: dict[int, ClassColumns] = {}
        self.position_of: dict[int, int] = {}
        self.position_of_uuid: dict[str, int] = {}
        self.with_trait: dict[int, set[int]] = {}
        self.in_aggregate: dict[str, set[int]] = {}
        self.below: dict[int, set[int]] = {}  # root's position -> the others of its tree
        self.fragments: list[str | None] = [None] * size  # rendered summaries, see candidates/render
        self._free = list(range(size - 1, -1, -1))
        self._derived: dict[object, Any] = {}

    def __len__(self) -> int:
        return len(self.position_of)

    @property
    def size(self) -> int:
        return len(self.ids)

    def facts(self, at: int) -> ProviderFacts:
        """The provider at a position in use."""
        facts = self.providers[at]
        assert facts is not None
        return facts

    def _grow(self) -> None:
        old, new = self.size, self.size * 2
        self.ids = np.concatenate([self.ids, np.zeros(old, np.int64)])
        self.roots = np.concatenate([self.roots, np.full(old, NONE, np.int64)])
        self.providers += [None] * old
        self.parents += [NONE] * old
        self.fragments += [None] * old
        for columns in self.classes.values():
            columns.grow(new)
        self._free = list(range(new - 1, old - 1, -1))

    def put(self, changed: Iterable[ProviderFacts]) -> None:
        """Set what these providers are now.  A parent or root that is new must be among them."""
        changed = list(changed)
        for facts in changed:
            at = self.position_of.get(facts.id)
            if at is None:
                if not self._free:
                    self._grow()
                at = self._free.pop()
                self.position_of[facts.id] = at
                self.ids[at] = facts.id
            else:
                self._forget(at)
            self.position_of_uuid[facts.uuid] = at
        for facts in changed:  # now that every parent has a position
            self._set(self.position_of[facts.id], facts)
        self._derived.clear()

    def _set(self, at: int, facts: ProviderFacts) -> None:
        self.providers[at] = facts
        self.parents[at] = NONE if facts.parent_id is None else self.position_of[facts.parent_id]
        root = self.roots[at] = self.position_of[facts.root_id]
        if root != at:
            self.below.setdefault(int(root), set()).add(at)
        for class_id, inventory in facts.inventories.items():
            columns = self.classes.get(class_id)
            if columns is None:
                columns = self.classes[class_id] = ClassColumns(self.size)
            columns.put(at, inventory)
        for trait in facts.traits:
            self.with_trait.setdefault(trait, set()).add(at)
        for aggregate in facts.aggregates:
            self.in_aggregate.setdefault(aggregate, set()).add(at)

    def _forget(self, at: int) -> None:
        """Take a provider out of every column, but leave it its position."""
        facts = self.facts(at)
        root = int(self.roots[at])
        if root != at and root in self.below:
            _discard(self.below, root, at)
        for class_id in facts.inventories:
            self.classes[class_id].put(at, None)
        for trait in facts.traits:
            _discard(self.with_trait, trait, at)
        for aggregate in facts.aggregates:
            _discard(self.in_aggregate, aggregate, at)
        del self.position_of_uuid[facts.uuid]
        self.fragments[at] = None

    def remove(self, provider_ids: Iterable[int]) -> None:
        """These providers are no more."""
        for provider_id in provider_ids:
            at = self.position_of[provider_id]
            self._forget(at)
            del self.position_of[provider_id]
            self.below.pop(at, None)
            self.providers[at], self.parents[at] = None, NONE
            self.ids[at], self.roots[at] = 0, NONE
            self._free.append(at)
        self._derived.clear()

    def alive(self) -> Mask:
        mask: Mask = self.ids != 0
        return mask

    def mask_of(self, positions: Iterable[int]) -> Mask:
        mask = np.zeros(self.size, np.bool_)
        mask[list(positions)] = True
        return mask

    def has_trait(self, trait: int) -> Mask:
        """Who has the trait.  Remembered until something changes, like all masks below; do not write to it."""
        return self._remember(("trait", trait), lambda: self.mask_of(self.with_trait.get(trait, ())))

    def in_any_aggregate(self, aggregates: frozenset[str]) -> Mask:
        return self._remember(("aggregates", aggregates), lambda: self.mask_of(
            set().union(*(self.in_aggregate.get(a, set()) for a in aggregates))))

    def room(self, class_id: int, amount: int) -> Mask:
        """Who could hand out `amount` more of a class in one piece."""
        columns = self.classes.get(class_id)
        if columns is None or amount >= LARGEST:
            return np.zeros(self.size, np.bool_)
        return columns.room(amount)

    def tree(self, root: int) -> list[int]:
        """A tree's positions, its root first, then by id."""
        return [root, *sorted(self.below.get(root, ()), key=self.ids.__getitem__)]

    def anchors(self, sharing_trait: int) -> dict[int, set[int]]:
        """For each provider that shares (has the trait, is in an aggregate): the roots that may use it."""
        def find() -> dict[int, set[int]]:
            found: dict[int, set[int]] = {}
            for at in self.with_trait.get(sharing_trait, ()):
                near = set().union(*(self.in_aggregate[a] for a in self.facts(at).aggregates))
                found[at] = {int(self.roots[other]) for other in near}
            return found

        return self._remember(("anchors", sharing_trait), find)

    def alone(self, sharing_trait: int) -> Mask:
        """Roots without children that no provider shares with: only themselves can serve them."""
        def find() -> Mask:
            mask = self.alive()
            for root, others in self.below.items():
                mask[root] = False
                mask[list(others)] = False
            for anchors in self.anchors(sharing_trait).values():
                mask[list(anchors)] = False
            return mask

        return self._remember(("alone", sharing_trait), find)

    def _remember(self, key: object, make: Callable[[], T]) -> T:
        if key not in self._derived:
            if len(self._derived) > 500:  # clients choose aggregates and traits: bound what they make us keep
                self._derived.clear()
            self._derived[key] = make()
        return cast(T, self._derived[key])


def _discard(groups: dict[K, set[int]], key: K, at: int) -> None:
    group = groups[key]
    group.discard(at)
    if not group:
        del groups[key]
