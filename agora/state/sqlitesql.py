"""The statements of the SQLite backend: what is read and changed in one connection, in one thread call.

Every row that is looked at is checked, the neighbours of one that isn't found too: there a row is whose key was
damaged, so that it is reported and not taken for absent.
"""

from collections.abc import Sequence

import apsw

from agora.state.base import Change, Delete, Expect, Put
from agora.state.sqliterow import opened, sealed
from agora.state.transaction import check_text, not_met

__all__ = ["apply_changes", "read_page", "read_value"]

_ROWS = "SELECT namespace, key, value, expires FROM entries WHERE (namespace, key)"
_FROM = f"{_ROWS} >= (?, ?) ORDER BY namespace, key"
_AFTER = f"{_ROWS} > (?, ?) ORDER BY namespace, key"
_BEFORE = f"{_ROWS} < (?, ?) ORDER BY namespace DESC, key DESC LIMIT 1"
_PUT = (
    "INSERT INTO entries (namespace, key, value, expires) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)
_DELETE = "DELETE FROM entries WHERE namespace = ? AND key = ?"
_PURGE = (
    "DELETE FROM entries WHERE (namespace, key) IN"
    " (SELECT namespace, key FROM entries WHERE expires <= ? ORDER BY expires LIMIT ?)"
)

_PAGE_ROWS = 256
_PAGE_BYTES = 1 << 20
_PURGE_ROWS = 100  # at least; twice as many as were put where that is more, so that purging keeps up


def read_value(connection: apsw.Connection, namespace: str, key: str, now: float) -> bytes | None:
    """The value unless it has expired at `now` (seconds of the wall clock)."""
    for found_namespace, found_key, stored, expires in connection.execute(
        f"{_FROM} LIMIT 1", (namespace, key)
    ):
        value = opened(found_namespace, found_key, expires, stored)
        if (found_namespace, found_key) == (namespace, key):
            return value if expires is None or expires > now else None
    _check_before(connection, namespace, key)
    return None


def read_page(
    connection: apsw.Connection, *, namespace: str, prefix: str, after: str | None, now: float
) -> tuple[list[tuple[str, bytes]], str | None]:
    """Live entries behind the key `after`, a bounded number, and the key to go on from (`None`: that was
    all)."""
    page: list[tuple[str, bytes]] = []
    size = 0
    query, start = (_FROM, prefix) if after is None else (_AFTER, after)
    if after is None:
        _check_before(connection, namespace, prefix)
    cursor = connection.execute(query, (namespace, start))
    try:
        for found_namespace, key, stored, expires in cursor:
            value = opened(found_namespace, key, expires, stored)
            if found_namespace != namespace or not key.startswith(prefix):
                return page, None
            if expires is None or expires > now:
                page.append((key, value))
                size += len(value)
                if len(page) >= _PAGE_ROWS or size >= _PAGE_BYTES:
                    return page, key
    finally:
        cursor.close()
    return page, None


def _check_before(connection: apsw.Connection, namespace: str, key: str) -> None:
    for found_namespace, found_key, stored, expires in connection.execute(_BEFORE, (namespace, key)):
        opened(found_namespace, found_key, expires, stored)


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
                stored = sealed(change.namespace, change.key, expires, change.value)
                execute(_PUT, (change.namespace, change.key, stored, expires))
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
