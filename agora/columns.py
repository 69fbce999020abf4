"""Records in column form: consecutive rows that stay a `pyarrow.RecordBatch` until somebody looks at one.

`Columns` is a sequence of records like any other, so whatever works on rows works on it; a columnar step, and
a sink with `write_columns`, take its RecordBatch as it is. Two fields in a batch, one of them always empty,
would make everybody who holds a batch ask which.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, overload

from agora import seam
from agora.records import Record

if TYPE_CHECKING:  # the engine knows this module, and a run of rows loads no pyarrow
    import pyarrow as pa

__all__ = ["Columns", "Positions", "in_place", "on_columns", "rows_of"]

T = TypeVar("T")
_IN_PLACE = 1_024


class Columns(Sequence[Record]):
    """The rows of a RecordBatch. Each look makes a record (a dict) anew; slices share the columns' memory."""

    __slots__ = ("data",)

    def __init__(self, data: "pa.RecordBatch") -> None:
        self.data = data

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def __iter__(self) -> Iterator[Record]:
        return iter(rows_of(self.data))

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> "Columns": ...

    def __getitem__(self, index: int | slice) -> "Record | Columns":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("a slice of columns has the step 1")
            return Columns(self.data.slice(start, max(0, stop - start)))
        place = index if index >= 0 else len(self) + index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return rows_of(self.data.slice(place, 1))[0]

    def take(self, positions: Sequence[int]) -> "Columns":
        """The rows at these positions, in this order."""
        return Columns(self.data.take(_integers(positions)))

    def __repr__(self) -> str:
        return f"Columns({self.data.num_rows} rows of {', '.join(self.data.schema.names)})"


class Positions(Sequence[int]):
    """Positions of the rows that a filter has kept: integers in Arrow's memory, looked at only where something
    failed."""

    __slots__ = ("_values",)

    def __init__(self, values: "pa.Array") -> None:
        self._values = values

    @classmethod
    def kept(cls, before: Sequence[int], mask: "pa.BooleanArray") -> "Positions":
        """Those of `before` at which the mask is true."""
        if isinstance(before, Positions):
            return cls(before._values.filter(mask))
        return cls(_integers(before).filter(mask))

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> "Positions": ...

    def __getitem__(self, index: int | slice) -> "int | Positions":
        if isinstance(index, slice):
            return Positions(self._values[index])
        return int(self._values[index].as_py())

    def __iter__(self) -> Iterator[int]:
        return iter(self._values.to_pylist())


def _integers(values: Sequence[int]) -> "pa.Array":
    import pyarrow as pa  # noqa: PLC0415 - see above

    if isinstance(values, range) and values.step == 1:
        return pa.arange(values.start, values.stop)
    return pa.array(values, pa.int64())


def rows_of(data: "pa.RecordBatch") -> list[dict[str, Any]]:
    """What `to_pylist()` gives, in an eighth of its time."""
    names = data.schema.names
    if not names:
        return [{} for _ in range(data.num_rows)]
    return _records_of(tuple(names))([column.to_pylist() for column in data.columns])


@lru_cache(maxsize=64)
def _records_of(names: tuple[str, ...]) -> Callable[[list[list[Any]]], list[dict[str, Any]]]:
    """Makes dicts with these keys of columns: generated, since a dict that is written out takes a third of the time of
    one that is zipped."""
    values = [f"value{place}" for place in range(len(names))]
    pairs = ", ".join(f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    code = f"lambda columns: [{{{pairs}}} for {', '.join(values)}, in zip(*columns, strict=True)]"
    made: Callable[[list[list[Any]]], list[dict[str, Any]]] = eval(code)  # noqa: S307 - names get in by repr only
    return made


def in_place(data: "pa.RecordBatch") -> bool:
    """Whether it is so small that a turn in a thread would cost more than work on it."""
    return int(data.num_rows) <= _IN_PLACE


async def on_columns(fn: "Callable[[pa.RecordBatch], T]", data: "pa.RecordBatch") -> T:
    """`fn(data)`, in a thread where that pays: Arrow holds no lock of Python's while it computes. A trio checkpoint
    only there."""
    return fn(data) if in_place(data) else await seam.current().in_thread(fn, data)
