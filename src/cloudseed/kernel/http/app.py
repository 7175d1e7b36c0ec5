"""How a request reaches a handler, the same in every service.

A service is a `falcon.asgi.App` made by `make_app`; handlers are falcon resource classes, one a URL:

    class ServerResource:                                # /v2.1/servers/{server_id}
        def __init__(self, nova): self.nova = nova
        async def on_get(self, req, resp, server_id):
            server = await servers.get_server(self.nova, req.ctx, server_id)
            resp.media = {"server": view(server)}

Order, and why: the edge (`edge.py`) drops identity headers, names the request and records it; then here the
token is validated (unless the resource says `public = True`, or names the methods that are public), then the
microversion is negotiated, so that a stranger learns nothing; then the handler; then errors are rendered in the
service's format.
Raise from `errors`; never build an error body in a handler.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import falcon
import falcon.asgi
import falcon.media

from cloudseed.kernel import errors
from cloudseed.kernel.context import Context, Identity, Trace, trace_for_audit_id
from cloudseed.kernel.http import faults, json
from cloudseed.kernel.http.faults import FaultFormat
from cloudseed.kernel.http.microversion import Microversions
from cloudseed.kernel.http.request import ClientGone, Request
from cloudseed.kernel.http.routing import Router

log = logging.getLogger(__name__)
Response = falcon.asgi.Response


class Validator(Protocol):
    """Turns a token into an identity (kernel/auth.py; keystone has its own)."""

    async def validate(self, ctx: Context, token: str, service_token: str | None = None) -> Identity: ...


class _Pipeline:
    """Falcon middleware: identity and microversion before the handler, standard headers after it."""

    def __init__(
        self,
        validator: Validator,
        microversions: Microversions | None,
        identity_url: str,
        microversion_errors_public: bool,
    ) -> None:
        self._validator = validator
        self._microversions = microversions
        self._challenge = f'Keystone uri="{identity_url}"'
        self._early = microversion_errors_public

    async def process_resource(self, req: Request, resp: Response, resource: Any, params: Any) -> None:
        public = getattr(resource, "public", False)
        if not isinstance(public, bool):
            public = req.method in public
        token = req.get_header("X-Auth-Token")
        if token and not (public and not getattr(resource, "optional_token", False)):
            await self._authenticate(req, token)
        elif not public:
            raise errors.Unauthenticated(headers={"WWW-Authenticate": self._challenge})
        if self._microversions is not None and not getattr(resource, "unversioned", False):
            legacy = self._microversions.legacy_header
            req.microversion = self._microversions.negotiate(
                req.get_header("OpenStack-API-Version"), req.get_header(legacy) if legacy else None
            )

    async def _authenticate(self, req: Request, token: str) -> None:
        state = req.state
        try:
            identity = await self._validator.validate(state.context, token, req.get_header("X-Service-Token"))
        except errors.Unauthenticated as exc:
            exc.headers.setdefault("WWW-Authenticate", self._challenge)
            raise
        state.context.identity = identity
        if state.caller is None and not req.get_header("traceparent"):
            # a client's run is many requests with one token: they are one flow
            state.authenticated_as = identity.audit_id
            state.context.trace = Trace(trace_for_audit_id(identity.audit_id), state.context.trace.span_id)

    async def process_response(self, req: Request, resp: Response, resource: Any, succeeded: bool) -> None:
        resp.set_header("X-OpenStack-Request-ID", req.ctx.request_id)
        if self._microversions is not None and req.microversion != (0, 0):
            for name, value in self._microversions.headers(req.microversion).items():
                resp.set_header(name, value)


def make_app(
    routes: Mapping[str, Any],
    *,
    fault: FaultFormat,
    validator: Validator,
    identity_url: str,
    microversions: Microversions | None = None,
    request_type: type[Request] = Request,
    legacy_request_id: str | None = None,
    on_error: Callable[[Request, Response, errors.CloudseedError], Awaitable[None]] | None = None,
) -> falcon.asgi.App[Any, Any]:
    """A service's ASGI app.

    `routes`: URI template -> resource object.  `fault`: its error format (`faults.py`).  `identity_url`: named
    in the 401 challenge.  `on_error`: a last word on an error response (extra headers).
    """
    app: Any = falcon.asgi.App(
        request_type=request_type, middleware=[_Pipeline(validator, microversions, identity_url, False)],
        router=Router(),
    )
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    app.req_options.auto_parse_qs_csv = False
    app.resp_options.default_media_type = "application/json"
    handler = falcon.media.JSONHandler(dumps=json.encode, loads=json.decode_text)
    app.resp_options.media_handlers = falcon.media.Handlers({"application/json": handler})
    for template, resource in routes.items():
        app.add_route(template, resource)

    async def answer(req: Request, resp: Response, error: errors.CloudseedError) -> None:
        resp.status = f"{error.status} {error.title}"
        resp.stream = None
        body = fault(error, req.ctx)
        if isinstance(error, errors.Unauthenticated) and not isinstance(body, str):
            body = faults.keystone(error, req.ctx)  # upstream, keystonemiddleware answers before the service
        if isinstance(body, str):
            resp.content_type = "text/html; charset=UTF-8"
            resp.text = body
        else:
            resp.content_type = "application/json"
            resp.media = body
        for name, value in error.headers.items():
            resp.set_header(name, value)
        if on_error is not None:
            await on_error(req, resp, error)

    async def ours(req: Request, resp: Response, exc: errors.CloudseedError, params: Any) -> None:
        if exc.status >= 500:
            log.warning(
                "%s %s %s: %s %s %s",
                req.ctx.request_id,
                req.method,
                req.path,
                exc.status,
                exc.message,
                exc.detail,
                exc_info=exc,
            )
        await answer(req, resp, exc)

    async def falcons(req: Request, resp: Response, exc: falcon.HTTPError, params: Any) -> None:
        error = _from_falcon(exc)
        await answer(req, resp, error)

    async def bug(req: Request, resp: Response, exc: Exception, params: Any) -> None:
        if isinstance(exc, falcon.HTTPStatus):
            raise exc
        log.error("%s %s %s failed: a bug", req.ctx.request_id, req.method, req.path, exc_info=exc)
        await answer(
            req,
            resp,
            errors.CloudseedError(
                "An unexpected error prevented the server from fulfilling your request. "
                f"It was logged as {req.ctx.request_id}."
            ),
        )

    async def gone(req: Request, resp: Response, exc: ClientGone, params: Any) -> None:
        await answer(req, resp, exc)

    app.add_error_handler(Exception, bug)
    app.add_error_handler(falcon.HTTPError, falcons)
    app.add_error_handler(errors.CloudseedError, ours)
    app.add_error_handler(ClientGone, gone)
    return app  # type: ignore[no-any-return]


def _from_falcon(exc: falcon.HTTPError) -> errors.CloudseedError:
    """Falcon's own errors (no route, wrong method, unreadable header) as ours."""
    status = int(exc.status.split()[0]) if isinstance(exc.status, str) else int(exc.status)
    known: dict[int, type[errors.CloudseedError]] = {
        400: errors.Invalid,
        404: errors.NotFound,
        405: errors.MethodNotAllowed,
        413: errors.BodyTooLarge,
        415: errors.UnsupportedMediaType,
        416: errors.RangeNotSatisfiable,
    }
    headers = dict(exc.headers) if isinstance(exc.headers, Mapping) else dict(exc.headers or [])
    cls = known.get(status, errors.Invalid)
    message = cls.template if status in (404, 405) else exc.description or exc.title or cls.template
    return cls(message, headers=headers)
