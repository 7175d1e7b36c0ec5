"""kill -9 of a host's agent and host process in the middle of their own work, with real guests on two hosts.

The points are found, not listed: a first life is watched, and the next ones die where it passed (points.py).  A part
runs always; CLOUDSEED_TEST_LONG=1 runs every point of every chapter.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Sequence

import pytest

from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.many.inner import SHORT, STORIES, Guests, Life
from tests.support.daemon import Daemon, needs_root
from tests.support.deaths import Deaths
from tests.support.long import long
from tests.support.ranges import held_in_place

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]
AT_ONCE = 6  # deaths in one order: more of them try the patience of whoever asks
PARTS = ("agent,", "host,")
Passed = dict[str, list[str]]


@pytest.fixture(scope="module")
def scene() -> Iterator[Guests]:
    # a host whose agent dies again and again shall not count as down: its work would be given to others
    cloud = Daemon(driver="qemu", hosts=2, service_down_s=120.0)
    deaths = Deaths(cloud.state.parent / "deaths")
    cloud.environment |= deaths.environment
    with held_in_place("10.66.0.0/23"), cloud:
        yield Guests(cloud, deaths)


def watched(scene: Guests, chapters: Sequence[str]) -> Passed:
    """The points of agents and host processes that a life passes in each chapter."""
    life, passed = Life(scene, 0), Passed()
    for chapter in chapters:
        scene.deaths.listen()
        life.pass_through(chapter)
        # what it found is asked for by us
        passed[chapter] = [name for name in scene.deaths.heard() if name.startswith(PARTS) and "GetInv" not in name]
    life.end()
    return passed


def lives(scene: Guests, chapters: Sequence[str], shares: list[Passed]) -> dict[str, set[str]]:
    """One life for each share, which says where to die in which chapter; where somebody did."""
    died: dict[str, set[str]] = {chapter: set() for chapter in chapters}
    for number, share in enumerate(shares, 1):
        life = Life(scene, number)
        for chapter in chapters:
            scene.deaths.arm(share.get(chapter, ()))
            died[chapter] |= set(life.pass_through(chapter))
        life.end()
    assert not scene.cloud.watcher.wrong
    return died


def weight(name: str) -> int:
    return zlib.crc32(name.encode())


def test_some_points_of_the_commonest(scene: Guests) -> None:
    passed = watched(scene, SHORT)
    for chapter, found in passed.items():
        for part in PARTS:
            assert len([name for name in found if name.startswith(part)]) > 10, (chapter, found)
    share = {chapter: [min((name for name in found if name.startswith(part) and wanted in name), key=weight)
                       for part in PARTS for wanted in (",asked", "")] for chapter, found in passed.items()}
    died = lives(scene, SHORT, [share])
    assert sum(map(len, died.values())) > 6, died


@long
@pytest.mark.parametrize("story", STORIES)
def test_every_point(scene: Guests, story: str) -> None:
    """Of a story's own chapters; of a boot and a delete in the first."""
    chapters = ("boot", *STORIES[story], "delete")
    passed = watched(scene, chapters)
    own = {chapter: found for chapter, found in passed.items() if chapter in (STORIES[story] or chapters)}
    rounds = {chapter: -(-len(found) // AT_ONCE) for chapter, found in own.items()}
    print(story, {chapter: len(found) for chapter, found in own.items()}, file=sys.stderr)
    shares = [{chapter: found[number::rounds[chapter]] for chapter, found in own.items() if number < rounds[chapter]}
              for number in range(max(rounds.values()))]
    died = lives(scene, chapters, shares)
    for chapter, found in own.items():
        print(f"{story}: {chapter}: died at {len(died[chapter])} of {len(found)} points; never at "
              f"{sorted(set(found) - died[chapter])}", file=sys.stderr)
