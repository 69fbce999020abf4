"""Records of columns: whatever the columns are called, they are what pyarrow makes."""

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.columns import Columns, rows_of

NAMES = st.text(max_size=4) | st.sampled_from(
    ["'", '"', "\\", "{x}", "\n", "\x00", "é", "value0", "columns", "'''", "class", ""]
)


@settings(deadline=None)
@given(names=st.lists(NAMES, max_size=4, unique=True), rows=st.integers(0, 3), data=st.data())
def test_rows_are_those_of_pyarrow(names: list[str], rows: int, data: Any) -> None:
    values = st.none() | st.integers(-9, 9) | st.booleans().map(int)
    column = st.lists(values, min_size=rows, max_size=rows)
    arrays = [pa.array(data.draw(column), pa.int64()) for _ in names]
    batch = pa.RecordBatch.from_arrays(arrays, names=names)
    assert rows_of(batch) == batch.to_pylist()
    assert list(Columns(batch)) == batch.to_pylist()


def test_many_columns() -> None:
    batch = pa.RecordBatch.from_pydict({f"c{n}": [n, None] for n in range(3_000)})
    assert rows_of(batch) == batch.to_pylist()


def test_without_columns_rows_are_empty() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}, {}], pa.struct([])))
    assert rows_of(batch) == [{}, {}, {}]
