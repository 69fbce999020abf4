"""Whole pipelines, small, with several barriers and some dead letters, for tests that fail the disk below them.

Everything in them is repeatable: the same run does the same operations in the same order.
"""

import csv
import datetime
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import attrs
import pyarrow.parquet as pq
from support import run_virtual

from agora import BoundPipeline, Pipeline, RunSummary, seam
from agora.sinks import CsvSink, JsonLinesSink, ParquetSink, SQLiteSink
from agora.sources import CsvSource, JsonLinesSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

__all__ = ["APPENDING", "SCENARIOS", "Outcome", "Scenario"]

RECORDS = 60
CHECKPOINT_EVERY = 17


class RepeatableSeam(seam.Seam):
    """Ids and times that are the same in every run."""

    def __init__(self) -> None:
        super().__init__()
        self._ids = itertools.count(1)
        self._ticks = itertools.count()

    def now(self) -> datetime.datetime:
        start = datetime.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=datetime.UTC)
        return start + datetime.timedelta(seconds=next(self._ticks))

    def random_id(self) -> str:
        return f"{next(self._ids):016x}"


def with_vat(order: dict[str, Any]) -> dict[str, Any]:
    if order["id"] % 29 == 28:
        raise ValueError(f"order {order['id']} is refused")
    return {**order, "gross": order["amount"] * 119}


def orders() -> list[dict[str, Any]]:
    return [
        {"id": number, "amount": number * 7 % 1000, "note": "x" * (number % 5)} for number in range(RECORDS)
    ]


def write_csv(folder: Path) -> None:
    with (folder / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "amount", "note"])
        writer.writeheader()
        writer.writerows(orders())


def write_jsonl(folder: Path) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders()))


def write_csv_and_an_old_target(folder: Path) -> None:
    write_csv(folder)
    (folder / "out.jsonl").write_text('{"old":1}\n')


def write_jsonl_and_an_old_table(folder: Path) -> None:
    write_jsonl(folder)
    connection = apsw.Connection(str(folder / "out.db"))
    connection.execute("CREATE TABLE orders (id INTEGER, amount INTEGER, note TEXT, gross INTEGER)")
    connection.execute("INSERT INTO orders VALUES (-1, 2, 'old', 3)")
    connection.close()


def from_csv(folder: Path) -> CsvSource:
    return CsvSource(folder / "in.csv", types={"id": int, "amount": int})


def from_jsonl(folder: Path) -> JsonLinesSource:
    return JsonLinesSource(folder / "in.jsonl")


def parts(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((folder / "out").glob("*")) for row in pq.read_table(path).to_pylist()]


def table(folder: Path) -> list[Any]:
    connection = apsw.Connection(str(folder / "out.db"))
    try:
        return list(connection.execute("SELECT * FROM orders ORDER BY rowid"))
    finally:
        connection.close()


@attrs.frozen
class Outcome:
    """What came of all runs together."""

    output: Any
    letters: list[Any]
    names: list[str]
    """Of the files that are there, locks aside."""


@attrs.frozen
class Scenario:
    """One pipeline."""

    name: str
    write_input: Callable[[Path], None]
    source: Callable[[Path], Any]
    sink: Callable[[Path], Any]
    read: Callable[[Path], Any]

    def begin(self, folder: Path) -> Path:
        """The folder with nothing but the input."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.write_input(folder)
        return folder

    def bound(self, folder: Path) -> BoundPipeline:
        """New objects, as a new process has."""
        state = SQLiteBackend(folder / "state.db")
        return (
            Pipeline(self.source(folder), name="orders")
            .map(with_vat)
            .to(self.sink(folder))
            .build(
                checkpoint_store=CheckpointStore(state),
                checkpoint_every=CHECKPOINT_EVERY,
                dlq=StateDLQSink(state),
                batch_size=8,
            )
        )

    def run(self, folder: Path, *, restart: bool = False) -> RunSummary:
        return run_virtual(partial(self.bound(folder).run, restart=restart))

    def outcome(self, folder: Path) -> Outcome:
        return Outcome(self.read(folder), run_virtual(letters, folder), sorted(names(folder)))


async def letters(folder: Path) -> list[Any]:
    state = SQLiteBackend(folder / "state.db")
    await state.open()
    try:
        found = StateDLQSink(state).read("orders")
        return [
            (each.id, each.original, each.stage, each.error_message, each.attempts) async for each in found
        ]
    finally:
        await state.close()


def names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if ".locks" not in name and not name.endswith("-shm"):
            yield re.sub(r"-\d+\.parquet", ".parquet", name)  # a part's name holds its run's fencing number


SCENARIOS = [
    Scenario(
        "CSV to JSON lines",
        write_csv,
        from_csv,
        lambda folder: JsonLinesSink(folder / "deep/out.jsonl"),
        lambda folder: (folder / "deep/out.jsonl").read_bytes(),
    ),
    Scenario(
        "CSV to JSON lines that replace a file",
        write_csv_and_an_old_target,
        from_csv,
        lambda folder: JsonLinesSink(folder / "out.jsonl", if_exists="replace"),
        lambda folder: (folder / "out.jsonl").read_bytes(),
    ),
    Scenario(
        "CSV to CSV",
        write_csv,
        from_csv,
        lambda folder: CsvSink(folder / "out.csv"),
        lambda folder: (folder / "out.csv").read_bytes(),
    ),
    Scenario(
        "JSON lines to Parquet",
        write_jsonl,
        from_jsonl,
        lambda folder: ParquetSink(folder / "out", part_rows=20),
        parts,
    ),
    Scenario(
        "JSON lines to SQLite",
        write_jsonl,
        from_jsonl,
        lambda folder: SQLiteSink(folder / "out.db", "orders"),
        table,
    ),
]

APPENDING = [
    Scenario(
        "CSV to JSON lines behind others",
        write_csv_and_an_old_target,
        from_csv,
        lambda folder: JsonLinesSink(folder / "out.jsonl", if_exists="append"),
        lambda folder: (folder / "out.jsonl").read_bytes(),
    ),
    Scenario(
        "JSON lines to SQLite behind others",
        write_jsonl_and_an_old_table,
        from_jsonl,
        lambda folder: SQLiteSink(folder / "out.db", "orders", if_exists="append"),
        table,
    ),
]
"""Onto targets that hold what is somebody else's."""
