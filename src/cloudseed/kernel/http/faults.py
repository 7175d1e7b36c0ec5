"""Error bodies, in each service's own upstream format.  One function a format: (status, error) -> JSON body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError

FaultFormat = Callable[[CloudseedError, Context], Any]

_NOVA_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    500: "computeFault",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def nova(error: CloudseedError, ctx: Context) -> Any:
    """{"itemNotFound": {"code": 404, "message": ...}}; also cinder's."""
    name = error.kind or _NOVA_NAMES.get(error.status, "computeFault")
    return {name: {"code": error.status, "message": error.message}}


def keystone(error: CloudseedError, ctx: Context) -> Any:
    """{"error": {"code": 404, "title": "Not Found", "message": ...}}"""
    return {"error": {"code": error.status, "title": error.title, "message": error.message}}


def neutron(error: CloudseedError, ctx: Context) -> Any:
    """{"NeutronError": {"type": "NetworkNotFound", "message": ..., "detail": ""}}"""
    return {"NeutronError": {"type": error.kind or type(error).__name__, "message": error.message, "detail": ""}}


def placement(error: CloudseedError, ctx: Context) -> Any:
    """The API working group's errors: {"errors": [{"status", "title", "detail", "request_id", "code"}]}"""
    return {
        "errors": [
            {
                "status": error.status,
                "title": error.title,
                "detail": error.message,
                "code": error.code or "placement.undefined_code",
                "request_id": ctx.request_id,
            }
        ]
    }


def glance(error: CloudseedError, ctx: Context) -> str:
    """Glance answers errors as a small HTML page, as webob makes it."""
    text = error.message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f"<html>\n <head>\n  <title>{error.status} {error.title}</title>\n </head>\n <body>\n"
        f"  <h1>{error.status} {error.title}</h1>\n  {text}<br /><br />\n\n\n </body>\n</html>"
    )


def swift(error: CloudseedError, ctx: Context) -> str:
    """Swift answers errors as a line of HTML."""
    text = error.message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<html><h1>{error.title}</h1><p>{text}</p></html>"
