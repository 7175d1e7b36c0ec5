"""A cloud of its own for each test: they may break it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.nova.api.cloud import NovaCloud


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[NovaCloud]:
    async with NovaCloud(tmp_path) as cloud:
        yield cloud
