"""The build itself: the same input gives the same bytes, the cache holds, and failures say what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from cloudseed.guest_images import BuildError, build_tiny, list_cached, tiny

pytestmark = pytest.mark.real


def test_second_build_is_the_same_bytes_and_small(tiny_image: Path, cache_dir: Path, tmp_path: Path) -> None:
    """Built again elsewhere at another time, from the same packages."""
    shutil.copytree(cache_dir / "guest-images/packages", tmp_path / "guest-images/packages")
    steps: list[str] = []
    again = build_tiny(tmp_path, steps.append)
    assert len(steps) >= 4
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (tiny_image, again)]
    assert digests[0] == digests[1]
    about = json.loads(subprocess.check_output(["qemu-img", "info", "-f", "qcow2", "--output=json", str(again)]))
    assert about["virtual-size"] < 64 << 20
    assert [image.path for image in list_cached(tmp_path)] == [again]
    assert not list((tmp_path / "guest-images").glob("build-*"))


def test_built_image_is_found_without_asking_apt(
    tiny_image: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> list[object]:
        raise AssertionError("apt was asked")

    monkeypatch.setattr(tiny, "resolve", nobody)
    monkeypatch.setattr(tiny, "download", nobody)
    assert build_tiny(cache_dir) == tiny_image


def test_without_network_the_image_built_before_serves(
    tiny_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object) -> list[Path]:
        raise BuildError("downloading Debian packages: no network")

    monkeypatch.setattr(tiny, "download", offline)
    with pytest.raises(BuildError, match="no network"):
        build_tiny(tmp_path)
    older = tmp_path / "guest-images" / f"tiny-{tiny.source_key()}-0123456789ab.qcow2"
    older.write_bytes(b"an image of older packages")
    assert build_tiny(tmp_path) == older
