"""One cloud a module, since starting it costs a second: tests make their own projects in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.nova.api.cloud import NovaCloud


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NovaCloud]:
    async with NovaCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud
