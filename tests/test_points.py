"""A process dies at the point of its own work that it is told to (points.py)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deaths import Deaths

PROGRAM = """
import asyncio, os, subprocess, sys
from pathlib import Path
from cloudseed import points

def work():
    Path("made").mkdir()
    for text in ("one", "two"):
        Path("file.new").write_text(text)
        os.replace("file.new", "file")
    subprocess.run(["sleep", "0.3"])
    Path("after").touch()

async def ask():
    points.begin("Request")
    points.point("asked")
    await asyncio.to_thread(work)
    points.point("answer")

points.arm_from_environment("part")
Path("before").touch()  # of no request
asyncio.run(ask())
"""


def walked(deaths: Deaths, directory: Path) -> int:
    return subprocess.run([sys.executable, "-c", PROGRAM], cwd=directory, timeout=60,
                          env={"PYTHONPATH": ":".join(sys.path), **deaths.environment}).returncode


@pytest.fixture
def deaths(tmp_path: Path) -> Deaths:
    (tmp_path / "there").mkdir()
    return Deaths(tmp_path / "deaths")


def test_points_are_told(deaths: Deaths, tmp_path: Path) -> None:
    deaths.listen()
    assert walked(deaths, tmp_path / "there") == 0
    assert deaths.heard() == [f"part,Request,{what}" for what in (
        "asked", "make made", "write file.new", "rename to file", "write file.new#2", "rename to file#2",
        "run sleep 0.3", "run sleep 0.3 is under way", "write after", "answer")]
    assert walked(deaths, tmp_path) == 0 and deaths.died() == []


@pytest.mark.parametrize(("point", "there", "text"), [
    ("asked", {"before"}, None), ("make made", {"before"}, None), ("rename to file#2", {"file.new"}, "one"),
    ("run sleep 0.3", {"file"}, "two"), ("run sleep 0.3 is under way", {"file"}, "two"), ("answer", {"after"}, "two")])
def test_it_dies_there(deaths: Deaths, tmp_path: Path, point: str, there: set[str], text: str | None) -> None:
    deaths.arm([f"part,Request,{point}", "part,Other,asked"])
    assert walked(deaths, tmp_path / "there") == -signal.SIGKILL
    assert deaths.died() == [f"part,Request,{point}"]
    assert deaths.disarm() == ["part,Other,asked"] and deaths.disarm() == []
    found = {path.name: path for path in (tmp_path / "there").iterdir()}
    assert there <= set(found) and ("after" in found) == (point == "answer")
    assert (found["file"].read_text() if "file" in found else None) == text
