"""The search against a brute-force reference on small random clouds, and the picture against itself."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudseed.kernel.errors import Invalid
from cloudseed.placement.candidates.render import render
from cloudseed.placement.candidates.request import CandidateRequest, Group
from cloudseed.placement.candidates.search import SHARES, Candidate, search
from cloudseed.placement.picture import InventoryFacts, Picture, ProviderFacts
from cloudseed.placement.vocabulary import Vocabulary
from tests.placement.reference import Outcome, Provider, Reference

CLASSES, TRAITS = ("VCPU", "DISK_GB", "VGPU"), ("HW_A", "HW_B", SHARES)
AGGREGATES = ("agg-1", "agg-2")
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True)


def vocabulary() -> Vocabulary:
    names = Vocabulary()
    names.class_ids = {name: number for number, name in enumerate(CLASSES, 1)}
    names.trait_ids = {name: number for number, name in enumerate(TRAITS, 1)}
    names.class_names = {number: name for name, number in names.class_ids.items()}
    names.trait_names = {number: name for name, number in names.trait_ids.items()}
    return names


NAMES = vocabulary()


def uuid_of(number: int) -> str:
    return str(number)  # the reference finds a provider by it


def facts_of(provider: Provider, reference: Reference) -> ProviderFacts:
    return ProviderFacts(
        provider["id"], uuid_of(provider["id"]), f"p{provider['id']}", 0, provider["parent"],
        reference.root[provider["id"]], NOW,
        {NAMES.class_ids[name]: InventoryFacts(*terms) for name, terms in provider["inventories"].items()},
        frozenset(NAMES.trait_ids[name] for name in provider["traits"]), frozenset(provider["aggregates"]))


def some(random: Random, names: Sequence[str], most: int) -> frozenset[str]:
    return frozenset(random.sample(names, random.randint(0, min(most, len(names)))))


def a_cloud(random: Random) -> list[Provider]:
    """Up to six providers, in trees and alone, with room more often than not."""
    def terms() -> tuple[int, int, int, int, int]:
        tight = random.random() < 0.3
        return (random.randint(2, 6), random.randint(0, 3) if tight else 0, random.randint(1, 2) if tight else 1,
                random.randint(1, 6) if tight else 6, random.randint(1, 2) if tight else 1)

    return [{"id": number, "parent": random.randint(1, number - 1) if number > 1 and random.random() < 0.6 else None,
             "inventories": {name: terms() for name in some(random, CLASSES, 3) | {random.choice(CLASSES)}},
             "traits": some(random, TRAITS[:2], 2) | ({SHARES} if random.random() < 0.25 else set()),
             "aggregates": some(random, AGGREGATES, 2)} for number in range(1, random.randint(1, 6) + 1)]


def a_request(random: Random) -> CandidateRequest:
    """One to three groups, each with few conditions, so that many of them can be met."""
    def chance(likely: float) -> bool:
        return random.random() < likely

    suffixes = random.choice([[""], [""], [""], ["_A"], ["", "_A"], ["_A", "_B"], ["", "_A", "_B"]])
    groups = []
    for suffix in suffixes:
        names = random.sample(CLASSES, random.randint(0 if suffix and len(suffixes) > 1 else 1, 2))
        groups.append(Group(
            suffix, {name: random.randint(1, 3) for name in names},
            tuple(frozenset(random.sample(TRAITS[:2], random.randint(1, 2))) for _ in range(chance(0.3))),
            frozenset([random.choice(TRAITS[:2])]) if chance(0.15) else frozenset(),
            tuple(frozenset(random.sample(AGGREGATES, random.randint(1, 2))) for _ in range(chance(0.3) + chance(0.1))),
            frozenset([random.choice(AGGREGATES)]) if chance(0.15) else frozenset(),
            uuid_of(random.randint(1, 7)) if chance(0.15) else None))
    named = [suffix for suffix in suffixes if suffix]
    return CandidateRequest(
        tuple(groups), None, chance(0.5), frozenset(random.sample(TRAITS[:2], 1)) if chance(0.15) else frozenset(),
        frozenset([TRAITS[1]]) if chance(0.1) else frozenset(),
        (frozenset(named),) if named and chance(0.4) else (), chance(0.8))


def outcomes(picture: Picture, request: CandidateRequest, **options: Any) -> list[Outcome]:
    found = search(picture, NAMES, request, **options)
    rendered = msgspec.json.decode(render(picture, NAMES, found))
    result: list[Outcome] = []
    for entry, shown in zip(found.entries, rendered["allocation_requests"], strict=True):
        candidate = entry if isinstance(entry, Candidate) else Candidate(
            {(entry, class_id): amount for class_id, amount in found.resources.items()}, {"": frozenset([entry])})
        outcome: Outcome = (
            frozenset((picture.facts(at).id, NAMES.class_names[class_id], amount)
                      for (at, class_id), amount in candidate.amounts.items()),
            frozenset((suffix, frozenset(picture.facts(at).id for at in who))
                      for suffix, who in candidate.mappings.items()))
        assert outcome == (
            frozenset((int(uuid), name, amount) for uuid, share in shown["allocations"].items()
                      for name, amount in share["resources"].items()),
            frozenset((suffix, frozenset(map(int, who))) for suffix, who in shown["mappings"].items()))
        assert set(shown["allocations"]) <= set(rendered["provider_summaries"])
        result.append(outcome)
    return result


@EXAMPLES
@given(st.integers(0, 2**48))
def test_the_search_finds_exactly_what_trying_everything_finds(seed: int) -> None:
    random = Random(seed)
    cloud = a_cloud(random)
    reference = Reference(cloud)
    picture = Picture(2)
    picture.put(facts_of(provider, reference) for provider in cloud)
    for _ in range(10):
        request = a_request(random)
        found = outcomes(picture, request)
        assert set(found) == reference.candidates(request), (cloud, request)
        assert len(found) == len(set(found))
        assert outcomes(picture, request._replace(limit=2)) == found[:2]
        some = outcomes(picture, request._replace(limit=2), randomly=True)
        assert len(some) == min(2, len(found)) and len(set(some)) == len(some) and set(some) <= set(found)


def test_the_random_requests_are_often_met() -> None:
    """Or the test above would compare nothing with nothing."""
    met = 0
    for seed in range(200):
        random = Random(seed)
        reference = Reference(a_cloud(random))
        met += bool(reference.candidates(a_request(random)))
    assert met > 50


@EXAMPLES
@given(st.integers(0, 2**48))
def test_a_picture_that_followed_changes_is_as_a_fresh_one(seed: int) -> None:
    random = Random(seed)
    followed = Picture(2)
    for _ in range(5):
        cloud, request = a_cloud(random), a_request(random)
        reference = Reference(cloud)
        left = {provider["id"] for provider in cloud}
        followed.remove([number for number in followed.position_of if number not in left])
        followed.put(facts_of(provider, reference) for provider in cloud)
        fresh = Picture(2)
        fresh.put(facts_of(provider, reference) for provider in cloud)
        assert len(followed) == len(fresh)
        assert outcomes(followed, request) == outcomes(fresh, request)
        assert sorted(followed.position_of_uuid) == sorted(fresh.position_of_uuid)


def _devices(count: int, groups: int) -> tuple[Picture, CandidateRequest]:
    """A root with many equal children, and a request that any of them can serve, in every combination."""
    cloud: list[Provider] = [{"id": number, "parent": 1 if number > 1 else None, "traits": frozenset(),
                              "aggregates": frozenset(), "inventories": {"VGPU": (1, 0, 1, 1, 1)} if number > 1 else {}}
                             for number in range(1, count + 2)]
    picture = Picture()
    picture.put(facts_of(provider, Reference(cloud)) for provider in cloud)
    return picture, CandidateRequest(tuple(Group(str(n), {"VGPU": 1}) for n in range(1, groups + 1)), isolate=True)


def test_an_explosion_of_combinations_is_cut_short() -> None:
    picture, request = _devices(20, 20)
    found = search(picture, NAMES, request, max_steps=5000)
    assert not found.complete and len(found.entries) < 5000
    assert search(picture, NAMES, request._replace(limit=3), max_steps=5000).entries == found.entries[:3]


def test_all_combinations_when_there_are_few() -> None:
    picture, request = _devices(4, 3)
    found = search(picture, NAMES, request)
    assert found.complete and len(found.entries) == 4 * 3 * 2


@pytest.mark.parametrize("group", [Group("", {"NOPE": 1}), Group("", {"VCPU": 1}, (frozenset(["NOPE"]),)),
                                   Group("", {"VCPU": 1}, (), frozenset(["NOPE"]))])
def test_unknown_names_are_named(group: Group) -> None:
    picture, _ = _devices(1, 1)
    with pytest.raises(Invalid, match="NOPE"):
        search(picture, NAMES, CandidateRequest((group,)))
