"""Swift's errors: the kernel's, with swift's texts, and the few statuses that only swift has."""

from __future__ import annotations

from cloudseed.kernel import errors


class BadRequest(errors.Invalid):
    pass


class AccessDenied(errors.Forbidden):
    template = "Access was denied to this resource."


class NoSuchThing(errors.NotFound):
    template = "The resource could not be found."


class ThereIsConflict(errors.Conflict):
    template = "There was a conflict when trying to complete your request."


class LengthRequired(errors.Invalid):
    status, title = 411, "Length Required"
    template = "Content-Length is required."


class Precondition(errors.PreconditionFailed):
    template = "A precondition for this request was not met."


class TooLarge(errors.BodyTooLarge):
    template = "The body of your request was too large for this server."


class EtagMismatch(errors.Invalid):
    status, title = 422, "Unprocessable Entity"
    template = "The bytes received do not have the sent ETag; nothing was stored."


class ClientDisconnected(errors.Invalid):
    status, title = 499, "Client Disconnect"
    template = "The client was disconnected before the body ended; nothing was stored."


class NotModified(errors.CloudseedError):
    """Not an error to the client: 304, with the object's headers."""

    status, title = 304, "Not Modified"
    template = ""
