"""What can go wrong with PostgreSQL, in the three kinds that callers treat differently.

`DatabaseUnavailable`: not ours, may be better in a moment. `InvalidValue`: the input's fault. All else is a bug and is
raised as asyncpg has it. The driver's error is always the `__cause__`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

UNAVAILABLE_SQLSTATES = (
    "08",  # connection lost or refused
    "25006",  # a standby after a failover: read-only
    "25P03",  # we let a transaction wait for too long
    "28",  # the login is refused
    "3D000",  # no such database (yet)
    "40",  # deadlock, serialization: the server chose us to give way
    "53",  # out of connections, memory, disk
    "57",  # shutting down, starting up, statement cancelled by its timeout
    "58",  # the server's own I/O
)
INVALID_SQLSTATES = (
    "22",  # a value of the wrong type or out of range, text with NUL
    "23502",  # null where none may be
    "23514",  # a check constraint: length, range, form
)

LEAD = "Lead the address to the primary, or name all servers in it and promote one."
READ_ONLY = f"PostgreSQL takes no writes here: a standby, or default_transaction_read_only is on. {LEAD}"
DATABASE_AWAY = "The database does not answer. Send the same again in a moment."
"""What clients are told of a DatabaseUnavailable; its own text is for the log."""


class DatabaseUnavailable(Exception):
    """PostgreSQL does not answer. Whether the last change was stored is not known; send the same again in a moment."""


class InvalidValue(ValueError):
    """The database refuses a value: too long, out of range, or of the wrong form. Correct it; nothing was stored."""


def unavailable(error: asyncpg.PostgresError) -> bool:
    """Whether the server, not the statement, is what keeps it from being run."""
    return (error.sqlstate or "").startswith(UNAVAILABLE_SQLSTATES)


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors into ours. The body holds database calls alone: any timeout in it is the database's."""
    try:
        yield
    except OSError as error:  # and TimeoutError, which is one
        raise DatabaseUnavailable(f"PostgreSQL does not answer: {type(error).__name__}.") from error
    except asyncpg.PostgresError as error:
        if unavailable(error):
            raise DatabaseUnavailable(f"PostgreSQL cannot serve this now: {error}.") from error
        if (error.sqlstate or "").startswith(INVALID_SQLSTATES):
            raise InvalidValue(_what_is_invalid(error)) from error
        raise
    except asyncpg.ClientConfigurationError as error:
        raise DatabaseUnavailable(f"PostgreSQL's URL cannot be used: {error}.") from error
    except asyncpg.InterfaceError as error:
        # asyncpg has one class for wrong use (our bug) and for a connection that is gone: only its text tells.
        if any(word in str(error) for word in ("closed", "closing", "released back to the pool")):
            raise DatabaseUnavailable("The connection to PostgreSQL is closed.") from error
        raise
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise DatabaseUnavailable(f"No server of the address fits its target_session_attrs. {LEAD}") from error
    except asyncpg.InternalClientError as error:
        # A server that ends says so without being asked; until it closes the connection, whoever borrows it finds the
        # driver still reading that error (its state 2). A connection is lent to one caller, so it cannot be our bug.
        if "another operation (2) is in progress" in str(error):
            raise DatabaseUnavailable("The connection to PostgreSQL is ending.") from error
        raise


def _what_is_invalid(error: asyncpg.PostgresError) -> str:
    """Names the rule that was broken, never the value: that may be private, and errors are logged."""
    constraint = getattr(error, "constraint_name", None)
    return f"The value breaks the rule `{constraint}`." if constraint else "The value cannot be stored."
