"""What every record and every command is."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the values inside commands and answers: frozen, and an unknown field is an error."""


class Command(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything that can be asked; the class name travels as `type`."""
