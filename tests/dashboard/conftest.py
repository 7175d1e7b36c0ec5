"""One cloud a module, with an image that is bytes of nothing: the fake hypervisor needs no more."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.cloud import Cloud


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        admin = await cloud.login("admin")
        made = await admin.post("/networking/v2.0/networks", {"network": {"name": "lan", "shared": True}})
        network_id = made.json()["network"]["id"]
        await admin.post("/networking/v2.0/subnets", {"subnet": {
            "network_id": network_id, "cidr": "10.9.0.0/24", "ip_version": 4}})
        made = await admin.post("/image/v2/images", {"name": "tiny", "disk_format": "raw", "container_format": "bare",
                                                     "visibility": "public"})
        await admin.put(f"/image/v2/images/{made.json()['id']}/file", body=b"x" * 1000,
                        headers={"content-type": "application/octet-stream"})
        yield cloud
