"""How hosts of a cloud speak with one another: TLS with the certificates that `authority.py` made.

Apart from the making, whose library costs a host process that makes none 9 MiB.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from cloudseed.host.errors import HostError


def tls_context(directory: Path, *, server: bool) -> ssl.SSLContext:
    """How this host speaks with others: both sides show a certificate of the cloud's authority, TLS 1.3 only.

    HostError `failed` when the host has none.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        made.load_cert_chain(directory / "cert.pem", directory / "key.pem")
        made.load_verify_locations(directory / "ca.pem")
    except (OSError, ssl.SSLError) as exc:
        raise HostError("failed", f"this host has no usable certificate in {directory}: {exc}") from exc
    made.verify_mode = ssl.CERT_REQUIRED
    made.check_hostname = not server
    return made
