"""Silence counts only while somebody listened."""

from __future__ import annotations

from cloudseed.kernel.hearing import Hearing


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_silence_counts_when_nothing_stood_still() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12)
    assert hearing.since() == 988
    hearing.begin(999)
    clock.now = 1001
    assert hearing.since() == 987  # a moment of grace, for who spoke before the start
    clock.now = 1012
    assert hearing.since() == 1000


def test_who_spoke_before_the_stand_still_is_up_until_it_could_have_spoken() -> None:
    clock = Clock()
    hearing = Hearing(clock, 12)
    hearing.begin(900)  # the last word, 100 s before the start
    assert hearing.since() == 888  # and who was silent for longer than 12 s then was down then already
    clock.now = 1011.9
    assert hearing.since() == 888
    clock.now = 1012.1
    assert hearing.since() == 1000.1


def test_a_new_cloud_has_no_history() -> None:
    hearing = Hearing(Clock(), 12)
    hearing.begin(0.0)
    assert hearing.since() == 988
