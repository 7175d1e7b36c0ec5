"""The one error of the host process, as it crosses the socket.

`code` is for programs, `message` for people: it says what was tried, on which object, why it failed and what
to do.  Codes: `missing_binary` (install the package it names), `no_space`, `invalid` (the caller's record is
wrong), `not_found`, `conflict` (the object's state forbids it, such as a disk in use), `failed` (the system
refused; the message carries its words), `unavailable` (no host process or machine answers), `timeout` (the
outcome is unknown: ask again).
"""

from __future__ import annotations

import errno
from typing import Literal

Code = Literal["missing_binary", "no_space", "invalid", "not_found", "conflict", "failed", "unavailable", "timeout"]


class HostError(Exception):
    """A command was refused or failed.  `code` says of which kind, `message` what a person can do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


def from_os_error(exc: OSError, doing: str) -> HostError:
    """The HostError for what the kernel refused while `doing` something."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostError("no_space", f"no space left on the disk while {doing}: free some, then try again")
    if exc.errno == errno.ENOENT:
        return HostError("not_found", f"missing file while {doing}: {exc}")
    return HostError("failed", f"the system refused while {doing}: {exc}")
