"""The owner's own words for guests: read at the start, from a file that must be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudseed.kernel.config import ConfigError
from cloudseed.nova.metadata import vendor_data
from tests.nova.api.cloud import NovaCloud
from tests.nova.metadata.test_service import Guest


async def test_every_guest_is_told(tmp_path: Path) -> None:
    file = tmp_path / "vendor.json"
    file.write_text('{"cloud-init": "#cloud-config\\n{}"}')
    async with NovaCloud(tmp_path / "state", vendor_data_file=str(file)) as cloud:
        guest = Guest(cloud, await cloud.boot(cloud.admin))
        assert json.loads((await guest.ask("/openstack/latest/vendor_data.json"))[1]) == json.loads(file.read_text())
        second = json.loads((await guest.ask("/openstack/latest/vendor_data2.json"))[1])
        assert second == {"static": json.loads(file.read_text())}


@pytest.mark.parametrize(("content", "reason"), [
    (b"[1]", "is no JSON object"), (b"{", "is no JSON object"), (b" " * (vendor_data.MAX_BYTES + 1), "more than"),
    (None, "cannot be read: No such file")])
def test_a_file_that_is_wrong_is_named_at_the_start(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "vendor.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        vendor_data.load(str(path))
    assert vendor_data.load("") == {}
