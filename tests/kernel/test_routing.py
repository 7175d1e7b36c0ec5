"""Our router answers as falcon's own does."""

from __future__ import annotations

from typing import Any

import pytest
from falcon.routing import CompiledRouter

from cloudseed.kernel.http.routing import Router


class Things:
    async def on_get(self, req: Any, resp: Any) -> None: ...

    async def on_post(self, req: Any, resp: Any) -> None: ...


class Thing:
    async def on_patch(self, req: Any, resp: Any, thing_id: str) -> None: ...

    async def on_websocket(self, req: Any, ws: Any, thing_id: str) -> None: ...


class Blocking:
    def on_get(self, req: Any, resp: Any) -> None: ...


ROUTES: dict[str, Any] = {"/": Things(), "/things": Things(), "/things/{thing_id}": Thing(),
                          "/things/{thing_id}/parts": Things()}


def filled(router: CompiledRouter) -> CompiledRouter:
    for template, resource in ROUTES.items():
        router.add_route(template, resource, _asgi=True)
    return router


@pytest.mark.parametrize("path", ["/", "/things", "/things/1", "/things/1/parts", "/things/1/other", "/nothing"])
def test_the_same_answer(path: str) -> None:
    ours, falcons = filled(Router()).find(path), filled(CompiledRouter()).find(path)
    assert (ours is None) == (falcons is None)
    if ours is not None and falcons is not None:
        assert ours[0] is falcons[0] and ours[2:] == falcons[2:]
        assert ours[1].keys() == falcons[1].keys()  # a responder for every method, falcon's where there is none
        for method, responder in ours[1].items():
            assert responder.__qualname__ == falcons[1][method].__qualname__


def test_a_responder_that_would_block_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a non-blocking"):
        Router().add_route("/things", Blocking(), _asgi=True)
