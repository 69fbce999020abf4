"""A pipeline of which everything can be changed between two runs, and what it has to have written after them."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import attrs
import pyarrow.parquet as pq

from agora import BoundPipeline, Pipeline
from agora.sinks import CsvSink, JsonLinesSink, ParquetSink, SQLiteSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

from .dying import die

__all__ = ["RECORDS", "SAVED", "Setup", "Sink", "read", "written"]

RECORDS = 40
"""Of the source."""
DIES_AT = 25
"""The record at which a run in a process that is to die does so."""
SAVED = 20
"""Where the last checkpoint is then."""


def _double(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "twice": 2 * record["n"]}


def _triple(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "thrice": 3 * record["n"]}


def _odd(record: dict[str, Any]) -> bool:
    return bool(record["n"] % 2)


class Seen:
    """Passes the first record of each remainder by 30: 0 to 29, if it knows of them all."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        if record["n"] % 30 in self.seen:
            return None
        self.seen.add(record["n"] % 30)
        return record

    def snapshot(self) -> list[int]:
        return sorted(self.seen)

    def restore(self, state: Any) -> None:
        self.seen = set(state)


def strike(record: dict[str, Any]) -> None:
    """The last sink: what is before it has been written by those before it."""
    if "DYING" in os.environ and int(record["n"]) == DIES_AT:
        die()


@attrs.frozen
class Sink:
    """One sink of a setup."""

    kind: str = "jsonl"
    file: str = "out.jsonl"
    name: str | None = None
    where: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def make(self, folder: Path) -> Any:
        kinds: dict[str, Any] = {"jsonl": JsonLinesSink, "csv": CsvSink, "parquet": ParquetSink}
        if self.kind == "sqlite":
            return SQLiteSink(folder / self.file, **{"table": "t", **self.options})
        return kinds[self.kind](folder / self.file, **self.options)


@attrs.frozen(kw_only=True)
class Setup:
    """One pipeline; every field is something that a person changes in a config file."""

    name: str = "p"
    state: str = "state.db"
    source: str = "in.csv"
    source_options: Mapping[str, Any] = attrs.field(factory=lambda: {"types": {"n": int}})
    steps: Sequence[tuple[str, str]] = (("double", "double"),)
    """(kind, name) of each."""
    concurrency: int = 1
    sinks: Sequence[Sink] = (Sink(),)
    every: int = 10
    batch_size: int = 4

    def build(self, folder: Path) -> BoundPipeline:
        state = SQLiteBackend(folder / self.state)
        pipeline = Pipeline(CsvSource(folder / self.source, **self.source_options), name=self.name)
        for kind, name in self.steps:
            if kind == "seen":
                pipeline = pipeline.pipe(Seen(), name=name)
            elif kind == "odd":
                pipeline = pipeline.filter(_odd, name=name)
            else:
                step = {"double": _double, "triple": _triple}[kind]
                pipeline = pipeline.map(step, name=name, concurrency=self.concurrency)
        for sink in self.sinks:
            pipeline = pipeline.to(sink.make(folder), name=sink.name, where=sink.where and _odd)
        return pipeline.to(strike).build(
            checkpoint_store=CheckpointStore(state),
            dlq=StateDLQSink(state),
            checkpoint_every=self.every,
            batch_size=self.batch_size,
        )


def written(runs: Sequence[tuple[Setup, range]], file: str) -> list[dict[str, Any]]:
    """What a file has to hold after these runs, each of which has the numbers that are its: worked out a record at a
    time, with nothing of the engine. A stateful step of one name goes on where the run before left it."""
    states: dict[str, Seen] = {}
    records = []
    for setup, numbers in runs:
        sinks = [sink for sink in setup.sinks if sink.file == file]
        states = {name: states.get(name) or Seen() for kind, name in setup.steps if kind == "seen"}
        for number in numbers:
            types = setup.source_options.get("types", {})
            record: dict[str, Any] | None = {
                "n": types.get("n", str)(str(number)),
                "text": f"text {number}",
            }
            for kind, name in setup.steps:
                if record is None:
                    break
                if kind == "seen":
                    record = states[name].process(record)
                elif kind == "odd":
                    record = record if _odd(record) else None
                else:
                    record = {"double": _double, "triple": _triple}[kind](record)
            if record is not None and sinks and (sinks[0].where is None or _odd(record)):
                records.append(record)
    return records


def read(folder: Path, sink: Sink) -> list[dict[str, Any]]:
    """What a sink's target holds; numbers of CSV are numbers again."""
    path = folder / sink.file
    if not path.exists():
        return []
    match sink.kind:
        case "jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        case "csv":
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            return [
                {key: int(value) if key != "text" else value for key, value in row.items()} for row in rows
            ]
        case "parquet":
            return [row for part in sorted(path.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
        case _:
            connection = apsw.Connection(str(path))
            try:
                table = sink.options.get("table", "t")
                names = [
                    name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
                ]
                rows = connection.execute(f'SELECT * FROM "{table}" ORDER BY rowid').fetchall()
                return [dict(zip(names, row, strict=True)) for row in rows]
            finally:
                connection.close()
