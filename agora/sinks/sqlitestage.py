"""One run's way into a table: what is staged, prepared and committed, and what recovery makes of what is found.

With checkpoints the staged rows are a table of the same database, named by the mark and the fencing number,
so they outlive the process; without, a temporary one that ends with it. Nothing is made before the first
record, not even the database.
"""

# ruff: noqa: S608 - names can't be bound as parameters; every one is quoted or a constant
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw
import attrs

from agora import seam
from agora.context import RunContext
from agora.errors import ConfigError, PipelineBusy, SinkChanged
from agora.records import Record
from agora.sinks.encode import Rejections
from agora.sinks.sqlitecolumns import Given
from agora.sinks.sqlitedb import Database, quoted
from agora.sinks.sqlitemarks import Marks, drop_staging, staging_name
from agora.sinks.sqliterows import RowEncoder
from agora.sinks.sqlitestaging import Fit, Staging, count_staged, move
from agora.sinks.sqlitetable import Table, look
from agora.sinks.sqlitetoken import Mark, TableToken, recovery, undoing
from agora.state.sqlitefile import STATE_TABLES, is_state

__all__ = ["StagedTable"]

T = TypeVar("T")


@attrs.define(eq=False)
class StagedTable:
    """Every method blocks. After an error of `write` nothing of its records is staged."""

    path: Path
    given: Given
    context: RunContext
    named: str
    """The database as messages name it."""

    _db: Database | None = attrs.field(init=False, default=None)
    _id: str = attrs.field(init=False)
    _marks: Marks = attrs.field(init=False)
    _table: Table | None = attrs.field(init=False, default=None)
    _settled: bool = attrs.field(init=False, default=False)  # what becomes of an existing table is decided
    _created: bool = attrs.field(init=False, default=True)
    _replaces: bool = attrs.field(init=False, default=False)
    _rows: RowEncoder | None = attrs.field(init=False, default=None)
    _staging: Staging | None = attrs.field(init=False, default=None)
    _wanted: bool = attrs.field(init=False, default=False)
    _seen: int = attrs.field(init=False, default=0)  # what `others_wrote` said when the first row was tried
    _committed: int = attrs.field(init=False, default=0)  # number of the last commit
    _number: int = attrs.field(init=False, default=0)  # of the last prepare
    _staged_seq: int = attrs.field(init=False, default=0)  # the last rows staged, prepared and moved
    _prepared_seq: int = attrs.field(init=False, default=0)
    _moved_seq: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._id = seam.current().random_id()
        self._marks = Marks(self.context, self.given.table, self.shown)

    @property
    def shown(self) -> str:
        """The table as messages name it."""
        return f"{self.named}: table {self.given.table!r}"

    # --- a run ---

    def open(self) -> None:
        """Find out whether the database can be used, if it is there."""
        try:
            self._look()
            if not self.context.transactional:
                self._settle()
        except BaseException:
            self.close()
            raise

    def write(self, records: Sequence[Record]) -> Rejections:
        """Stage all that the table will take; the others' errors by index."""
        self._settle()
        before = self._rows, self._staging, self._seen
        encoder = self._rows.copy() if self._rows is not None else self._first_encoder(records)
        try:
            with self._open_db().transaction(durable=False):
                staging = self._begin(encoder)
                known = len(encoder.types)
                rows, rejected = encoder.rows(records)
                for number in range(known, len(encoder.types)):
                    staging.add_column(number)
                refused = staging.accept(rows, self._fit(encoder), after=self._staged_seq)
        except BaseException:
            self._rows, self._staging, self._seen = before
            raise
        self._rows = encoder
        self._staged_seq += len(rows) - len(refused)
        return dict(sorted({**rejected, **refused}.items()))

    def finish(self) -> None:
        self._wanted = True

    def prepare(self) -> TableToken:
        """What was staged is durable, and was tried again where others wrote to the database meanwhile."""
        self._settle()
        if self._staged_seq > self._prepared_seq or self._due_empty:
            encoder = self._rows or self._first_encoder(())
            encoder.freeze()
            self._rows = encoder
            with self._open_db().transaction(durable=True) as connection:
                staging = self._begin(encoder)
                if self.context.transactional:
                    self._marks.touch(connection, self._id)
                self._try_again(connection, staging)
            self._number, self._prepared_seq = max(self._number, self._committed) + 1, self._staged_seq
        return self._token()

    def commit(self, token: TableToken) -> None:
        """The table holds what the token says, durably. Does nothing the second time."""
        if token.number == 0:
            return
        db = self._open_db()
        with db.transaction(durable=True) as connection:
            mark = self._marks.must_hold(connection, token.id)
            if mark.number < token.number:
                self._marks.set(connection, token.id, self._move(db, token, mark))
        if token.number > self._committed:
            self._committed, self._moved_seq, self._replaces = token.number, token.seq, False
            self._look()

    def publish(self) -> None:
        """All of it at once, durably; without checkpoints."""
        self._wanted = True
        token = self.prepare()
        if token.number == 0:
            return
        db = self._open_db()
        with db.transaction(durable=True):
            self._move(db, token, Mark(fence=0, number=0, rows=0, first=0, last=0, mixed=False))

    def close(self) -> None:
        """Discard what no token covers; the connection is closed in every case."""
        db, self._db = self._db, None
        if db is None:
            return
        try:
            if self._staging is not None and self.context.transactional:
                with contextlib.suppress(PipelineBusy):  # then it is the later runner's to clear up
                    self._discard(db, self._staging)
        finally:
            self._staging = None
            db.close()

    # --- recovery ---

    def recover(self, token: TableToken) -> None:
        """`SinkChanged` where the table isn't what the token says."""
        self._look()
        resumed = self.context.resumed_from
        completed = resumed is not None and resumed.completed
        table = self._table

        def act(db: Database | None) -> bool:
            mark = None if db is None else self._marks.hold(db.connection, token.id)
            action = recovery(
                token,
                mark,
                shown=self.shown,
                exists=table is not None,
                completed=completed,
                staged=0 if db is None else self._count(db.connection, token),
            )
            if db is not None:
                if action == "complete":
                    assert mark is not None
                    self._marks.set(db.connection, token.id, self._move(db, token, mark))
                if action == "anew" and mark is not None:  # so that a crash from here on finds it begun
                    self._marks.set(db.connection, token.id, mark.begun_anew())
                drop_staging(db.connection, token.id)
            return action == "anew"

        anew = self._in_transaction(act)
        self._look()
        self._id, self._committed, self._number = token.id, token.number, token.number
        self._created = token.created or anew
        if token.number and token.columns and self._table is not None:
            self._rows = self.given.next_encoder(
                self._table, token.types, created=token.created, shown=self.shown
            )

    def restart(self, token: TableToken) -> None:
        """Delete the rows that the mark names. `SinkChanged` where they can't be told from others."""
        self._look()
        table = self._table

        def act(db: Database | None) -> None:
            if db is None:
                return
            mark = self._marks.hold(db.connection, token.id)
            if table is not None and self.given.if_exists != "replace":
                self._undo(db.connection, token, mark, table)
            drop_staging(db.connection, token.id)
            if mark is not None:  # it stays, and says that nothing is left: this may be asked for again
                self._marks.set(db.connection, token.id, attrs.evolve(mark, number=0, rows=0, mixed=False))

        self._in_transaction(act)
        self._look()

    def _in_transaction(self, act: Callable[[Database | None], T]) -> T:
        """Where there is a database; nothing is made for it."""
        if self._db is None:
            return act(None)
        with self._db.transaction(durable=True):
            return act(self._db)

    def _undo(self, connection: apsw.Connection, token: TableToken, mark: Mark | None, table: Table) -> None:
        name = f"main.{quoted(table.name)}"
        ours = f"FROM {name} WHERE {quoted(table.rowid or '')} BETWEEN ? AND ?"
        found = 0
        if mark is not None and table.rowid is not None:
            found = connection.execute(f"SELECT count(*) {ours}", (mark.first, mark.last)).get
        rowids = undoing(mark, token, shown=self.shown, upserts=bool(token.key), found=found)
        if rowids is not None:
            connection.execute(f"DELETE {ours}", rowids)
        made = token.created and mark is not None and mark.number > 0
        if made and not connection.execute(f"SELECT EXISTS (SELECT 1 FROM {name})").get:
            connection.execute(f"DROP TABLE {name}")

    def _count(self, connection: apsw.Connection, token: TableToken) -> int:
        if token.staging is None or look(connection, token.staging) is None:
            return 0
        return count_staged(connection, token, f"main.{quoted(token.staging)}")

    # --- the table ---

    def _look(self) -> None:
        if self._db is None and self.path.exists():
            self._db = Database(self.path, self.named)
        if self._db is None:
            self._table = None
            return
        try:
            with self._db.explained():
                self._table = look(self._db.connection, self.given.table)
                if is_state(self._db.connection) and self.given.table.lower() in STATE_TABLES:
                    raise TypeError("it is where agora keeps its state")
        except TypeError as error:
            raise ConfigError(f"{self.shown} can't be written: {error}") from error

    def _settle(self) -> None:
        """Decide, once, what becomes of a table that is there. `SinkChanged`, `ConfigError`."""
        if self._settled:
            return
        if self._committed == 0:
            self._look()
            self._created = self._table is None
            self._replaces = self._table is not None and self.given.if_exists == "replace"
            if self._table is not None and self.given.if_exists == "error":
                raise SinkChanged(
                    f"{self.shown} exists, and no checkpoint of this pipeline knows it: drop it, or say "
                    'if_exists="append" or if_exists="replace"'
                )
        if self._table is not None:
            self.given.check(self._table, self.shown)
        self._settled = True

    def _first_encoder(self, records: Sequence[Record]) -> RowEncoder:
        return self.given.first_encoder(None if self._created else self._table, records)

    def _fit(self, encoder: RowEncoder) -> Fit:
        return Fit(
            table=self._table,
            columns=encoder.types,
            key=self.given.key,
            valued=encoder.valued,
            replaces=self._replaces,
        )

    # --- in a transaction ---

    def _open_db(self) -> Database:
        if self._db is None:
            self._db = Database(self.path, self.named)
        return self._db

    def _begin(self, encoder: RowEncoder) -> Staging:
        """Hold the mark against earlier runners; make it, and the table of staged rows, where they aren't."""
        db = self._open_db()
        if self._staging is not None:
            if self.context.transactional:
                self._marks.must_hold(db.connection, self._id)
            return self._staging
        schema = "temp"
        if self.context.transactional:
            schema = "main"
            self._marks.make(db.connection, self._id, self._committed)
            drop_staging(db.connection, self._id)
        name = staging_name(self._id, self.context.fence)
        self._staging = Staging(db, f"{schema}.{quoted(name)}", self.shown)
        self._staging.create(self._fit(encoder))
        self._seen = db.others_wrote()
        return self._staging

    def _try_again(self, connection: apsw.Connection, staging: Staging) -> None:
        now = staging.db.others_wrote()
        if now == self._seen:
            return
        self._seen = now
        self._table = look(connection, self.given.table)
        if self._table is not None and self._rows is not None:
            staging.try_all(self._fit(self._rows))

    def _move(self, db: Database, token: TableToken, mark: Mark) -> Mark:
        where = f"{'main' if self.context.transactional else 'temp'}.{quoted(token.staging or '')}"
        return move(db, token, mark, where, look(db.connection, token.table), self.shown)

    def _discard(self, db: Database, staging: Staging) -> None:
        with db.transaction(durable=False) as connection:
            if self._marks.hold(connection, self._id) is None:
                return
            if self._prepared_seq > self._moved_seq:
                staging.drop_behind(self._prepared_seq)
            else:
                drop_staging(connection, self._id)

    # --- tokens ---

    @property
    def _due_empty(self) -> bool:
        """Whether the table has to be made, or emptied, though no record came."""
        if not self._wanted or self._committed or self._number:
            return False
        return self._replaces or (self._created and self.given.schema is not None)

    def _token(self) -> TableToken:
        return TableToken(
            table=self.given.table,
            id=self._id,
            after=self._committed,
            number=max(self._number, self._committed),
            staging=None if self._staging is None else staging_name(self._id, self.context.fence),
            seq=self._prepared_seq,
            rows=self._prepared_seq - self._moved_seq,
            created=self._created,
            replaces=self._replaces,
            columns=[]
            if self._rows is None or self._rows.typing
            else [list(c) for c in self._rows.types.items()],
            key=list(self.given.key),
        )
