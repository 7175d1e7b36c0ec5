"""The errors that a service may raise: a small closed tree, mapped to HTTP in one place.

    CloudseedError
    ├── Invalid            400   the request can never succeed as it is
    │   ├── BodyTooLarge   413
    │   └── NotAcceptable  406   (microversions, media types)
    ├── Unauthenticated    401
    ├── Forbidden          403
    │   └── OverQuota      403   (services override the status where upstream does)
    ├── NotFound           404
    ├── Gone               410
    ├── MethodNotAllowed   405
    ├── Conflict           409   the state of the thing, or a lost race
    ├── PreconditionFailed 412
    ├── NoCapacity         409   nothing has room
    ├── Unavailable        503   a part that we need does not answer; a retry makes sense
    │   ├── BrokerAway     503   nobody can be asked
    │   └── Timeout        504   unknown, not failed: ask again
    └── NoSpace            507   a disk is full

Services subclass these with their own messages and, where upstream's clients look at it, `kind` (neutron's
error type) or `code` (placement's error code).  Handlers never build an error body.

An error has two texts: `message`, which the caller reads and can act on, and `detail`, for the log alone.
"""

from __future__ import annotations

from typing import Any


class CloudseedError(Exception):
    """Base of all errors that have a meaning for a caller.

    `template` may hold %(name)s fields, filled from keyword arguments; a positional message wins over it.
    """

    status = 500
    title = "Internal Server Error"
    template = "An unknown error occurred."
    kind: str | None = None  # neutron's `type`, nova's fault element; class name when None
    code: str | None = None  # placement's error code
    retry = False

    def __init__(
        self, message: str | None = None, *, detail: str = "", headers: dict[str, str] | None = None, **fields: Any
    ) -> None:
        self.message = message if message is not None else self.template % fields if fields else self.template
        self.detail = detail
        self.headers = headers or {}
        self.fields = fields
        super().__init__(self.message)


class Invalid(CloudseedError):
    status, title = 400, "Bad Request"
    template = "The request is invalid."


class BodyTooLarge(Invalid):
    status, title = 413, "Request Entity Too Large"
    template = "The request body is larger than %(limit)s bytes."


class NotAcceptable(Invalid):
    status, title = 406, "Not Acceptable"


class UnsupportedMediaType(Invalid):
    status, title = 415, "Unsupported Media Type"


class Unauthenticated(CloudseedError):
    status, title = 401, "Unauthorized"
    template = "The request you have made requires authentication."


class Forbidden(CloudseedError):
    status, title = 403, "Forbidden"
    template = "You are not authorized to perform the requested action."


class OverQuota(Forbidden):
    template = "Quota exceeded."


class NotFound(CloudseedError):
    status, title = 404, "Not Found"
    template = "The resource could not be found."


class Gone(CloudseedError):
    status, title = 410, "Gone"


class MethodNotAllowed(CloudseedError):
    status, title = 405, "Method Not Allowed"
    template = "The method is not allowed for this resource."


class Conflict(CloudseedError):
    status, title = 409, "Conflict"
    template = "The request conflicts with the state of the resource."


class PreconditionFailed(CloudseedError):
    status, title = 412, "Precondition Failed"


class RangeNotSatisfiable(CloudseedError):
    status, title = 416, "Requested Range Not Satisfiable"


class NoCapacity(Conflict):
    template = "There is no room for the request."


class Unavailable(CloudseedError):
    status, title, retry = 503, "Service Unavailable", True
    template = "A service that is needed does not answer; try again."


class BrokerAway(Unavailable):
    """Nobody can be asked: this says nothing of who would have answered."""

    template = "The message broker does not answer; try again."


class Timeout(Unavailable):
    status, title = 504, "Gateway Timeout"
    template = "No answer in time; the outcome is unknown."


class NoSpace(CloudseedError):
    status, title = 507, "Insufficient Storage"
    template = "There is no space left on the disk."


def all_errors() -> dict[str, type[CloudseedError]]:
    """Every error class by name: the bus rebuilds an error from its name on the caller's side."""
    found: dict[str, type[CloudseedError]] = {}
    todo: list[type[CloudseedError]] = [CloudseedError]
    while todo:
        cls = todo.pop()
        found[f"{cls.__module__}.{cls.__qualname__}"] = cls
        todo.extend(cls.__subclasses__())
    return found


def to_wire(error: BaseException) -> dict[str, Any]:
    """An error as a bus message carries it.  What is not ours becomes a nameless bug without its text."""
    if isinstance(error, CloudseedError):
        return {
            "type": f"{type(error).__module__}.{type(error).__qualname__}",
            "message": error.message,
            "fields": {k: v for k, v in error.fields.items() if isinstance(v, str | int | float | bool)},
        }
    return {"type": "bug", "message": f"{type(error).__name__}: {error}", "fields": {}}


def from_wire(wire: dict[str, Any]) -> CloudseedError:
    """The error that `to_wire` described; `CloudseedError` (a 500) when its class is unknown here."""
    cls = all_errors().get(wire["type"], CloudseedError)
    error = cls.__new__(cls)
    CloudseedError.__init__(error, wire["message"], **wire.get("fields", {}))
    return error
