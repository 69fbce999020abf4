"""What a table has to hold, what its mark says it holds, and what recovery makes of the two: pure decisions.

The mark is a row in the database itself, changed in the very transaction that moves staged rows into the
table, so it is true whatever happened to the runner. It is found by an id that the base token names: another
pipeline of the same name, or a state that was reset, has another.
"""

from typing import Any, Literal

import attrs

from agora.errors import SinkChanged
from agora.records import Json

__all__ = ["Action", "Mark", "TableToken", "recovery", "undoing"]

Action = Literal["nothing", "complete", "anew"]
"""Drop what is staged; move what the token names, then drop the rest; begin a table in place of one that is
gone."""


@attrs.frozen(kw_only=True)
class TableToken:
    """What the table has to hold. JSON-able through `to_json`."""

    table: str
    id: str
    """Of the mark."""
    after: int
    """Number of the commit that it builds on; 0 before the first."""
    number: int
    """Number of its own commit; equal to `after` where nothing came since."""
    staging: str | None
    seq: int
    """The last staged row that belongs to it."""
    rows: int
    """How many rows are staged for it."""
    created: bool
    """The pipeline makes the table."""
    replaces: bool
    """The first commit removes the rows that are there."""
    columns: list[list[str]]
    """Names and types, in the order of the staged columns; empty until they are known. A type is `""` in a table of
    others."""
    key: list[str]

    @property
    def types(self) -> dict[str, str]:
        """Of each column, in their order."""
        return {column[0]: column[1] for column in self.columns}

    def to_json(self) -> dict[str, Json]:
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, token: Json, table: str) -> "TableToken":
        """`SinkChanged` for a token of another kind of sink, or another table."""
        names = {field.name for field in attrs.fields(cls)}
        if not isinstance(token, dict) or token.keys() != names:
            raise SinkChanged(
                f"the checkpoint holds {token!r} for this sink, which isn't a SQLite table's token: the sink of "
                "this name was of another kind when it was saved. Give it a new name=, or run with restart=True"
            )
        known: dict[str, Any] = dict(token)
        if known["table"] != table:
            raise SinkChanged(
                f"the checkpoint speaks of the table {known['table']!r}, the sink of this name now writes "
                f"{table!r}: give it a new name=, or run with restart=True"
            )
        return cls(**known)


@attrs.frozen(kw_only=True)
class Mark:
    """What the table holds of a pipeline's rows."""

    fence: int
    """Of the last runner."""
    number: int
    """Of the last commit; 0 before the first."""
    rows: int
    """Rows inserted by all commits."""
    first: int
    """The rowids of the first and last of them."""
    last: int
    mixed: bool
    """The rows can't be told from others by their rowids."""

    def begun_anew(self) -> "Mark":
        """Of a table that takes the place of one that is gone."""
        return attrs.evolve(self, rows=0, first=0, last=0, mixed=False)


_WAYS_OUT = (
    "Put back what was there; or drop the table and start over with restart=True (`agora run --restart`)"
)


def recovery(
    token: TableToken, mark: Mark | None, *, shown: str, exists: bool, completed: bool, staged: int
) -> Action:
    """What to do to a table whose last saved token this is. `SinkChanged` where it isn't that table.

    `exists`: the table is there; `completed`: the checkpoint is of a completed run; `staged`: rows found that
    are staged for the token.
    """
    number = 0 if mark is None else mark.number
    if number > token.number:
        raise SinkChanged(
            f"{shown} is ahead of the checkpoint (commit {number}, the checkpoint knows {token.number}): the "
            "state is older than the table. Use the newer state; or drop the table and start over with "
            "restart=True"
        )
    if token.number == 0:
        return "nothing"
    gone = not exists and (mark is None or mark.rows == 0 or completed)
    if number == token.number or mark is None:
        if mark is not None and exists:
            return "nothing"
        if gone and (completed or mark is not None):
            return "anew"
        what = "is missing" if not exists else "isn't the table that was written: it holds no mark of it"
        raise SinkChanged(f"{shown} {what}, though rows of it are committed. {_WAYS_OUT}")
    if number < token.after or staged != token.rows:
        raise SinkChanged(
            f"{shown} is older than the checkpoint (commit {number}, the checkpoint knows {token.number}), as "
            f"after a database was restored from a copy. {_WAYS_OUT}"
        )
    if not exists and mark.rows:
        raise SinkChanged(f"{shown} is missing, though rows of it are committed. {_WAYS_OUT}")
    return "complete"


def undoing(
    mark: Mark | None, token: TableToken, *, shown: str, upserts: bool, found: int
) -> tuple[int, int] | None:
    """The first and last rowid of the rows that a restart deletes, `None` for none. `SinkChanged` where they
    can't be told.

    `found`: how many rows there are between them now. Of a table that is there and isn't replaced.
    """
    if mark is None and token.number == 0:
        return None
    if mark is not None and (mark.number == 0 or mark.rows == 0):
        return None
    what = None
    if mark is None:
        what = "it holds no mark of this pipeline"
    elif upserts:
        what = "an upsert overwrites rows, and what they were is not kept"
    elif mark.mixed:
        what = "others wrote to it in between, or its rowids are given by the records"
    elif found != mark.rows:
        what = f"of {mark.rows} rows that were written, {found} are there"
    if what is not None:
        raise SinkChanged(
            f"{shown} can't be started over, its rows can't be told from others: {what}. Drop the table; or say "
            'if_exists="replace", which replaces all of them; or delete its rows by hand, reset the checkpoint '
            '(agora checkpoint reset) and say if_exists="append"'
        )
    assert mark is not None
    return mark.first, mark.last
