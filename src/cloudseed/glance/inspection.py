"""Looks at an image's bytes as they pass, and refuses what could harm a host that opens them.

A qcow2 with a backing file or an external data file, or a VMDK that names other files, makes QEMU read the host's
files for a guest (CVE-2024-32498 and its kin); an image whose content is not what its disk_format says gets the
same treatment from whoever guesses.  oslo.utils' format inspector reads the headers; this decides.
"""

from __future__ import annotations

import io
import logging
from typing import Any, cast

from oslo_utils.imageutils import format_inspector

from cloudseed.glance.errors import FormatRefused

# what may lie in an image of this disk_format, by the inspector's names (upstream's `vhd` is qemu's vpc)
_ACCEPTED = {"raw": {"raw", "gpt", "iso"}, "iso": {"iso", "gpt"}, "qcow2": {"qcow2"}, "vmdk": {"vmdk"},
             "vdi": {"vdi"}, "vhd": {"vhd"}, "vhdx": {"vhdx"}}
# A kernel, a ramdisk or a container is no disk: nothing opens it as one.
_DISK_CONTAINERS = {"bare", None}
_BY_SIZE = {"raw", "gpt", "iso"}  # formats whose virtual size is the file's

logging.getLogger(format_inspector.__name__).setLevel(logging.ERROR)  # it warns of what we report ourselves


class _Window(io.RawIOBase):
    """What the inspector "reads" next."""

    chunk = b""

    def read(self, size: int = -1) -> bytes:
        return self.chunk


class Inspection:
    """Feed it every byte in order, then `finish`.  Both raise FormatRefused with the reason.

    Without `enforce` the content may be of another format than was said; what could harm is refused all the same.
    """

    def __init__(self, disk_format: str, container_format: str | None, *, enforce: bool = True) -> None:
        self._disk_format = disk_format
        self._enforce = enforce
        self._accepted = _ACCEPTED.get(disk_format) if container_format in _DISK_CONTAINERS else None
        self._window = _Window()
        self._wrapper: Any = format_inspector.InspectWrapper(cast(Any, self._window)) if self._accepted else None
        self._matches: list[Any] | None = None
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._wrapper is None:
            return
        if self._matches is not None:
            # a VMDK's footer is at its end; the headers of all others have been seen
            for inspector in self._matches:
                if inspector.NAME == "vmdk":
                    self._guarded(inspector.eat_chunk, chunk)
            return
        self._window.chunk = chunk
        self._guarded(self._wrapper.read, len(chunk))
        matches = self._wrapper.formats
        if matches is not None:
            self._decide(matches)

    def _guarded(self, read: Any, argument: Any) -> None:
        try:
            read(argument)
        except format_inspector.ImageFormatError as exc:
            raise FormatRefused(f"The image's content is malformed: {exc}.") from exc

    def _decide(self, matches: list[Any]) -> None:
        names = {str(match) for match in matches}
        assert self._accepted is not None
        said = names <= self._accepted and (self._disk_format != "iso" or "iso" in names)
        if self._enforce and not said:
            raise FormatRefused(f"The image's disk_format is {self._disk_format}, but its content is "
                                f"{' and '.join(sorted(names))}. Upload it with the right disk_format.")
        self._matches = matches

    def finish(self) -> int | None:
        """All bytes have passed: the virtual size in bytes, None when the format does not say."""
        if self._wrapper is None:
            return None
        if self._matches is None:
            self._wrapper.close()
            self._decide(self._wrapper.formats or [])
        assert self._matches is not None
        virtual_size = None
        for inspector in self._matches:
            inspector.finish()
            name = str(inspector)
            if name not in _BY_SIZE or name == "gpt":
                self._check(inspector)
            virtual_size = self._size if name in _BY_SIZE else int(inspector.virtual_size)
        return virtual_size

    def _check(self, inspector: Any) -> None:
        try:
            inspector.safety_check()
        except format_inspector.SafetyCheckFailed as exc:
            reasons = "; ".join(f"{name.replace('_', ' ')}: {failure}" for name, failure in exc.failures.items())
            raise FormatRefused(f"The {inspector} image is refused: {reasons}.") from exc
        except format_inspector.ImageFormatError as exc:
            raise FormatRefused(f"The {inspector} image is malformed: {exc}.") from exc
