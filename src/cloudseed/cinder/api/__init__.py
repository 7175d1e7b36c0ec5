"""Cinder's HTTP API, a file a resource; what all of them share is in `body.py` and `lists.py`."""

from __future__ import annotations

from cloudseed.kernel.http.microversion import Microversions

MIN, MAX = (3, 0), (3, 71)
MICROVERSIONS = Microversions("volume", MIN, MAX, MIN)
