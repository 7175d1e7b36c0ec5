"""A real kill -9 of each process of a cloud of many hosts, at every step of every operation.

Many operations stand at once, each at a point of its own, when the process dies (matrix.py).  A part runs always: the
control process at every point of the commonest operations, each other process at one point of many.  All of it takes
long: CLOUDSEED_TEST_LONG=1 runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.many.lives import Cell, Site3
from tests.faults.many.matrix import GROUPS, VICTIMS, Batch, concerned, draw, sample, split
from tests.support import long
from tests.support.daemon import Daemon, needs_root
from tests.support.points import Points

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]
SIZE = 64
LEASE_S = 4.0  # how long what a dead process did waits for another
COMMONEST = ("boot", "delete", "live_migrate", "migrate")


class Stage:
    def __init__(self, cloud: Daemon, points: Points) -> None:
        self.cloud, self.points = cloud, points
        self.scene = Site3(cloud)

    def harm(self, victim: str, cells: list[Cell]) -> None:
        for batch in split(cells, SIZE):
            Batch(self.scene, self.points, batch).run(victim)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    cloud = Daemon(driver="fake", hosts=3, operation_lease_s=LEASE_S)
    points = Points(cloud.state.parent / "points")
    cloud.environment |= points.environment
    with cloud:
        yield Stage(cloud, points)


def test_control_at_every_point_of_the_commonest(stage: Stage) -> None:
    cells = [cell for group in GROUPS for cell in draw(
        "control", group, lambda kind, chapter, point: chapter in COMMONEST and kind.__name__ in ("Lifetime", "Moves"))]
    assert len(cells) > 50
    stage.harm("control", cells)


@pytest.mark.parametrize(("victim", "group", "part"), [
    ("rabbitmq", "servers", slice(0, None, 2)), ("host-2 agent", "servers", slice(1, None, 2)),
    ("host-2 host", "servers", slice(0, None, 2)), ("host-1 host", "volumes", slice(None)),
    ("postgres", "volumes", slice(None))])
def test_one_point_of_some_operations(stage: Stage, victim: str, group: str, part: slice) -> None:
    stage.harm(victim, sample(victim, group)[part])


def _pairs() -> list[Any]:
    return [(victim, group) for victim in VICTIMS for group, kinds in GROUPS.items()
            if any(concerned(victim, kind) for kind in kinds)]


@pytest.mark.parametrize(("victim", "group"), _pairs())
@long.long
def test_one_point_of_every_operation(stage: Stage, victim: str, group: str) -> None:
    stage.harm(victim, sample(victim, group))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("victim", VICTIMS)
@long.long
def test_every_point(stage: Stage, victim: str, group: str) -> None:
    cells = draw(victim, group, lambda kind, chapter, point: True)
    if not cells:
        pytest.skip(f"{victim} has no part in {group}")
    stage.harm(victim, cells)
