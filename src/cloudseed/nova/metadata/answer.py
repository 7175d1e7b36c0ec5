"""What crosses between a host's door and nova: where a guest's request came from, and what it is answered."""

from __future__ import annotations

import msgspec

TOPIC = "nova-metadata"
TEXT = "text/plain"
_REASONS = {
    400: "The server could not comply with the request since it is either malformed or otherwise incorrect.",
    404: "The resource could not be found.", 405: "The method is not allowed for this resource.",
    409: "There was a conflict when trying to complete your request.",
    500: "An unknown error has occurred. Please try your request again.",
    503: "The metadata service cannot answer now. Please try your request again."}
_TITLES = {400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
           500: "Internal Server Error", 503: "Service Unavailable"}


class Source(msgspec.Struct, frozen=True):
    """Where a connection came from, as the host process saw it; `router_id`: by that router's link in the network."""

    remote_address: str
    network_id: str = ""
    router_id: str = ""


class Answer(msgspec.Struct, frozen=True):
    """`content_type` without its charset."""

    status: int
    body: bytes
    content_type: str = TEXT


def refusal(status: int, reason: str = "") -> Answer:
    """An error as upstream's service words it, in HTML."""
    title = f"{status} {_TITLES.get(status, 'Error')}"
    words = reason or _REASONS.get(status, "")
    page = (f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n  {words}<br /><br />\n"
            "\n\n\n </body>\n</html>")
    return Answer(status, page.encode(), "text/html")
