"""From a path to what is there, and the whole as a config drive's files.  Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from cloudseed.nova.metadata import documents, ec2
from cloudseed.nova.metadata.answer import TEXT
from cloudseed.nova.metadata.documents import Guest

JSON = "application/json"
_JSON_TYPED = ("meta_data.json", "vendor_data.json", "vendor_data2.json")  # upstream types no other


class NothingThere(LookupError):
    """No such path or version."""


def path_of(target: str) -> list[str]:
    """The parts of a request's path, in one of the two trees: without a tree's name it is EC2's."""
    parts = [part for part in posixpath.normpath("/" + target.lstrip("/")).split("/") if part]
    return parts if parts[:1] in (["ec2"], ["openstack"]) else ["ec2", *parts]


def look_up(guest: Guest, parts: list[str], random_seed: bytes, today: str) -> tuple[bytes, str]:
    """The content and its type at `path_of` a request.  `today` (YYYY-MM-DD) hides versions of the future in lists.

    Raises NothingThere.  The password is not here: it changes.
    """
    if parts[0] == "openstack":
        return _openstack(guest, parts[1:], random_seed, today)
    if len(parts) == 1:
        return _shown([*ec2.VERSIONS, "latest"]), TEXT
    version = ec2.LATEST if parts[1] == "latest" else parts[1]
    if version not in ec2.VERSIONS:
        raise NothingThere(version)
    found: Any = ec2.tree(guest, version)
    for part in parts[2:]:
        if not isinstance(found, dict) or part not in found:
            raise NothingThere(part)
        found = found[part]
    return _shown(found), TEXT


def _openstack(guest: Guest, parts: list[str], random_seed: bytes, today: str) -> tuple[bytes, str]:
    if not parts:
        return _shown([*(v for v in documents.VERSIONS if v <= today), "latest"]), TEXT
    if parts[0] == "content":
        number = parts[1] if len(parts) == 2 else ""
        for at, (_, content) in enumerate(guest.contents):
            if number == f"{at:04d}":
                return content, TEXT
        raise NothingThere("/".join(parts))
    version = known_version(parts[0])
    if len(parts) == 1:
        return _shown(documents.listing(guest, version)), TEXT
    name = "/".join(parts[1:])
    made = documents.documents(guest, version, random_seed)
    if name not in made:
        raise NothingThere(name)
    return made[name], JSON if name in _JSON_TYPED else TEXT


def known_version(name: str) -> str:
    """The date of a version of OpenStack's tree.  Raises NothingThere."""
    version = documents.LATEST if name == "latest" else name
    if version not in documents.VERSIONS:
        raise NothingThere(version)
    return version


def config_drive(guest: Guest, random_seed: bytes) -> dict[str, bytes]:
    """The files of a config drive, path -> content."""
    files: dict[str, bytes] = {}
    for version in (*ec2.VERSIONS, "latest"):
        made = ec2.tree(guest, ec2.LATEST if version == "latest" else version)
        if "user-data" in made:
            files[f"ec2/{version}/user-data"] = made["user-data"]
        meta = made["meta-data"]
        for key in meta.get("public-keys", {}).values():
            key.pop(ec2.NAME)
        files[f"ec2/{version}/meta-data.json"] = documents.to_json(meta)
    for version in (*documents.VERSIONS, "latest"):
        dated = documents.LATEST if version == "latest" else version
        for name, content in documents.documents(guest, dated, random_seed).items():
            files[f"openstack/{version}/{name}"] = content
    for number, (_, content) in enumerate(guest.contents):
        files[f"openstack/content/{number:04d}"] = content
    return files


def _shown(value: Any) -> bytes:
    """A directory as its listing, a list as lines, all else as it is."""
    if isinstance(value, Mapping):
        return "\n".join(_entry(name, value[name]) for name in sorted(value) if name != ec2.NAME).encode()
    if isinstance(value, list):
        return "\n".join(str(line) for line in value).encode()
    return value if isinstance(value, bytes) else str(value).encode()


def _entry(name: str, value: Any) -> str:
    return str(value.get(ec2.NAME, f"{name}/")) if isinstance(value, Mapping) else name
