"""The config drive: an ISO 9660 image labelled config-2 that cloud-init and its kin read at boot.

Joliet and Rock Ridge carry the real names; the plain ISO names are numbers, which nobody reads.
"""

from __future__ import annotations

import io
import re

import pycdlib

from cloudseed.host.errors import HostError

LABEL = "config-2"
MAX_BYTES = 24 * 1024 * 1024
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def build(files: dict[str, bytes]) -> bytes:
    """The image with these files, keyed by relative path; `invalid` for a path that is not plain or too much."""
    if sum(len(data) for data in files.values()) > MAX_BYTES:
        raise HostError("invalid", f"a config drive holds at most {MAX_BYTES} bytes")
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    try:
        directories: dict[str, str] = {"": ""}
        for number, (path, data) in enumerate(sorted(files.items())):
            *parents, name = _parts(path)
            above = ""
            for part in parents:
                below = f"{above}/{part}"
                if below not in directories:
                    plain = f"{directories[above]}/D{len(directories)}"
                    image.add_directory(plain, rr_name=part, joliet_path=below)
                    directories[below] = plain
                above = below
            image.add_fp(
                io.BytesIO(data),
                len(data),
                f"{directories[above]}/F{number}.;1",
                rr_name=name,
                joliet_path=f"{above}/{name}",
            )
        out = io.BytesIO()
        image.write_fp(out)
        return out.getvalue()
    except pycdlib.pycdlibexception.PyCdlibException as exc:
        raise HostError("invalid", f"these files make no config drive: {exc}") from exc
    finally:
        image.close()


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    if len(parts) > 6 or not all(_PART.match(part) for part in parts):
        raise HostError("invalid", f"{path[:80]!r} is no plain relative path for a config drive")
    return parts
