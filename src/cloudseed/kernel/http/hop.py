"""How a service's request over a socket says which part sent it, so that one exchange is not recorded twice.

The caller has recorded it under its own name.  The word is signed with a key that machines of the cloud share: what a
client writes there means nothing.
"""

from __future__ import annotations

import hashlib
import hmac

HEADER = "X-Cloudseed-Part"


def sign(key: bytes, part: str, traceparent: str) -> str:
    """The header's value for a request of `part` with this trace."""
    return f"{part} {_digest(key, part, traceparent)}"


def part_of(key: bytes, value: str, traceparent: str) -> str | None:
    """The part that signed; None when it is no word of ours."""
    part, _, digest = value.partition(" ")
    if not key or not part or not hmac.compare_digest(digest.encode(), _digest(key, part, traceparent).encode()):
        return None
    return part


def _digest(key: bytes, part: str, traceparent: str) -> str:
    return hashlib.blake2b(f"{part} {traceparent}".encode(), key=key, digest_size=16).hexdigest()
