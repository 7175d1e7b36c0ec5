"""`cloudseed image`: what a person and a script get from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudseed.cli import image
from cloudseed.guest_images import BuildError


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A builder that finds its image in the cache."""
    monkeypatch.setenv("CLOUDSEED_CACHE", str(tmp_path))
    path = tmp_path / "guest-images" / "tiny-1-2.qcow2"

    def build(cache_dir: Path, progress: Callable[[str], None]) -> Path:
        assert cache_dir == tmp_path
        progress("working")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"QFI\xfb")
        return path

    monkeypatch.setitem(image.BUILDERS, "tiny", build)
    return path


def test_build_prints_the_path_alone(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image.run(["build", "tiny"]) == 0
    assert capsys.readouterr().out == f"{built}\n"


def test_build_writes_where_the_user_says(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.qcow2"
    assert image.run(["build", "tiny", "--output", str(target), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["path"], answer["format"], answer["size_bytes"]) == (str(target), "qcow2", 4)
    assert target.read_bytes() == b"QFI\xfb"


def test_output_that_cannot_be_written_is_a_reason_not_a_trace(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image.run(["build", "tiny", "--output", str(tmp_path / "missing" / "x")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_build_error_is_told(built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> Path:
        raise BuildError("downloading: no network")

    monkeypatch.setitem(image.BUILDERS, "tiny", fail)
    assert image.run(["build", "tiny"]) == 1
    assert "downloading: no network" in capsys.readouterr().err


def test_list_shows_what_is_built(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image.run(["list"]) == 0
    assert "image build tiny" in capsys.readouterr().out
    image.run(["build", "tiny"])
    capsys.readouterr()
    assert image.run(["list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["path"]) == ("tiny", str(built))


def test_unknown_image_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        image.run(["build", "huge"])
    assert exit_info.value.code == 2
    assert "huge" in capsys.readouterr().err
