"""Silence counts only while somebody listened."""

from __future__ import annotations

from cloudseed.kernel.hearing import RETURN_S, Hearing


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_silence_counts_when_nothing_stood_still() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    assert hearing.since() == 988
    hearing.begin(999)
    clock.now = 1001
    assert hearing.since() == 987  # a moment of grace, for who spoke before the start
    clock.now = 1012
    assert hearing.since() == 1000


def test_who_spoke_before_the_stand_still_is_up_until_it_could_have_spoken() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    hearing.begin(900)  # the last word, 100 s before the start
    assert hearing.since() == 888  # and who was silent for longer than 12 s then was down then already
    clock.now = 1011.9
    assert hearing.since() == 888
    clock.now = 1012.1
    assert hearing.since() == 1000.1


def test_a_new_cloud_has_no_history() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    hearing.begin(0.0)
    assert hearing.since() == 988


def test_while_nobody_can_be_heard_nobody_goes_down_and_nobody_comes_up() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    hearing.lose(4)  # it was noticed after 4 s
    clock.now = 1600
    assert hearing.since() == 996 - 12
    hearing.hear()
    clock.now = 1600 + RETURN_S - 0.1  # they must be connected again before they can speak
    assert hearing.since() == 996 - 12
    clock.now = 1600 + RETURN_S
    assert hearing.since() == clock.now - 12


def test_who_had_no_time_to_speak_between_two_gaps_is_still_up() -> None:
    clock = Clock()
    hearing = Hearing(clock, 60, clock)
    hearing.lose(0)
    clock.now = 1600
    hearing.hear()
    clock.now = 1605
    hearing.lose(1)
    clock.now = 2000
    assert hearing.since() == 1000 - 60
    hearing.hear()
    clock.now = 2059
    assert hearing.since() == 1000 - 60
    clock.now = 2060
    assert hearing.since() == 2000


def test_a_start_without_a_broker() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    hearing.begin(900)
    hearing.lose(0)
    clock.now = 2000
    assert hearing.since() == 888


def test_a_connection_that_was_never_lost_gives_no_grace() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    hearing.hear()
    assert hearing.since() == 988


def test_a_database_that_is_away_deafens_too() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    hearing.of_database.lose(3)
    clock.now = 1020
    assert hearing.since() == 997 - 12
    hearing.of_database.hear()
    clock.now = 1031.9  # the way to them was never lost: they speak as they always do
    assert hearing.since() == 997 - 12
    clock.now = 1033
    assert hearing.since() == 1021


def test_both_away_nobody_is_heard_before_both_are_back() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12, clock)
    hearing.lose(0)
    hearing.of_database.lose(0)
    clock.now = 1100
    hearing.of_database.hear()
    clock.now = 1200
    assert hearing.since() == 1000 - 12
    hearing.hear()
    clock.now = 1200 + RETURN_S


def test_a_clock_that_is_set_makes_nobody_silent() -> None:
    clock, steady = Clock(), Clock()
    hearing = Hearing(clock, 12, steady)
    clock.now, steady.now = 4601, 1001  # an hour forward, of which a second has passed
    assert hearing.since() == 1001 - 12
    clock.now, steady.now = 4610, 1010
    assert hearing.since() == 1001 - 12
    clock.now, steady.now = 4601 + RETURN_S, 1001 + RETURN_S
    assert hearing.since() == clock.now - 12
    clock.now, steady.now = clock.now - 7199, steady.now + 1  # two hours back
    assert hearing.since() == clock.now - 12


def test_a_clock_that_is_set_again_and_again() -> None:
    clock, steady = Clock(), Clock()
    hearing = Hearing(clock, 12, steady)
    words = {}
    for passed, off in ((1, 3600), (5, -3600), (9, 0), (13, 3600)):
        clock.now, steady.now = 1000 + passed + off, 1000 + passed
        words[off] = clock.now
        assert all(word >= hearing.since() for word in words.values())
