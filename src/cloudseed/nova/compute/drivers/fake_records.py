"""What the pretended hypervisor keeps of a machine."""

from __future__ import annotations

import msgspec

from cloudseed.nova.compute.spec import ServerSpec

GIB = 1024**3


class Record(msgspec.Struct):
    """One machine, as its file has it."""

    server_id: str
    name: str
    started_at: float | None = None
    ports: list[str] = []
    paused: bool = False
    quiesced: bool = False
    suspended: bool = False
    disk_of: str | None = None  # the image of the root disk
    rescue: str | None = None  # of the rescue disk
    volumes: dict[str, int] = {}  # while it runs: volume id -> the size that its guest sees
    disks: dict[str, int] = {}  # GiB by name; swap in MiB
    kept: dict[str, int] | None = None
    waits: bool = False  # for a guest or for disks from another host
    sent: bool = False  # its guest is at another host's door
    starts: int = 0  # how often it was started here


def disks_of(spec: ServerSpec) -> dict[str, int]:
    """The disks that the server's machine has of its own: GiB by name; swap in MiB."""
    sizes = {"root": spec.root_gib, "ephemeral": spec.ephemeral_gib, "swap": spec.swap_mib}
    return {name: size for name, size in sizes.items() if size}
