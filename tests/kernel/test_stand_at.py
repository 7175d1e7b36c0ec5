"""A running process is told by files where it stands still."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.support.daemon import wait_for
from tests.support.points import Points

PROGRAM = """
import asyncio
from cloudseed.kernel.operations import pass_point
from cloudseed.kernel.operations.faults import arm_from_environment

async def walk(name):
    for point in ("a:b:before", "a:b:after"):
        await pass_point(point)
        print(name, point, flush=True)

async def both():
    await asyncio.gather(walk("first"), walk("second"))

arm_from_environment()
asyncio.run(both())
"""


async def walked(points: Points) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdout=subprocess.PIPE,
                                                env={"PYTHONPATH": ":".join(sys.path), **points.environment})


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_one_stands_and_others_go_on(tmp_path: Path) -> None:
    points = Points(tmp_path / "points")
    points.arm("a:b:after")
    process = await walked(points)
    assert [await line(process) for _ in range(3)] == ["first a:b:before", "second a:b:before", "second a:b:after"]
    assert points.missing(["a:b:before", "a:b:after"]) == ["a:b:before"]
    points.release()
    assert await line(process) == "first a:b:after"
    assert await process.wait() == 0


async def test_the_whole_process_stands(tmp_path: Path) -> None:
    points = Points(tmp_path / "points")
    points.arm_still("a:b:before")
    process = await walked(points)
    await asyncio.to_thread(wait_for, lambda: not points.missing(["a:b:before"]), 20, "it to stand")
    points.release()
    assert [await line(process) for _ in range(4)] == [
        "first a:b:before", "first a:b:after", "second a:b:before", "second a:b:after"]
    assert await process.wait() == 0
