"""Tests that take longer than a change can wait for: run when CLOUDSEED_TEST_LONG is set, and before a release."""

from __future__ import annotations

import os

import pytest

long = pytest.mark.skipif(not os.environ.get("CLOUDSEED_TEST_LONG"), reason="takes long: set CLOUDSEED_TEST_LONG=1")
