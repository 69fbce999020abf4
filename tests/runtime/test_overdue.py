"""A loop that is always overdue gives way after each record, and the run gives what it gives in peace."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support import ListSink, Records, run_virtual

from agora import Pipeline, seam
from agora.sinks import MemorySink
from agora.sources import IterableSource


class Raised(list[None]):
    """A flag that nothing takes down."""

    def __init__(self) -> None:
        super().__init__([None])

    def clear(self) -> None: ...


class Overdue(seam.Seam):
    def overdue_flag(self) -> list[None]:
        return Raised()


def odd(record: Any) -> Any:
    if record["id"] % 2:
        raise ValueError(record["id"])
    return record


def children(record: Any) -> Iterator[Any]:
    for number in range(record["id"] % 4):
        if number == 2:
            raise ValueError(record["id"])
        yield {**record, "child": number}


async def awaited(record: Any) -> AsyncIterator[Any]:
    for child in children(record):
        yield child


class Iterating:
    """Children by an async iterator of a class's own."""

    def __init__(self, record: Any) -> None:
        self.children = children(record)

    def __aiter__(self) -> "Iterating":
        return self

    async def __anext__(self) -> Any:
        for child in self.children:
            return child
        raise StopAsyncIteration


def iterated(record: Any) -> Iterating:
    return Iterating(record)


class Rows:
    """Holds every record back until the end."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def process(self, record: Any) -> None:
        self.held.append(record)

    def finish(self) -> list[Any]:
        return [*self.held, None]


class Batches:
    """So does this, by batches."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        self.held += records
        return [None] * len(records)

    def finish(self) -> list[Any]:
        return [*self.held, None]


class Half:
    """Fails for a batch as a whole."""

    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        return [odd(record) for record in records]


class InColumns:
    """Fails for a RecordBatch as a whole."""

    def process_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        odds = pc.bit_wise_and(batch["id"], 1)
        if pc.sum(odds).as_py():
            raise ValueError("an odd one")
        return batch


@attrs.define
class Tables:
    """A source of RecordBatches."""

    async def batches(self) -> AsyncIterator[pa.RecordBatch]:
        for start in range(0, 20, 5):
            yield pa.RecordBatch.from_pylist([{"id": number} for number in range(start, start + 5)])


SHAPES: dict[str, Callable[[Any], Any]] = {
    "map": lambda start: start.map(odd),
    "map that passes": lambda start: start.map(odd, on_error="pass"),
    "buffered map": lambda start: start.map(odd, concurrency=3),
    "flat_map": lambda start: start.flat_map(children),
    "flat_map that passes": lambda start: start.flat_map(children, on_error="pass"),
    "async flat_map that passes": lambda start: start.flat_map(awaited, on_error="pass"),
    "flat_map of iterators": lambda start: start.flat_map(iterated),
    "buffered flat_map": lambda start: start.flat_map(children, concurrency=3),
    "rows at the end": lambda start: start.pipe(Rows()),
    "batches at the end": lambda start: start.pipe(Batches()),
    "failing batches": lambda start: start.pipe(Half()),
    "failing columns": lambda start: start.pipe(InColumns()),
    "expressions": lambda start: start.where("10 / (id - 3) > 0"),
}


def ended(start: Callable[[], Any], shape: str, around: seam.Seam) -> Any:
    sink, letters = ListSink(how="record", bad=lambda record: record["id"] == 6), MemorySink()
    bound = SHAPES[shape](start()).to(sink).build(dlq=letters, batch_size=4)
    with seam.use(around):
        summary = run_virtual(bound.run)
    numbers = (summary.read, summary.written, summary.dropped, summary.dead_lettered, dict(summary.stages))
    return sink.records, [(each.stage, each.original, each.entry) for each in letters.records], numbers


@pytest.mark.parametrize("source", ["one by one", "in blocks", "in columns", "of an iterator"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_gives_way_all_the_time_gives_the_same(shape: str, source: str) -> None:
    starts: dict[str, Callable[[], Any]] = {
        "one by one": lambda: Pipeline(Records(20), name="p"),
        "in blocks": lambda: Pipeline(Records(20, block=3), name="p"),
        "in columns": lambda: Pipeline(Tables(), name="p"),
        "of an iterator": lambda: Pipeline(IterableSource({"id": n} for n in range(20)), name="p"),
    }
    in_peace = ended(starts[source], shape, seam.Seam())
    assert ended(starts[source], shape, Overdue()) == in_peace
    assert in_peace[0]
