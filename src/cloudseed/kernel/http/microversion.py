"""Microversion negotiation (the API working group's `OpenStack-API-Version`), and older shapes as adapters.

Handlers know the newest shape only.  `Adapters` holds, for one resource, the changes of shape by version:
a request is lifted from its version to the newest, a response is lowered from the newest to its version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from cloudseed.kernel.errors import Invalid, NotAcceptable, NotFound

Version = tuple[int, int]
_FORM = re.compile(r"^([1-9]\d*|0)\.([1-9]\d*|0)$")


def parse(text: str) -> Version:
    """ "2.90" as (2, 90).  Raises Invalid."""
    match = _FORM.match(text)
    if not match or len(text) > 12:
        raise Invalid(f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
    return int(match[1]), int(match[2])


def render(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


class Microversions(NamedTuple):
    """What a service offers: `service_type` as in `OpenStack-API-Version: compute 2.90`."""

    service_type: str
    minimum: Version
    maximum: Version
    default: Version
    legacy_header: str | None = None  # nova's X-OpenStack-Nova-API-Version

    def negotiate(self, header: str | None, legacy: str | None) -> Version:
        """The version that a request asks for.  Raises Invalid (400) and NotAcceptable (406), as upstream."""
        wanted = None
        for item in (header or "").split(","):
            name, _, value = item.strip().partition(" ")
            if name.lower() == self.service_type:
                wanted = value.strip()
        wanted = wanted or (legacy.strip() if legacy else None)
        if not wanted:
            return self.default
        if wanted == "latest":
            return self.maximum
        version = parse(wanted)
        if not self.minimum <= version <= self.maximum:
            raise NotAcceptable(
                f"Version {wanted} is not supported by the API. Minimum is "
                f"{render(self.minimum)} and maximum is {render(self.maximum)}."
            )
        return version

    def headers(self, version: Version) -> dict[str, str]:
        """Response headers that say which version was served."""
        out = {"OpenStack-API-Version": f"{self.service_type} {render(version)}", "Vary": "OpenStack-API-Version"}
        if self.legacy_header:
            out[self.legacy_header] = render(version)
            out["Vary"] = f"OpenStack-API-Version, {self.legacy_header}"
        return out


class Adapter(NamedTuple):
    """The change that came with `version`.  `request` lifts an older body to this version's shape, `response`
    lowers this version's body to the one before; both change the body in place."""

    version: Version
    request: Callable[[Any], None] | None = None
    response: Callable[[Any], None] | None = None


class Adapters:
    """A resource's adapters, in any order; applied as a chain."""

    def __init__(self, *adapters: Adapter) -> None:
        self._chain = sorted(adapters, key=lambda a: a.version)

    def lift(self, version: Version, body: Any) -> Any:
        for adapter in self._chain:
            if version < adapter.version and adapter.request:
                adapter.request(body)
        return body

    def lower(self, version: Version, body: Any) -> Any:
        for adapter in reversed(self._chain):
            if version < adapter.version and adapter.response:
                adapter.response(body)
        return body


def require(version: Version, minimum: Version = (0, 0), maximum: Version = (99, 999)) -> None:
    """A resource or action that exists only in some versions answers 404 in the others."""
    if not minimum <= version <= maximum:
        raise NotFound("The resource could not be found.")
