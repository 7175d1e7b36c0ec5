"""Nova's HTTP API: one file a resource.  Upstream's shapes stop here; no SQL and no rules in these files.

Microversions 2.1 to 2.104 (upstream's newest in its 2026.2 release).  Handlers speak the newest shape; older
ones are adapters beside each view.  What the newest versions name and this cloud has not (shared file systems
of 2.97, live migration, resize, ...) is refused with its reason, never accepted and dropped.
"""

from __future__ import annotations

from cloudseed.kernel.http.microversion import Microversions

MAX = (2, 104)
MICROVERSIONS = Microversions("compute", (2, 1), MAX, (2, 1), legacy_header="X-OpenStack-Nova-API-Version")
