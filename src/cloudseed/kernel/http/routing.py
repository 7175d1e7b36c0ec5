"""falcon's router, filled at half its price.

A cloud has hundreds of routes, and each process fills its routers when it starts.  Of each route's two dozen
methods, most of which are falcon's own answers that there is no such method, falcon asks whether they are coroutines;
here only those are asked about that the resource has.  What the router answers is the same.
"""

from __future__ import annotations

from typing import Any

from falcon.constants import COMBINED_METHODS
from falcon.routing import CompiledRouter

_RESPONDERS = [(method, f"on_{method.lower()}") for method in COMBINED_METHODS]


class Router(CompiledRouter):
    def map_http_methods(self, resource: object, **kwargs: Any) -> dict[str, Any]:
        """Method -> responder, of those that the resource has.  Raises TypeError for one that would block."""
        found = {method: responder for method, name in _RESPONDERS
                 if (responder := getattr(resource, name, None)) is not None}
        super()._require_coroutine_responders(found)
        return found

    def _require_coroutine_responders(self, method_map: Any) -> None:
        """Done: what came to the map since are falcon's own."""
