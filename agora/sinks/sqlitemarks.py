"""Marks: one row for each pipeline's way into a table, in the database that the table is in.

A mark says which commit was the last and which runner may make the next one, so a commit that is repeated
does nothing, and that of a runner whose lease was taken over is refused by the database itself.
"""

# ruff: noqa: S608 - names can't be bound as parameters; every one is quoted or a constant
from typing import Any

import apsw
import attrs

from agora.context import RunContext
from agora.errors import PipelineBusy, SinkChanged
from agora.sinks.sqlitedb import quoted
from agora.sinks.sqliterows import RESERVED
from agora.sinks.sqlitetoken import Mark

__all__ = ["Marks", "drop_staging", "staging_name"]

_MARKS = f"main.{RESERVED}marks_1"  # the number is that of the format
_CREATE = f"""
    CREATE TABLE IF NOT EXISTS {_MARKS} (
        id TEXT PRIMARY KEY,
        pipeline TEXT NOT NULL,
        stage TEXT NOT NULL,
        target TEXT NOT NULL,
        fence INTEGER NOT NULL,
        number INTEGER NOT NULL,
        prepares INTEGER NOT NULL DEFAULT 0,
        rows INTEGER NOT NULL DEFAULT 0,
        first INTEGER NOT NULL DEFAULT 0,
        last INTEGER NOT NULL DEFAULT 0,
        mixed INTEGER NOT NULL DEFAULT 0
    ) STRICT
"""


@attrs.frozen
class Marks:
    """The marks of one run's table. Every call is inside a transaction."""

    context: RunContext
    table: str
    shown: str

    def hold(self, connection: apsw.Connection, id_: str) -> Mark | None:
        """The mark, held against earlier runners from now on; `None` where there is none. `PipelineBusy`
        where a later one holds it."""
        if connection.table_exists("main", _MARKS.removeprefix("main.")):
            row = connection.execute(
                f"SELECT fence, number, rows, first, last, mixed FROM {_MARKS} WHERE id = ?", (id_,)
            ).fetchone()
        else:
            row = None
        if row is None:
            return None
        fence, number, rows, first, last, mixed = row
        if fence > self.context.fence:
            raise PipelineBusy(
                f"pipeline {self.context.pipeline!r}: a later runner (fence {fence}) has taken over {self.shown}, "
                f"so this run (fence {self.context.fence}) writes nothing more to it"
            )
        if fence < self.context.fence:
            connection.execute(f"UPDATE {_MARKS} SET fence = ? WHERE id = ?", (self.context.fence, id_))
        return Mark(fence=fence, number=number, rows=rows, first=first, last=last, mixed=bool(mixed))

    def make(self, connection: apsw.Connection, id_: str, number: int) -> None:
        """Hold the mark; make it where there is none, as one of `number` commits."""
        connection.execute(_CREATE)
        if self.hold(connection, id_) is None:
            connection.execute(
                f"INSERT INTO {_MARKS} (id, pipeline, stage, target, fence, number) VALUES (?, ?, ?, ?, ?, ?)",
                (id_, self.context.pipeline, self.context.stage, self.table, self.context.fence, number),
            )

    def must_hold(self, connection: apsw.Connection, id_: str) -> Mark:
        """The mark, which has to be there."""
        mark = self.hold(connection, id_)
        if mark is None:
            raise SinkChanged(
                f"{self.shown} holds no mark of this pipeline anymore: the database was replaced, or another "
                "run started over. Run again"
            )
        return mark

    def touch(self, connection: apsw.Connection, id_: str) -> None:
        """Change something, so that the commit of the transaction is made durable."""
        connection.execute(f"UPDATE {_MARKS} SET prepares = prepares + 1 WHERE id = ?", (id_,))

    def set(self, connection: apsw.Connection, id_: str, mark: Mark) -> None:
        connection.execute(
            f"UPDATE {_MARKS} SET number = ?, rows = ?, first = ?, last = ?, mixed = ? WHERE id = ?",
            (mark.number, mark.rows, mark.first, mark.last, int(mark.mixed), id_),
        )


def staging_name(id_: str, fence: int) -> str:
    """Of the table of staged rows; the fencing number keeps two holders' rows apart."""
    return f"{RESERVED}staged_{id_}_{fence}"


def drop_staging(connection: apsw.Connection, id_: str) -> None:
    """Remove what any runner has staged under this mark."""
    found: list[Any] = connection.execute(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name GLOB ?",
        (f"{RESERVED}staged_{id_}_*",),
    ).fetchall()
    for (name,) in found:
        connection.execute(f"DROP TABLE main.{quoted(name)}")
