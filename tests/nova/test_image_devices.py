"""The disks that an image says it has: its owner's words, not ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudseed.kernel.errors import Invalid
from cloudseed.nova.block_device_orders import image_devices
from cloudseed.nova.server_images import BootImage

ID = "0b3c41a5-7b9e-4a60-8b5a-2c5a4f0f7f10"


def _image(*devices: Any) -> BootImage:
    return BootImage(id=ID, size_bytes=0, min_disk_gib=0, min_ram_mib=0,
                     properties={"block_device_mapping": json.dumps(devices)})


@pytest.mark.parametrize("bad", ["detail", "../types", f"{ID}/../../limits", f"{ID}?x", "", 7, [ID]])
@pytest.mark.parametrize("kind", ["volume", "snapshot", "image"])
def test_what_is_no_id_does_not_become_part_of_a_url(kind: str, bad: Any) -> None:
    with pytest.raises(Invalid, match="cannot be understood"):
        image_devices(_image({"source_type": kind, "destination_type": "volume", f"{kind}_id": bad}))
    good, = image_devices(_image({"source_type": kind, "destination_type": "volume", f"{kind}_id": ID}))
    assert ID in (good.volume_id, good.snapshot_id, good.image_id)
