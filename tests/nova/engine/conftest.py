"""The host process's own fixtures, for drivers and computes over a real host."""

from __future__ import annotations

from tests.host.conftest import _needs_root, _one_probe, cloud, image_cache, state

__all__ = ["_needs_root", "_one_probe", "cloud", "image_cache", "state"]
