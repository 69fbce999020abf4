"""pyarrow by hand: a loop over record batches. It has no JSON writer, so JSON lines are orjson's."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

BLOCK = pyarrow.csv.ReadOptions(block_size=1 << 20)
TYPES = pyarrow.csv.ConvertOptions(
    column_types={
        "id": pa.string(),
        "customer": pa.string(),
        "country": pa.string(),
        "amount": pa.float64(),
        "ordered_on": pa.string(),
    }
)


def csv_to_jsonl(source: Path, target: Path) -> None:
    with (
        pyarrow.csv.open_csv(source, read_options=BLOCK, convert_options=TYPES) as batches,
        target.open("wb") as out,
    ):
        for batch in batches:
            rows = changed(batch).to_pylist()
            out.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def changed(batch: Any) -> Any:
    large = batch.filter(pc.greater(batch.column("amount"), 500))
    return large.append_column("amount_eur", pc.multiply(large.column("amount"), 0.92))
