"""The routes of a service, as its application has them."""

from __future__ import annotations

from typing import Any

import falcon.inspect

from cloudseed.kernel.http.routing import Router

falcon.inspect.register_router(Router)(falcon.inspect.inspect_compiled_router)


def routes_of(app: Any) -> list[falcon.inspect.RouteInfo]:
    return falcon.inspect.inspect_routes(app)
