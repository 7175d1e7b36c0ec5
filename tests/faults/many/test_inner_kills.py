"""kill -9 of a host's agent and host process in the middle of their own work, with real guests on two hosts.

The points are found, not listed: a first life is watched, and the next ones die where it passed (points.py).  A part
runs always; CLOUDSEED_TEST_LONG=1 runs every point of every chapter.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence

import pytest

from cloudseed.cli.hosts import settings
from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.many.inner import STORIES, Guests, Life
from tests.support.daemon import Daemon, needs_root
from tests.support.deaths import Deaths
from tests.support.long import long
from tests.support.ranges import held_in_place

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]
DOWN_S = 120.0
AT_ONCE = 8  # deaths in one order: more of them try the patience of whoever asks
PARTS = ("agent,", "host,")
# what an agent and a host process do for these
COMMONEST = {
    "boot": ("agent,prepare_disks,", "host,EnsureMachine,"),
    "live_migrate": ("agent,receive_live,", "host,RunMachine,"),
    "delete": ("agent,destroy,", "host,RemoveMachine,"),
}
OURS = re.compile(r",(GetInventory|picture),|host process GetInventory|heard of GetInventory")  # we ask what is there
AGAIN = re.compile(r"#([3-9]|\d\d+)$")  # the same asked the third time and on: they look until something is so
Passed = dict[str, list[str]]


@pytest.fixture(scope="module")
def scene() -> Iterator[Guests]:
    cloud = Daemon(driver="qemu", hosts=2)
    deaths = Deaths(cloud.state.parent / "deaths")
    cloud.environment |= deaths.environment
    with pytest.MonkeyPatch.context() as patched, held_in_place("10.66.0.0/23"):
        # a host whose agent dies again and again shall not count as down: its work would be given to others
        patched.setattr(settings, "SERVICE_DOWN_S", DOWN_S)
        with cloud:
            yield Guests(cloud, deaths)


def watched(scene: Guests, chapters: Iterable[str]) -> Passed:
    """The points of agents and host processes that a life passes in each chapter."""
    scene.heal()  # from a test that failed
    life, passed = Life(scene, 0), Passed()
    for chapter in chapters:
        life.prepare(chapter)
        scene.deaths.listen()
        life.pass_through(chapter)
        passed[chapter] = [name for name in scene.deaths.heard()
                           if name.startswith(PARTS) and not OURS.search(name) and not AGAIN.search(name)]
    life.end()
    return passed


def lives(scene: Guests, chapters: Sequence[str], shares: list[Passed]) -> dict[str, set[str]]:
    """One life for each share, which says where to die in which chapter; where somebody did."""
    died: dict[str, set[str]] = {chapter: set() for chapter in chapters}
    for number, share in enumerate(shares, 1):
        life = Life(scene, number)
        for chapter in chapters:
            life.prepare(chapter)
            scene.deaths.arm(share.get(chapter, ()))
            died[chapter] |= set(life.pass_through(chapter))
        life.end()
    assert not scene.cloud.watcher.wrong
    return died


def weight(name: str) -> int:
    return zlib.crc32(name.encode())


def test_some_points_of_the_commonest(scene: Guests) -> None:
    """Two of each of these, which the names decide."""
    passed = watched(scene, COMMONEST)
    share: Passed = {}
    for chapter, works in COMMONEST.items():
        for work in works:
            found = [name for name in passed[chapter] if name.startswith(work) and not name.endswith("under way")]
            assert len(found) > 1, (work, passed[chapter])
            share.setdefault(chapter, []).extend(sorted(found, key=weight)[:2])
    died = lives(scene, tuple(COMMONEST), [share])
    assert sum(map(len, died.values())) > 8, (share, died)


def die_in(scene: Guests, story: str, rounds: int) -> None:
    """In a story's own chapters; those of the first are a boot and a delete.  At most so many lives."""
    chapters = ("boot", *STORIES[story], "delete")
    passed = watched(scene, chapters)
    own = {chapter: [name for name in found if name.startswith("agent,") or weight(name) % 5 == 0]
           for chapter, found in passed.items() if chapter in (STORIES[story] or chapters)}
    needed = {chapter: -(-len(found) // AT_ONCE) for chapter, found in own.items()}
    shares = [{chapter: found[number::needed[chapter]] for chapter, found in own.items() if number < needed[chapter]}
              for number in range(min(rounds, max(needed.values())))]
    died = lives(scene, chapters, shares)
    for chapter, found in own.items():
        wanted = {name for share in shares for name in share.get(chapter, ())}
        print(f"{story}: {chapter}: died at {len(died[chapter])} of {len(wanted)} points that were wanted, of "
              f"{len(found)}; never at {sorted(wanted - died[chapter])}", file=sys.stderr)
        assert len(died[chapter]) > len(wanted) / 2


@long
@pytest.mark.parametrize("story", STORIES)
def test_some_points_of_each_story(scene: Guests, story: str) -> None:
    """A life for each."""
    die_in(scene, story, 1)


@long
@pytest.mark.parametrize("story", STORIES)
def test_every_point(scene: Guests, story: str) -> None:
    """Of an agent, and one in five of the host process's, which dies at each of its own in
    tests/host/test_inner_kills.py."""
    die_in(scene, story, 1000)
