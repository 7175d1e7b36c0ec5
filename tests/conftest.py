"""Fixtures for all tests: servers of others that are started once for a run, and which engine databases are on.

Also which tests are run beside those that boot guests (cli/test.py): all that are not marked `guests`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudseed.kernel.runtime import Environment
from tests.support import databases

pytest_plugins = ["tests.support.broker"]
# real ones that need namespaces and a host process, but no guest, no time for themselves, and not much of anything
WITHOUT_GUESTS = {f"tests/host/test_{name}.py" for name in (
    "copies", "dhcp_options", "disks", "firewall", "hostile", "metadata", "networks", "overlay", "routers", "server",
    "volumes")}


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("real") and str(item.path.relative_to(config.rootpath)) not in WITHOUT_GUESTS:
            item.add_marker("guests")


if databases.ON_POSTGRESQL:

    def pytest_configure(config: pytest.Config) -> None:
        # a process that is killed within a test leaves its connections as a killed one does: nobody closes them
        config.addinivalue_line("filterwarnings", "ignore:unclosed connection <asyncpg:ResourceWarning")

    @pytest.fixture(autouse=True, scope="session")
    def services_on_postgresql() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Environment, "database", databases.services_on_postgresql)
            yield
        databases.stop()

    @pytest.fixture(autouse=True)
    def _dropped_databases() -> Iterator[None]:
        yield
        databases.the_server().clean()

else:

    @pytest.fixture(autouse=True, scope="session")
    def services_on_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            copies = databases.Migrated(tmp_path_factory.mktemp("migrated"))
            patch.setattr(Environment, "database", lambda *arguments: copies.database(*arguments))
            yield
