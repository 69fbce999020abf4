"""Sinks that are broken on purpose, each in one way. `BROKEN` says which law each of them breaks: one of those
that are parted by "|".

What they write to is a "database" in memory, one a place, that outlives every crash. Sinks of files: `filesinks`.
"""

import attrs
import trio
from testing.broken.labelled import Broken

from agora import RecordsRejected


@attrs.define
class Database:
    rows: list = attrs.field(factory=list)
    staged: list = attrs.field(factory=list)
    marks: list = attrs.field(factory=list)


DATABASES = {}


def rows_of(place):
    return list(DATABASES.setdefault(place, Database()).rows)


class Table:
    """By the rules: rows are staged, and moved by the commit. Negative ids are refused."""

    def __init__(self, place):
        self.place = place
        self.database = DATABASES.setdefault(place, Database())
        self.base = 0

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        bad = {index: ValueError("negative") for index, each in enumerate(records) if each["id"] < 0}
        self.database.staged += [each for index, each in enumerate(records) if index not in bad]
        if bad:
            raise RecordsRejected(bad)

    async def prepare(self):
        await trio.lowlevel.checkpoint()
        return {"total": len(self.database.rows) + len(self.database.staged), "base": self.base}

    async def commit(self, token):
        await trio.lowlevel.checkpoint()
        missing = max(0, token["total"] - len(self.database.rows))
        self.database.rows += self.database.staged[:missing]
        del self.database.staged[:missing]

    async def recover(self, token):
        await self.commit(token)
        self.database.staged.clear()

    async def restart(self, token):
        await trio.lowlevel.checkpoint()
        del self.database.rows[token["base"] :]
        self.database.staged.clear()


# delivered


class Reverses(Table):
    async def write(self, records):
        await super().write(records[::-1])


class LosesTheLast(Table):
    async def commit(self, token):
        await super().commit({**token, "total": max(0, token["total"] - 1)})


# refused


class NamesTheNext(Table):
    """Names the record behind the one that it refuses."""

    async def write(self, records):
        try:
            await super().write(records)
        except RecordsRejected as rejected:
            last = len(records) - 1
            raise RecordsRejected(
                {min(index + 1, last): error for index, error in rejected.errors.items()}
            ) from None


class StopsAtTheFirst(Table):
    """Names the first it refuses, and drops all behind it."""

    async def write(self, records):
        for index, each in enumerate(records):
            if each["id"] < 0:
                raise RecordsRejected({index: ValueError("negative")})
            await super().write([each])


class TakesNeighbours(Table):
    """Refuses the whole batch."""

    async def write(self, records):
        if any(each["id"] < 0 for each in records):
            raise RecordsRejected({index: ValueError("one of them") for index in range(len(records))})
        await super().write(records)


# borders


class DropsTheSame(Table):
    """Drops what is in a batch twice."""

    async def write(self, records):
        seen = []
        await super().write([each for each in records if each not in seen and not seen.append(each)])


class RefusesTheSame(Table):
    """Refuses what is in a batch twice."""

    async def write(self, records):
        again = {index: ValueError("again") for index, each in enumerate(records) if each in records[:index]}
        await super().write([each for index, each in enumerate(records) if index not in again])
        if again:
            raise RecordsRejected(again)


class RefusesAll(Table):
    """Refuses what it has to accept."""

    async def write(self, records):
        raise RecordsRejected({index: ValueError("no") for index in range(len(records))})


# atomic


class HalfWritten(Table):
    """Says that a raise means nothing was written, and has written what came before."""

    atomic_write = True

    async def write(self, records):
        for each in records:
            if each["id"] < 0:
                raise ValueError("negative")
            await super().write([each])


# columns


class ColumnsWithoutNone(Table):
    """In columns, an empty name becomes `None`."""

    async def write_columns(self, batch):
        rows = batch.to_pylist()
        await self.write([{**row, "name": row["name"] or None} for row in rows])


# nothing


class CreatesAtOnce(Table):
    async def prepare(self):
        (self.place / "table").touch()
        return await super().prepare()


# tokens


class TupleToken(Table):
    async def prepare(self):
        return {**await super().prepare(), "range": (0, 1)}


# commit


class CommitsAgain(Table):
    """Moves what was staged without a look at the token."""

    kept = ()

    async def commit(self, token):
        await trio.lowlevel.checkpoint()
        self.kept = self.database.staged or self.kept
        self.database.rows += self.kept
        self.database.staged = []

    async def prepare(self):
        self.kept = ()
        return await super().prepare()


# recover


class NeverUndoes(Table):
    """What a dead run had staged is there when the next one commits."""

    async def recover(self, token):
        await self.commit(token)


class NeverCompletes(Table):
    """Takes what wasn't committed for what wasn't saved."""

    async def recover(self, token):
        await trio.lowlevel.checkpoint()
        self.database.staged.clear()


class CommitsInPrepare(Table):
    """Can't take back what was prepared."""

    async def prepare(self):
        token = await super().prepare()
        await self.commit(token)
        return token


# once


class ShortOfMemory:
    """No transactions; what was accepted is kept in the object, and `flush` doesn't deliver it."""

    def __init__(self, place):
        self.database = DATABASES.setdefault(place, Database())
        self.waiting = []

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        self.waiting += records

    async def close(self):
        await trio.lowlevel.checkpoint()
        self.database.rows += self.waiting


# restart


class ForgetsTheFirst(Table):
    """Leaves a row of the first run."""

    async def restart(self, token):
        await super().restart({"base": token["base"] + 1})


# publish


class PublishesPieces:
    """Without checkpoints, it appears as it is written."""

    def __init__(self, place):
        self.database = DATABASES.setdefault(place, Database())

    async def open(self, context):
        await trio.lowlevel.checkpoint()
        if not context.transactional:
            self.database.rows.clear()

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        self.database.rows += records

    async def publish(self):
        await trio.lowlevel.checkpoint()


# idempotent


class SaysSo:
    """Appends, and says that it upserts."""

    idempotent = True

    def __init__(self, place):
        self.database = DATABASES.setdefault(place, Database())

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        self.database.rows += records


# closing


class LeavesAFile(Table):
    """Its file stays open where the run fails."""

    kept = []  # noqa: RUF012  - so that no garbage collector closes it

    async def open(self, context):
        await trio.lowlevel.checkpoint()
        self.file = open(__file__)  # noqa: SIM115  - the bug
        self.kept.append(self.file)

    async def finish(self):
        await trio.lowlevel.checkpoint()
        self.file.close()


BROKEN = [
    Broken(Reverses, "refused|delivered"),
    Broken(LosesTheLast, "delivered"),
    Broken(NamesTheNext, "refused|delivered"),
    Broken(StopsAtTheFirst, "refused|delivered|borders"),
    Broken(TakesNeighbours, "refused"),
    Broken(DropsTheSame, "borders|delivered"),
    Broken(RefusesTheSame, "borders|refused"),
    Broken(RefusesAll, "refused"),
    Broken(HalfWritten, "atomic|delivered|borders"),
    Broken(ColumnsWithoutNone, "columns"),
    Broken(CreatesAtOnce, "nothing"),
    Broken(TupleToken, "tokens"),
    Broken(CommitsAgain, "commit"),
    Broken(NeverUndoes, "once"),
    Broken(NeverCompletes, "recover"),
    Broken(CommitsInPrepare, "recover"),
    Broken(ShortOfMemory, "once"),
    Broken(ForgetsTheFirst, "restart"),
    Broken(PublishesPieces, "publish"),
    Broken(SaysSo, "idempotent"),
    Broken(LeavesAFile, "closing"),
]
