"""User ids for machines: no two processes of ours have the same, whichever host process starts them."""

from __future__ import annotations

import pytest

from cloudseed.host.errors import HostError
from cloudseed.host.surroundings import MAX_SHARING, Surroundings
from cloudseed.host.users import UID_BASE, UID_COUNT, Users


def test_what_is_reserved_is_given_to_nobody_else() -> None:
    users = Users(70000, 2)
    with users.reserve() as first, users.reserve() as second:
        assert {first, second} == {70000, 70001}
        with pytest.raises(HostError, match="all 2 user ids"), users.reserve():
            pass
    with users.reserve() as again:
        assert again == 70000


def test_host_processes_of_one_machine_have_ranges_of_their_own() -> None:
    each = UID_COUNT // MAX_SHARING
    taken = []
    for number in range(MAX_SHARING):
        with Users(UID_BASE + number * each, each).reserve() as uid:
            taken.append(uid)
    assert len(set(taken)) == MAX_SHARING
    assert all(UID_BASE <= uid < UID_BASE + UID_COUNT for uid in taken)


@pytest.mark.parametrize(("number", "sharing"), [(1, 1), (-1, 2), (0, 0), (0, MAX_SHARING + 1)])
def test_a_number_beyond_those_who_share_is_refused(number: int, sharing: int) -> None:
    with pytest.raises(HostError):
        Surroundings(number=number, sharing=sharing)
