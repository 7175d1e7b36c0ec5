"""How tests are spread over workers (`pytest -n 2 --dist loadgroup`, as `cloudseed test` runs it).

What touches the machine (namespaces, links, QEMU) goes to one worker, one test after the other: some of these compare
the machine before and after.  All else goes file by file to whoever is free.
"""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        machine = item.get_closest_marker("real") is not None
        item.add_marker(pytest.mark.xdist_group("machine" if machine else str(item.path)))
    # the longest group begins first
    items.sort(key=lambda item: item.get_closest_marker("real") is None)
