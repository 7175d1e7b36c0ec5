"""Candidates as JSON, in the newest shape, without building an object for each of ten thousand providers.

A provider's summary is rendered once and kept beside its columns until something of it changes.  Names that get
into the text are uuids, class and trait names: nothing in them needs escaping (their form is checked on entry).
"""

from __future__ import annotations

from cloudseed.placement.candidates.search import Candidate, Found
from cloudseed.placement.picture import Picture
from cloudseed.placement.provider_filters import ordered
from cloudseed.placement.vocabulary import Vocabulary


def render(picture: Picture, names: Vocabulary, found: Found, *, whole_trees: bool = True) -> bytes:
    """{"allocation_requests": [...], "provider_summaries": {...}} as of 1.34.

    `whole_trees` False (before 1.29): summaries of the providers in use only.
    """
    resources = ",".join(f'"{names.class_names[class_id]}":{amount}' for class_id, amount in found.resources.items())
    head, middle = '{"allocations":{"', f'":{{"resources":{{{resources}}}}}}},"mappings":{{"":["'
    requests = []
    used: set[int] = set()
    for entry in found.entries:
        if isinstance(entry, Candidate):
            requests.append(_candidate(picture, names, entry))
            used.update(at for at, _ in entry.amounts)
        else:
            uuid = picture.facts(entry).uuid
            requests.append(f'{head}{uuid}{middle}{uuid}"]}}}}')
            used.add(entry)
    if whole_trees and picture.below:
        used = {at for root in {int(picture.roots[at]) for at in used} for at in picture.tree(root)}
    kept = picture.fragments
    summaries = [kept[at] or _summary(picture, names, at) for at in ordered(picture, picture.mask_of(used))]
    return (f'{{"allocation_requests":[{",".join(requests)}],'
            f'"provider_summaries":{{{",".join(summaries)}}}}}').encode()


def _candidate(picture: Picture, names: Vocabulary, candidate: Candidate) -> str:
    def quoted(at: int) -> str:
        return f'"{picture.facts(at).uuid}"'

    by_provider: dict[int, list[str]] = {}
    for (at, class_id), amount in candidate.amounts.items():
        by_provider.setdefault(at, []).append(f'"{names.class_names[class_id]}":{amount}')
    allocations = ",".join(f'{quoted(at)}:{{"resources":{{{",".join(amounts)}}}}}'
                           for at, amounts in by_provider.items())
    mappings = ",".join(
        f'"{suffix}":[{",".join(sorted(quoted(at) for at in providers))}]'
        for suffix, providers in candidate.mappings.items())
    return f'{{"allocations":{{{allocations}}},"mappings":{{{mappings}}}}}'


def _summary(picture: Picture, names: Vocabulary, at: int) -> str:
    facts, parent = picture.facts(at), picture.parents[at]
    resources = ",".join(f'"{names.class_names[class_id]}":{{"capacity":{inventory.capacity},"used":{inventory.used}}}'
                         for class_id, inventory in sorted(facts.inventories.items()))
    traits = ",".join(sorted(f'"{names.trait_names[trait]}"' for trait in facts.traits))
    above = f'"{picture.facts(parent).uuid}"' if parent >= 0 else "null"
    text = (f'"{facts.uuid}":{{"resources":{{{resources}}},"traits":[{traits}],"parent_provider_uuid":{above},'
            f'"root_provider_uuid":"{picture.facts(int(picture.roots[at])).uuid}"}}')
    picture.fragments[at] = text
    return text
