"""CSV to JSON lines with a filter and a computed field, against the loop that one would write without a library."""

import csv
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import trio

from agora import Pipeline
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend
from benchmarks.rounds import Comparison, interleaved

__all__ = ["add_euros", "files", "is_large", "write_orders"]

Order = dict[str, Any]


def files(*, full: bool, rounds: int) -> list[Comparison]:
    """At least as fast as `csv.DictReader` and `json.dumps`, with and without checkpoints."""
    records = 500_000 if full else 100_000
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        source = here / "orders.csv"
        write_orders(source, records)
        return interleaved(
            "csv to jsonl",
            {
                "agora": lambda: _agora(source, here / "agora.jsonl", None),
                "loop": lambda: _by_hand(source, here / "loop.jsonl"),
            },
            rounds=rounds,
            targets={"loop": 1.0},
            records=records,
        ) + interleaved(
            "checkpointed",
            {
                "agora": lambda: _agora(source, here / "saved.jsonl", here / "state.db"),
                "loop": lambda: _by_hand(source, here / "loop.jsonl"),
            },
            rounds=rounds,
            targets={"loop": 1.0},
            records=records,
        )


def write_orders(path: Path, records: int) -> None:
    """A CSV of this many made-up orders, the same each time."""
    chance = random.Random(5)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "customer", "country", "amount", "ordered_on"])
        for number in range(records):
            customer, country = (
                f"customer {chance.randrange(10_000)}",
                chance.choice(["DE", "FR", "GB", "US"]),
            )
            day = f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
            writer.writerow([number, customer, country, f"{chance.uniform(0, 1_000):.2f}", day])


def is_large(order: Order) -> bool:
    """The filter."""
    return bool(order["amount"] > 500)


def add_euros(order: Order) -> Order:
    """The computed field."""
    order["euros"] = round(order["amount"] * 0.86, 2)
    return order


def _agora(source: Path, target: Path, state_file: Path | None) -> object:
    pipeline = (
        Pipeline(CsvSource(source, types={"amount": float}), name="orders")
        .filter(is_large)
        .map(add_euros)
        .to(JsonLinesSink(target, if_exists="replace"))
    )
    if state_file is None:
        trio.run(pipeline.build().run)
    else:
        state_file.unlink(missing_ok=True)
        trio.run(pipeline.build(checkpoint_store=CheckpointStore(SQLiteBackend(state_file))).run)
    return _Content(target)


def _by_hand(source: Path, target: Path) -> object:
    with source.open(newline="") as rows, target.open("w") as out:
        for order in csv.DictReader(rows):
            record: Order = order
            record["amount"] = float(order["amount"])
            if is_large(record):
                out.write(json.dumps(add_euros(record)) + "\n")
    return _Content(target)


class _Content:
    """The records of a written file, read only where outputs are compared, so that no reading is timed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._records() == other._records()

    __hash__ = None  # type: ignore[assignment]  # it isn't a value

    def _records(self) -> list[Order]:
        with self._path.open() as lines:
            return [json.loads(line) for line in lines]
