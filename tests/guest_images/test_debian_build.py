"""Building the image `debian`: what is asked of apt, and what is said when it cannot be.  That it boots, and that its
cloud-init is done, is tested in tests/nova/metadata/test_real_guests.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.guest_images import BuildError, build_debian, debian
from cloudseed.guest_images.packages import Package

TARGETS = """http://a.example/debian bookworm main Packages
http://a.example/debian bookworm main Translations
http://a.example/debian bookworm-updates main Packages
http://s.example/security bookworm-security main Packages
http://a.example/debian bookworm contrib Packages
http://other.example/apt stable main Packages
"""


def test_packages_come_from_where_apt_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "run_tool", lambda *_, **__: TARGETS)
    assert debian._sites() == [
        "deb http://a.example/debian bookworm main", "deb http://a.example/debian bookworm-updates main",
        "deb http://s.example/security bookworm-security main"]  # fmt: skip
    monkeypatch.setattr(debian, "run_tool", lambda *_, **__: "http://u.example/ubuntu noble main Packages\n")
    with pytest.raises(BuildError, match="knows no Debian bookworm"):
        debian._sites()


@pytest.mark.parametrize(("said", "environment"), [
    ("PROXY='http://p.example:3142'\n", {"http_proxy": "http://p.example:3142"}), ("", {}), ("PROXY=''\n", {})])
def test_the_proxy_is_apts(monkeypatch: pytest.MonkeyPatch, said: str, environment: dict[str, str]) -> None:
    monkeypatch.setattr(debian, "run_tool", lambda *_, **__: said)
    assert debian._environment() == environment


def test_what_is_missing_is_named_and_the_newest_image_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Package("cloud-init", "1", "all", "0" * 64, ())]
    monkeypatch.setattr(debian.packages, "show", lambda names: asked)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    with pytest.raises(BuildError, match="needs root"):
        build_debian(tmp_path)
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian.shutil, "which", lambda name: None if name == "wget" else f"/bin/{name}")
    with pytest.raises(BuildError, match="Fix: sudo apt-get install wget"):
        build_debian(tmp_path)
    monkeypatch.setattr(debian.shutil, "which", lambda name: f"/bin/{name}")

    def broken(*_: object) -> None:
        raise BuildError("no network")

    monkeypatch.setattr(debian, "_build", broken)
    with pytest.raises(BuildError, match="no network"):
        build_debian(tmp_path)
    sources = debian.cache.source_key(others=("tiny",))
    older = tmp_path / "guest-images" / f"debian-{sources}-0123456789ab.qcow2"
    older.write_bytes(b"an image of older packages")
    assert build_debian(tmp_path) == older
    assert not list((tmp_path / "guest-images").glob("build-*"))
