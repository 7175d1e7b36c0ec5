"""A real kill -9 at every point of what is done to volumes and snapshots: each order ends as it should.

As test_kills.py: the process dies at a point, is started again already told the next one.  A volume's life is its
making, a snapshot of it, and their end.
"""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.cinder.snapshots import SnapshotWork
from cloudseed.cinder.volume_work import VolumeWork
from cloudseed.cli.api import Api
from cloudseed.kernel.operations import OperationType
from tests.support.daemon import Daemon, wait_for
from tests.support.operations import forward_points

V3 = "/volume/v3"
_nobody: Any = SimpleNamespace()
TYPES: dict[str, OperationType] = {kind.kind: kind for work in (VolumeWork, SnapshotWork)
                                   for kind in work(_nobody).types()}
DROPPED = (ConnectionError, http.client.HTTPException, urllib.error.URLError)
# what is ordered, how, and the operation whose points are passed
CHAPTERS = ("cinder.create", "cinder.snapshot.create", "cinder.delete")
POINTS = [(kind, point) for kind in CHAPTERS for point in forward_points(TYPES[kind])
          if not point.endswith(":before") or point == forward_points(TYPES[kind])[0]]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Daemon]:
    with Daemon(driver="fake") as cloud:
        yield cloud


def named(api: Api, kind: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"{V3}/{kind}/detail?name={name}")[kind]
    return found


def wait_available(api: Api, kind: str, name: str) -> dict[str, Any]:
    """The one volume or snapshot of that name, once it is available."""
    def look() -> dict[str, Any] | None:
        (one,) = named(api, kind, name)
        assert one["status"] in ("creating", "available"), one
        return one if one["status"] == "available" else None

    found: dict[str, Any] = wait_for(look, 30.0, f"{kind} {name} to be available")
    return found


@pytest.mark.parametrize(("kind", "point"), POINTS, ids=[point for _, point in POINTS])
def test_what_was_ordered_of_a_volume_is_finished(cloud: Daemon, kind: str, point: str) -> None:
    api, name = cloud.api, point.replace(":", "-")

    def order() -> None:
        match kind:
            case "cinder.create":
                api.send("POST", f"{V3}/volumes", {"volume": {"size": 1, "name": name}})
            case "cinder.snapshot.create":
                api.send("POST", f"{V3}/snapshots", {"snapshot": {"volume_id": volume["id"], "name": name}})
            case _:
                api.send("DELETE", f"{V3}/volumes/{volume['id']}?cascade=true")

    if kind != "cinder.create":
        api.send("POST", f"{V3}/volumes", {"volume": {"size": 1, "name": name}})
        volume = wait_available(api, "volumes", name)
    if kind == "cinder.delete":
        api.send("POST", f"{V3}/snapshots", {"snapshot": {"volume_id": volume["id"], "name": name}})
        wait_available(api, "snapshots", name)
    cloud.restart_armed(point)
    try:
        order()
    except DROPPED:
        pass  # the process died before it answered
    cloud.wait_killed(point)
    cloud.start({"CLOUDSEED_KILL_AT": ""})
    if kind == "cinder.delete":
        wait_for(lambda: not named(api, "volumes", name), 30.0, f"volume {name} to be gone")
        assert named(api, "snapshots", name) == []
    else:
        found = wait_available(api, "volumes", name)
        if kind == "cinder.snapshot.create":
            wait_available(api, "snapshots", name)
        api.send("DELETE", f"{V3}/volumes/{found['id']}?cascade=true")
        wait_for(lambda: not named(api, "volumes", name), 30.0, f"volume {name} to be gone")
    cloud.settle()
