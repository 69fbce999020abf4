"""A columnar middleware that worker processes import; apart, since others are to start without pyarrow."""

import os
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from agora.middlewares.columnar import ColumnsResult


@attrs.frozen
class InColumns:
    """Drops, fails one row, crashes on one."""

    crash: int = -1

    def process_columns(self, data: pa.RecordBatch) -> Any:
        ids = data.column("id")
        if pc.any(pc.equal(ids, self.crash)).as_py():
            os._exit(5)
        failed = [at for at, value in enumerate(ids.to_pylist()) if value % 50 == 49]
        kept = pa.array([value % 3 != 0 and value % 50 != 49 for value in ids.to_pylist()])
        wider = data.append_column("twice", pc.multiply(ids, 2))
        return ColumnsResult(wider.filter(kept), kept, {at: ValueError("forty-nine") for at in failed})


@attrs.frozen
class Refusing:
    """Raises for every RecordBatch that has this number, or answers with too few rows."""

    number: int
    wrong: bool = False

    def process_columns(self, data: pa.RecordBatch) -> pa.RecordBatch:
        if self.number in data.column("n").to_pylist():
            if self.wrong:
                return data.slice(1)
            raise ValueError(f"has {self.number}")
        return data
