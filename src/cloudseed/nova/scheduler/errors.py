"""The scheduler's one error."""

from __future__ import annotations

from cloudseed.kernel.errors import NoCapacity


class NoValidHost(NoCapacity):
    """`reason` names what removed the last host, and the numbers."""

    template = "No valid host was found. %(reason)s"
