"""The scheduler's door: `select_destination` and `release` on the topic `scheduler`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Scheduler:
    """Chooses and claims; topic `scheduler`."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova

    async def start(self) -> None:
        """Listen on the topic `scheduler`."""
