"""The contract of a columnar step, and its row form.

A step with `process_columns` takes whole RecordBatches. Where it is rows that come, those of one shape that
follow one another become a RecordBatch for it, unless the step has a `process_batch` beside it. Telling one
type for all the rows of a batch would make results depend on where batches end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs

from agora.errors import ConfigError
from agora.records import Record, fields_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ColumnarMiddleware",
    "ColumnsResult",
    "Results",
    "StepFaultError",
    "WrongColumnsError",
    "checked",
    "row_form",
    "with_errors",
]

Results = list[Record | None | Exception]
"""One a record, in order: a record, `None` where it is dropped, an exception where it failed."""


@attrs.frozen(eq=False, repr=False)
class ColumnsResult:
    """What a columnar step made of a RecordBatch."""

    data: "pa.RecordBatch"
    """The rows that are left, in order."""
    kept: "pa.BooleanArray | None" = None
    """For each row that came in, whether it is left; `None`: all are."""
    errors: Mapping[int, Exception] = attrs.field(factory=dict)
    """The rows that failed, by their position among those that came in; none of them is kept."""


class ColumnarMiddleware(Protocol):
    """Records in column form: a RecordBatch with one row for each, in order, or a `ColumnsResult`."""

    def process_columns(self, record_batch: "pa.RecordBatch", /) -> "pa.RecordBatch | ColumnsResult": ...


class StepFaultError(ConfigError):
    """A step can't do its work on any record. No record's fault: whatever the step's policy, the run ends."""


class WrongColumnsError(StepFaultError):
    """A step's columns can't be matched with the records that it was given."""


def checked(name: str, data: "pa.RecordBatch", answer: object) -> ColumnsResult:
    """The answer of `process_columns` for `data`, in its full form. `WrongColumnsError` where it is none."""
    import pyarrow as pa  # noqa: PLC0415 - who holds a RecordBatch has loaded it

    if isinstance(answer, pa.RecordBatch):
        answer = ColumnsResult(answer)
    if not isinstance(answer, ColumnsResult):
        raise WrongColumnsError(
            f"step {name!r}: process_columns must give a RecordBatch or a ColumnsResult, "
            f"not a {type(answer).__name__}"
        )
    rows, kept = data.num_rows, answer.kept
    left = rows if kept is None else kept.true_count
    strange = (kept is not None and len(kept) != rows) or not all(0 <= at < rows for at in answer.errors)
    if strange or answer.data.num_rows != left:
        raise WrongColumnsError(
            f"step {name!r}: process_columns gave {answer.data.num_rows} rows for {rows} records: it must give "
            "one a record, in order, or say in ColumnsResult(data, kept) which are left"
        )
    return answer


def row_form(
    name: str, process_columns: Callable[["pa.RecordBatch"], object]
) -> Callable[[Sequence[Record]], Results]:
    """`process_batch` for a step that has only `process_columns`.

    Records of one shape (the same fields, values of the same types or `None`) that follow one another become
    one RecordBatch. So its types don't depend on where batches end, but for a field that is `None` throughout.
    """

    def process_batch(records: Sequence[Record]) -> Results:
        results: Results = []
        for alike in _alike(records):
            results += _through(name, process_columns, alike)
        return results

    return process_batch


def _alike(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Runs of records of one shape; one that has no fields is a run of its own."""
    run: list[Record] = []
    types: dict[str, type] | None = None
    for record in records:
        try:
            shape = {field: type(value) for field, value in fields_of(record, "").items()}
        except TypeError:
            shape = None
        known = _common(types, shape) if run else shape
        if run and known is None:
            yield run
            run, known = [], shape
        run.append(record)
        types = known
    if run:
        yield run


def _common(one: dict[str, type] | None, two: dict[str, type] | None) -> dict[str, type] | None:
    """The shape that both have; `None` where they differ."""
    if one is None or two is None or list(one) != list(two):
        return None
    nothing = type(None)
    for field, kind in two.items():
        if kind is nothing or kind is one[field]:
            continue
        if one[field] is not nothing:
            return None
        one = {**one, field: kind}
    return one


def _through(
    name: str, process_columns: Callable[["pa.RecordBatch"], object], records: Sequence[Record]
) -> Results:
    import pyarrow as pa  # noqa: PLC0415 - only for a step that takes columns

    try:
        fields = [fields_of(record, f"step {name!r}") for record in records]
        arrays = [pa.array([each[field] for each in fields]) for field in fields[0]]
        data = pa.RecordBatch.from_arrays(arrays, names=list(fields[0]))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if len(records) == 1:
            return [
                TypeError(f"step {name!r} takes columns, and this record can't be one row of them: {error}")
            ]
        return [result for record in records for result in _through(name, process_columns, [record])]
    result = checked(name, data, process_columns(data))
    from agora.columns import rows_of  # noqa: PLC0415 - as above

    left = iter(rows_of(result.data))
    kept = [True] * len(records) if result.kept is None else result.kept.to_pylist()
    return with_errors([next(left) if keep else None for keep in kept], result.errors)


def with_errors(results: Results, errors: Mapping[int, Exception]) -> Results:
    for index, error in errors.items():
        results[index] = error
    return results
