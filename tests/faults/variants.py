"""The pipelines that the campaigns run: every kind of source into every kind of transactional sink.

A run works in the folder that is current: what it reads is `in*`, what it writes `out`, its state `state.db`.
"""

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import apsw
import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import trio
import zstandard

from agora import BoundPipeline, Pipeline
from agora.sinks import CsvSink, JsonLinesSink, ParquetSink, SQLiteSink
from agora.sources import CsvSource, JsonLinesSource, ParquetSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

from .phases import Recorder
from .watching import WatchedSink, WatchedSource, WatchedStore

__all__ = [
    "EVERY",
    "NAME",
    "RECORDS",
    "SECOND",
    "SINKS",
    "VARIANTS",
    "Variant",
    "Verdict",
    "build",
    "feed",
    "letters_of",
    "read_output",
    "sink_of",
]

NAME = "campaign"
RECORDS = 360
EVERY = 20
"""Records between two checkpoints."""
SECOND = 260
"""The records from here on are there only after the pipeline was completed once."""

SOURCES = ("csv", "jsonl", "parquet")
SINKS = ("jsonl", "csv", "parquet", "sqlite")


@attrs.frozen(kw_only=True)
class Variant:
    source: str
    sink: str
    concurrency: int = 1
    state: Literal["", "snapshot", "context"] = ""
    """How a step numbers the records that it sees, and keeps its count."""
    suffix: str = ""
    """Of compressed output."""
    broken: bool = True
    """Whether lines of the source can't be read."""

    @property
    def name(self) -> str:
        mode = "linear" if self.concurrency == 1 else "buffered"
        return "-".join(filter(None, (self.source, self.sink + self.suffix, mode, self.state)))

    @property
    def model(self) -> "Variant":
        """The one whose undisturbed runs say what has to come out: what is buffered has to give the same."""
        return attrs.evolve(self, concurrency=1)

    def feed(self, folder: Path, *, leg: int) -> None:
        feed(self, folder, leg=leg)

    def judge(self, folder: Path, expected: "Verdict | None") -> "Verdict":
        """What is in the folder, and how it differs from what was expected."""
        rows = read_output(self.sink, folder, self.suffix)
        found = Verdict(rows=rows, letters=letters_of(folder), litter=_litter(folder))
        return found if expected is None else found.against(expected)


def _variants() -> Iterator[Variant]:
    states = itertools.cycle(("", "snapshot", "context"))
    for source, sink in itertools.product(SOURCES, SINKS):
        suffix = {("csv", "jsonl"): ".gz", ("jsonl", "csv"): ".zst"}.get((source, sink), "")
        state: Any = next(states)
        for concurrency in (1, 8):
            yield Variant(source=source, sink=sink, concurrency=concurrency, state=state, suffix=suffix)


VARIANTS = {variant.name: variant for variant in _variants()}


# --- what goes in ---


def feed(variant: Variant, folder: Path, *, leg: int) -> None:
    """Leg 0: the first records; leg 1: what has come since then."""
    numbers = range(SECOND) if leg == 0 else range(SECOND, RECORDS)
    if variant.source == "parquet":
        rows = [{"id": number, "amount": number * 7 % 1000} for number in numbers]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"in-{leg}.parquet", row_group_size=50)
        return
    text = "".join(_line(variant, number) for number in numbers)
    if variant.source == "csv" and leg == 0:
        text = "id,amount\n" + text
    with (folder / f"in.{variant.source}").open("a") as file:
        file.write(text)


def _line(variant: Variant, number: int) -> str:
    """A line; one in 300 can't be read."""
    amount: Any = "oops" if variant.broken and number % 300 == 77 else number * 7 % 1000
    return f"{number},{amount}\n" if variant.source == "csv" else f'{{"id": {number}, "amount": {amount}}}\n'


# --- the pipeline ---


def judge(record: dict) -> dict | None:
    """One in a hundred fails, one in fifty is dropped, one in 200 leaves with an amount that no column takes."""
    number = record["id"]
    if number % 100 == 37:
        raise ValueError(f"record {number} is refused")
    if number % 50 == 3:
        return None
    return {**record, "amount": "many"} if number % 200 == 150 else record


async def wait(record: dict) -> dict:
    """So that records overtake one another where they may."""
    for _ in range(record["id"] * 7 % 4):
        await trio.lowlevel.checkpoint()
    return record


class Numbering:
    """Numbers what it sees; the count is a snapshot."""

    count = 0

    def process(self, record: dict) -> dict:
        self.count += 1
        return {**record, "number": self.count}

    def snapshot(self) -> int:
        return self.count

    def restore(self, count: Any) -> None:
        self.count = count


class StateNumbering:
    """Numbers what it sees; the count, and one for each of seven kinds, are in `context.state`."""

    def on_start(self, context: Any) -> None:
        self.state = context.state

    def process(self, record: dict) -> dict:
        kind = f"kind {record['id'] % 7}"
        for key in ("all", kind):
            self.state[key] = self.state.get(key, 0) + 1
        return {**record, "number": self.state["all"] * 1000 + self.state[kind]}


def source_of(kind: str) -> Any:
    if kind == "csv":
        return CsvSource("in.csv", types={"id": int, "amount": int})
    if kind == "jsonl":
        return JsonLinesSource("in.jsonl")
    return ParquetSource("in-*.parquet")


def sink_of(kind: str, suffix: str = "") -> Any:
    if kind == "jsonl":
        return JsonLinesSink(f"out.jsonl{suffix}")
    if kind == "csv":
        return CsvSink(f"out.csv{suffix}")
    if kind == "parquet":
        return ParquetSink("out.parquet", part_rows=60)
    return SQLiteSink("out.db", "rows")


def build(variant: Variant, recorder: Recorder) -> BoundPipeline:
    """The variant's pipeline, watched."""
    state = SQLiteBackend("state.db")
    store = CheckpointStore(state)
    source = WatchedSource(source_of(variant.source), recorder, lambda: store.load(NAME))
    pipeline = Pipeline(source, name=NAME).map(judge)
    if variant.concurrency > 1:
        pipeline = pipeline.map(wait, concurrency=variant.concurrency)
    if variant.state:
        pipeline = pipeline.pipe(
            Numbering() if variant.state == "snapshot" else StateNumbering(), name="numbering"
        )
    sink = WatchedSink(sink_of(variant.sink, variant.suffix), recorder)
    return pipeline.to(sink, name="out").build(
        checkpoint_store=WatchedStore(store, recorder),
        checkpoint_every=EVERY,
        dlq=StateDLQSink(state),
        batch_size=8,
    )


# --- what comes out ---


@attrs.frozen(kw_only=True)
class Verdict:
    """All that a pipeline has left, and what is wrong with it."""

    rows: list[Any] = attrs.field(factory=list)
    """In order; lines, where the output is text."""
    letters: list[dict[str, Any]] = attrs.field(factory=list)
    litter: list[str] = attrs.field(factory=list)
    """Files and tables that only work in progress needs. A lock's file isn't: without a lock on it, it says nothing."""
    wrong: str | None = None
    lost: int = 0
    repeated: int = 0

    def against(self, expected: "Verdict") -> "Verdict":
        wanted, got = Counter(map(_shown, expected.rows)), Counter(map(_shown, self.rows))
        lost, repeated = (wanted - got).total(), (got - wanted).total()
        wrong = None
        if self.rows != expected.rows:
            wrong = f"{lost} rows lost, {repeated} too many, or the order is another"
        elif self.letters != expected.letters:
            wrong = f"{len(self.letters)} letters, not the {len(expected.letters)} that were expected"
        elif self.litter != expected.litter:
            wrong = f"left behind: {self.litter}"
        return attrs.evolve(self, wrong=wrong, lost=lost, repeated=repeated)


def read_output(kind: str, folder: Path, suffix: str = "") -> list[Any]:
    """The rows of a sink's target, in its order."""
    return _READERS[kind](folder, suffix)


def _text(name: str, folder: Path, suffix: str) -> list[bytes]:
    data = (folder / (name + suffix)).read_bytes()
    if suffix == ".gz":
        data = gzip.decompress(data)
    elif suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    return data.splitlines(keepends=True)


def _parquet(folder: Path, suffix: str) -> list[Any]:
    del suffix
    parts = sorted((folder / "out.parquet").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def _sqlite(folder: Path, suffix: str) -> list[Any]:
    del suffix
    connection = apsw.Connection(str(folder / "out.db"), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(rows)")]
        return [
            dict(zip(columns, row, strict=True))
            for row in connection.execute("SELECT * FROM rows ORDER BY rowid")
        ]
    finally:
        connection.close()


_READERS: dict[str, Callable[[Path, str], list[Any]]] = {
    "jsonl": lambda folder, suffix: _text("out.jsonl", folder, suffix),
    "csv": lambda folder, suffix: _text("out.csv", folder, suffix),
    "parquet": _parquet,
    "sqlite": _sqlite,
}


def letters_of(folder: Path) -> list[dict[str, Any]]:
    """In order, and only what doesn't differ from run to run."""
    return trio.run(_read_letters, folder)


async def _read_letters(folder: Path) -> list[dict[str, Any]]:
    found = []
    async for letter in StateDLQSink(SQLiteBackend(folder / "state.db")).read(NAME):
        fields = attrs.asdict(letter)
        for name in ("id", "run_id", "failed_at"):
            del fields[name]
        position = fields["checkpoint"]["position"]
        if isinstance(position, dict):
            position.pop("size", None)  # of the file when it was read: a restart finds it grown
        found.append(fields)
    return found


def _litter(folder: Path) -> list[str]:
    files = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    found = [file for file in files if Path(file).name.startswith(".") or file.endswith(".new")]
    if (folder / "out.db").exists():
        connection = apsw.Connection(str(folder / "out.db"), flags=apsw.SQLITE_OPEN_READWRITE)
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '*staged*'"
        found += [name for (name,) in connection.execute(tables)]
        connection.close()
    return sorted(found)


def _shown(row: Any) -> str:
    """A row as a key to count by."""
    return row.decode() if isinstance(row, bytes) else json.dumps(row, default=str)
