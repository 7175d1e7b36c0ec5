"""Which providers a list shows: the same questions as candidates ask, of each provider by itself."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cloudseed.kernel.errors import Invalid
from cloudseed.placement.picture import Mask, Picture

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement
    from cloudseed.placement.vocabulary import Vocabulary


class ProviderFilter(NamedTuple):
    """All given conditions hold.  Sets in `required` and `member_of`: any one of each."""

    name: str | None = None
    uuid: str | None = None
    in_tree: str | None = None
    resources: Mapping[str, int] = {}
    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()
    not_member_of: frozenset[str] = frozenset()


class ListedProvider(NamedTuple):
    uuid: str
    name: str
    generation: int
    parent_uuid: str | None
    root_uuid: str
    modified_at: datetime.datetime


async def list_providers(placement: Placement, wanted: ProviderFilter) -> list[ListedProvider]:
    """In the order of their creation.  Raises Invalid for an unknown class or trait."""
    picture = await placement.picture()
    mask = _matching(picture, placement.vocabulary, wanted)
    return [_listed(picture, at) for at in ordered(picture, mask)]


def ordered(picture: Picture, mask: Mask) -> list[int]:
    """The mask's positions by id."""
    positions = np.flatnonzero(mask)
    found: list[int] = positions[np.argsort(picture.ids[positions], kind="stable")].tolist()
    return found


def _listed(picture: Picture, at: int) -> ListedProvider:
    facts, parent = picture.facts(at), picture.parents[at]
    return ListedProvider(facts.uuid, facts.name, facts.generation,
                          picture.facts(parent).uuid if parent >= 0 else None,
                          picture.facts(int(picture.roots[at])).uuid, facts.modified_at)


def _matching(picture: Picture, names: Vocabulary, wanted: ProviderFilter) -> Mask:
    traits = [names.traits_by_name(any_of, Invalid, 'Invalid trait(s) in "required" parameter: ')
              for any_of in (*wanted.required, wanted.forbidden)]
    *required, forbidden = traits
    mask = picture.alive()
    for name, amount in wanted.resources.items():
        if name not in names.class_ids:
            raise Invalid(f"Invalid resource class in resources parameter: No such resource class {name[:255]}.")
        mask = mask & picture.room(names.class_ids[name], amount)
    for uuid in filter(None, (wanted.uuid, wanted.in_tree)):
        if uuid not in picture.position_of_uuid:
            return np.zeros(picture.size, np.bool_)
    if wanted.uuid:
        mask = mask & picture.mask_of([picture.position_of_uuid[wanted.uuid]])
    if wanted.in_tree:
        mask = mask & (picture.roots == picture.roots[picture.position_of_uuid[wanted.in_tree]])
    for any_of in required:
        mask = mask & any_mask(picture, any_of)
    mask = mask & ~any_mask(picture, forbidden)
    for aggregates in wanted.member_of:
        mask = mask & picture.in_any_aggregate(aggregates)
    if wanted.not_member_of:
        mask = mask & ~picture.in_any_aggregate(wanted.not_member_of)
    if wanted.name is not None:
        mask = mask & picture.mask_of(at for at in picture.position_of.values()
                                      if picture.facts(at).name == wanted.name)
    return mask


def any_mask(picture: Picture, traits: list[int]) -> Mask:
    """Who has any of the traits."""
    mask = np.zeros(picture.size, np.bool_)
    for trait in traits:
        mask = mask | picture.has_trait(trait)
    return mask
