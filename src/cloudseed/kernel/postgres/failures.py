"""What a failure of PostgreSQL, or of the way to it, means for the caller."""

from __future__ import annotations

import asyncio

import asyncpg
import sqlalchemy as sa

from cloudseed.kernel.errors import CloudseedError, Invalid, NoSpace, Unavailable

# whatever the driver, SQLAlchemy or a socket may raise
FAILURES = (sa.exc.DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError,
            TimeoutError, EOFError)
# SQLSTATEs after which the same transaction may well succeed
_PASSING = (
    "08",  # the connection
    "40",  # serialization failures and deadlocks
    "53",  # connections or memory run out
    "55P03",  # a lock was not free in time
    "57",  # the server stops, starts, was told to cancel, or a timeout passed
    "58",  # the server's disk or files
    "25P03",  # idle in a transaction for too long: this process was stopped meanwhile
    "XX",
)


def explain(error: BaseException) -> CloudseedError | None:
    """Our error for one of the driver's or of SQLAlchemy's; None for what the statement itself did wrong."""
    cause: BaseException | None = error
    if isinstance(error, sa.exc.DBAPIError):
        cause = error.orig.__cause__ if error.orig is not None and error.orig.__cause__ is not None else error.orig
    detail = f"{type(cause).__name__}: {cause}"
    match cause:
        case asyncpg.DiskFullError():
            return NoSpace("The database cannot grow: its server's disk is full. Free some space and try again.",
                           detail=detail)
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError() | UnicodeEncodeError():
            return Invalid("A text holds a character that cannot be stored, such as NUL.", detail=detail)
        case asyncpg.NumericValueOutOfRangeError():
            return Invalid("A number is too large to be stored.", detail=detail)
        case asyncpg.InvalidRegularExpressionError():
            return Invalid(f"The filter's regular expression is not valid: {cause}.", detail=detail)
        case asyncpg.DataError() if "out of" in str(cause):  # found by the driver, before the server
            return Invalid("A number is too large to be stored.", detail=detail)
        case asyncpg.DataError():
            return None
        case asyncpg.PostgresError() if (cause.sqlstate or "").startswith(_PASSING):
            return _unavailable(detail)
        case asyncpg.InterfaceError() | asyncpg.InternalClientError() | OSError() | TimeoutError() | EOFError():
            return _unavailable(detail)
        case asyncio.IncompleteReadError():
            return _unavailable(detail)
    return None


def _unavailable(detail: str) -> Unavailable:
    return Unavailable("The database does not answer; try again.", detail=detail)
