"""The statements of the SQLite backend: what is read and changed in one connection, in one thread call."""

from collections.abc import Sequence

import apsw

from agora.state.base import Change, Delete, Expect, Put
from agora.state.transaction import check_text, not_met

__all__ = ["apply_changes", "read_page", "read_value"]

_GET = "SELECT value FROM entries WHERE namespace = ? AND key = ? AND (expires IS NULL OR expires > ?)"
_PUT = (
    "INSERT INTO entries (namespace, key, value, expires) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)
_DELETE = "DELETE FROM entries WHERE namespace = ? AND key = ?"
_PURGE = (
    "DELETE FROM entries WHERE (namespace, key) IN"
    " (SELECT namespace, key FROM entries WHERE expires <= ? ORDER BY expires LIMIT ?)"
)
_FIRST_PAGE = "SELECT key, value, expires FROM entries WHERE namespace = ? AND key >= ? ORDER BY key"
_NEXT_PAGE = "SELECT key, value, expires FROM entries WHERE namespace = ? AND key > ? ORDER BY key"

_PAGE_ROWS = 256
_PAGE_BYTES = 1 << 20
_PURGE_ROWS = 100  # at least; twice as many as were put where that is more, so that purging keeps up


def read_value(connection: apsw.Connection, namespace: str, key: str, now: float) -> bytes | None:
    """The value unless it has expired at `now` (seconds of the wall clock)."""
    row = connection.execute(_GET, (namespace, key, now)).fetchone()
    return None if row is None else row[0]


def read_page(
    connection: apsw.Connection, *, namespace: str, prefix: str, after: str | None, now: float
) -> tuple[list[tuple[str, bytes]], str | None]:
    """Live entries behind the key `after`, a bounded number, and the key to go on from (`None`: that was
    all)."""
    page: list[tuple[str, bytes]] = []
    size = 0
    query, start = (_FIRST_PAGE, prefix) if after is None else (_NEXT_PAGE, after)
    cursor = connection.execute(query, (namespace, start))
    try:
        for key, value, expires in cursor:
            if not key.startswith(prefix):
                return page, None
            if expires is None or expires > now:
                page.append((key, value))
                size += len(value)
                if len(page) >= _PAGE_ROWS or size >= _PAGE_BYTES:
                    return page, key
    finally:
        cursor.close()
    return page, None


def apply_changes(connection: apsw.Connection, changes: Sequence[Change], now: float, place: str) -> None:
    """Everything in one transaction; an expectation that doesn't hold, or an error, leaves nothing behind."""
    check_text(changes, place)
    execute = connection.cursor().execute
    execute("BEGIN IMMEDIATE")
    try:
        _check_expectations(connection, changes, now, place)
        expiring = 0
        for change in changes:
            if isinstance(change, Put):
                expires = None if change.ttl is None else now + change.ttl
                expiring += expires is not None
                execute(_PUT, (change.namespace, change.key, change.value, expires))
            elif isinstance(change, Delete):
                execute(_DELETE, (change.namespace, change.key))
        if expiring:
            execute(_PURGE, (now, max(_PURGE_ROWS, 2 * expiring)))
        execute("COMMIT")
    except BaseException:
        if not connection.get_autocommit():
            execute("ROLLBACK")
        raise


def _check_expectations(
    connection: apsw.Connection, changes: Sequence[Change], now: float, place: str
) -> None:
    """All of them before any change, so that their order among the changes doesn't matter."""
    for change in changes:
        if isinstance(change, Expect):
            found = read_value(connection, change.namespace, change.key, now)
            if found != change.value:
                raise not_met(change, place)
