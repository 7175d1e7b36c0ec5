"""Which requests of operations came here before: a first try need not look for what an earlier one made.

The conductor says `again` when it asks for the second time.  That is not all: the first message may come twice, or
after the second one, or be delivered again to a compute that was killed after it had made ports and before it said
so.  Then what was made is looked for too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from cloudseed.kernel import bus
from cloudseed.nova.compute.admission import Ask

MEMORY = 5000  # requests; a message lives for minutes, and a host begins a few operations a second at most


class Begun:
    """The last requests that this process was asked."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._asks: OrderedDict[Ask, None] = OrderedDict()

    def corrected(self, ask: Ask, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments, with `again` set where it is known better here."""
        if arguments.get("again", True):
            return arguments
        known = ask in self._asks or bus.repeated()
        self._asks[ask] = None
        if len(self._asks) > self._memory:
            self._asks.popitem(last=False)
        return {**arguments, "again": known}
