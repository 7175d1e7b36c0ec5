"""How this host is joined to what is around it: told on the host process's command line, the same for all networks."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from cloudseed.host.errors import HostError

_LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
MAX_SHARING = 16


@dataclass(frozen=True)
class Surroundings:
    """`nat`: guests behind routers reach what this host reaches.  `underlay`: this host's address among the hosts,
    by which it joins networks that other hosts have too; empty: it is alone.  `provider_interface`: the link to the
    segment of external networks; empty: this host is their gateway.  `number` of `sharing`: which one this is, from
    0, of so many host processes that share a machine.
    """

    nat: bool = False
    underlay: str = ""
    provider_interface: str = ""
    number: int = 0
    sharing: int = 1

    def __post_init__(self) -> None:
        """Raises HostError `invalid` for what cannot be an address or a link, or another's number."""
        if not 0 <= self.number < self.sharing <= MAX_SHARING:
            message = f"a machine is shared by at most {MAX_SHARING}: there is no {self.number} of {self.sharing}"
            raise HostError("invalid", message)
        if self.underlay:
            try:
                ipaddress.IPv4Address(self.underlay)
            except ValueError:
                message = f"the underlay address must be this host's IPv4 address, not {self.underlay[:64]!r}"
                raise HostError("invalid", message) from None
        if self.provider_interface and not _LINK.match(self.provider_interface):
            message = f"the provider interface must be the name of a link, not {self.provider_interface[:64]!r}"
            raise HostError("invalid", message)
