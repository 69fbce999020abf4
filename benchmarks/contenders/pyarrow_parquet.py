"""pyarrow by hand into Parquet: a loop over record batches."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from benchmarks.contenders.pyarrow import changed

ORDER = pa.schema(
    {
        "id": pa.int64(),
        "customer": pa.string(),
        "country": pa.string(),
        "amount": pa.float64(),
        "ordered_on": pa.string(),
    }
)


def jsonl_to_parquet(source: Path, target: Path) -> None:
    options = pyarrow.json.ParseOptions(explicit_schema=ORDER)
    blocks = pyarrow.json.ReadOptions(block_size=1 << 20)
    with pyarrow.json.open_json(source, read_options=blocks, parse_options=options) as batches:
        _write(target, batches)


def parquet_to_parquet(source: Path, target: Path) -> None:
    with pq.ParquetFile(source) as file:
        _write(target, file.iter_batches())


def _write(target: Path, batches: Iterable[Any]) -> None:
    writer = None
    for batch in batches:
        part = changed(batch)
        if writer is None:
            writer = pq.ParquetWriter(target, part.schema, compression="zstd")
        writer.write_batch(part)
    if writer is not None:
        writer.close()
