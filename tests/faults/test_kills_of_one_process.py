"""A real kill -9 of a cloud in one process at every point of what is durable: each order ends as it should.

As in many/test_kill_matrix.py, many operations stand at once, each at a point of its own, when the process dies.  The
start after it finishes or undoes them all; the audit is clean, also of files, exports, daemons and objects.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.lives.site import OneProcess
from tests.faults.many import lives
from tests.faults.many.matrix import Batch, draw, split
from tests.support.daemon import Daemon
from tests.support.points import Points

SIZE = 32
FEWEST = {"servers": 150, "wires": 25, "others": 40, "volumes": 60}  # points of each group


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[OneProcess, Points]]:
    cloud = Daemon(driver="fake")
    points = Points(cloud.state.parent / "points")
    cloud.environment |= points.environment
    with cloud:
        yield OneProcess(cloud), points


@pytest.mark.parametrize("group", FEWEST)
def test_every_point(stage: tuple[OneProcess, Points], group: str) -> None:
    scene, points = stage
    cells = draw("control", group, lambda kind, chapter, point: lives.THERE not in kind.HOSTS)
    assert len(cells) >= FEWEST[group]
    for batch in split(cells, SIZE):
        Batch(scene, points, batch).run("control")
