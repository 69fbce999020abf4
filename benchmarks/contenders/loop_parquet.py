"""By hand into Parquet: orjson, a plain loop, and tables of 65,536 rows by pyarrow."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.contenders.orders import add_euros, is_large

Record = dict[str, Any]


def jsonl_to_parquet(source: Path, target: Path) -> None:
    with source.open("rb") as lines:
        orders = (orjson.loads(line) for line in lines)
        _write_parquet(target, (add_euros(order) for order in orders if is_large(order)))


def _write_parquet(target: Path, orders: Iterable[Record]) -> None:
    writer = None
    for chunk in _chunks(orders, 65_536):
        table = pa.Table.from_pylist(chunk)
        if writer is None:
            writer = pq.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _chunks(orders: Iterable[Record], size: int) -> Iterator[list[Record]]:
    iterator = iter(orders)
    while chunk := list(islice(iterator, size)):
        yield chunk
