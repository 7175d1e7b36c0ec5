"""What is said when a program is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.host import binaries
from cloudseed.host.errors import HostError


def test_a_missing_program_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binaries, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"apt-get install .* dnsmasq-base") as caught:
        binaries.find("dnsmasq")
    assert caught.value.code == "missing_binary"
    assert len(binaries.missing()) == len(binaries._PACKAGES) >= 4
