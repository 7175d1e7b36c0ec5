"""What a host says when it cannot do what was asked.

    BuildAborted   the order itself cannot be fulfilled, on no host: do not try elsewhere
    HostFailed     this host cannot; another may
    HostSilent     nor does it answer
    Superseded     a later request (a delete) has taken the server over
    NotHere        the server is not, or no longer, this host's
"""

from __future__ import annotations

from cloudseed.kernel.errors import CloudseedError, Conflict


class BuildAborted(Conflict):
    template = "The server cannot be built: %(reason)s"


class HostFailed(CloudseedError):
    status, title = 500, "Internal Server Error"
    template = "Host %(host)s could not %(doing)s: %(reason)s"


class HostSilent(HostFailed):
    status, title = 503, "Service Unavailable"


class Superseded(Conflict):
    template = "A later request has taken over server %(server_id)s."


class NotHere(Conflict):
    template = "Server %(server_id)s is not on host %(host)s."
