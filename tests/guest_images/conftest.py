"""What the guest tests share: the built image (from the machine's cache), and a key pair."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cloudseed.guest_images import build_tiny


def needs(*programs: str) -> None:
    """Skip, saying why, on a machine that lacks what a real guest needs."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    if missing := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    return Path(os.environ.get("CLOUDSEED_CACHE") or "/var/cache/cloudseed")


@pytest.fixture(scope="session")
def tiny_image(cache_dir: Path) -> Path:
    needs("qemu-system-x86_64", "qemu-img", "dnsmasq", "ip", "ssh", "ssh-keygen", "apt-get")
    return build_tiny(cache_dir)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", 'me "here"', "-f", str(path)], check=True
    )
    return path
