"""Keystone's errors, in the words that its clients know."""

from __future__ import annotations

from cloudseed.kernel import errors


class NotFound(errors.NotFound):
    """`noun` is the resource's name as upstream writes it: user, project, role, ..."""

    def __init__(self, noun: str, which: str) -> None:
        super().__init__(f"Could not find {noun}: {which}.")


class TokenNotFound(errors.NotFound):
    template = "The token is not valid: it is expired, revoked, or was not issued here."


class Invalid(errors.Invalid):
    pass


class Missing(errors.Invalid):
    """A required part of an authentication request is not there."""

    def __init__(self, attribute: str, target: str) -> None:
        super().__init__(f"Expecting to find {attribute} in {target}. The server could not comply with the request "
                         "since it is either malformed or otherwise incorrect. The client is assumed to be in error.")


class Conflict(errors.Conflict):
    """A name or an id is taken."""

    def __init__(self, noun: str, details: str) -> None:
        super().__init__(f"Conflict occurred attempting to store {noun} - {details}.")


class Immutable(errors.Forbidden):
    def __init__(self, noun: str, which: str) -> None:
        super().__init__(f"Cannot change the {noun} {which}: it has the option \"immutable\". "
                         "Set that option to false first.")


class Forbidden(errors.Forbidden):
    pass


class Unauthenticated(errors.Unauthenticated):
    """Says nothing about the reason to the caller: `detail` is for the log."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(None, detail=detail)
