"""Which of the very many fault tests a run takes."""

from __future__ import annotations

import os
import zlib

import pytest

SHARE = 10  # of the tests on an unreliable bus


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("CLOUDSEED_ALL_TESTS"):
        return
    left = [item for item in items
            if item.path.name == "test_unreliable_bus.py" and zlib.crc32(item.name.encode()) // 2 % SHARE]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]
