"""Fixtures for all tests: servers of others that are started once for a run, for those who ask for them."""

from __future__ import annotations

pytest_plugins = ["tests.support.broker"]
