"""Consoles of machines for viewers of other machines."""

from __future__ import annotations

from typing import Literal

from cloudseed.host.records.base import Command


class OpenConsole(Command, frozen=True, kw_only=True):
    """Let one connection from the address `peer` to a machine's console, within half a minute. -> Door

    `not_found` when the machine does not run.
    """

    server_id: str
    kind: Literal["novnc", "serial"]
    peer: str
