"""A batch in column form through a columnar step, and what its answer does to the batch.

The same outcomes as for rows, decided by the same rules: a failing record is judged alone, in order; a step
that raises for a whole batch is asked again for halves of it until the culprits are alone. Work on many rows
is done in a thread: what Arrow computes holds no lock of Python's, so other stages go on meanwhile.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agora import seam
from agora.columns import Columns, Positions, rows_of
from agora.middlewares.columnar import ColumnsResult, WrongColumnsError, checked
from agora.middlewares.step import Step
from agora.records import Record
from agora.runtime.batch import Batch, Failure
from agora.runtime.failing import StepRules
from agora.runtime.pace import Pace

__all__ = ["columns_result", "settle_columns"]

_IN_PLACE = 1_024
"""Rows up to which a turn in a thread costs more than the work."""


async def columns_result(
    step: Step, data: pa.RecordBatch, rules: StepRules, pace: Pace
) -> ColumnsResult | WrongColumnsError:
    """The step's answer, its failures found one by one; a `WrongColumnsError`, which ends the run, where the
    answer can't be matched with the rows."""
    begun = rules.states.begin(step)
    try:
        if data.num_rows <= _IN_PLACE:
            answer = checked(step.name, data, step.columns(data))  # type: ignore[misc]  # a columnar step has it
        else:
            given = await seam.current().in_thread(step.columns, data)  # type: ignore[arg-type]  # as above
            answer = checked(step.name, data, given)
    except WrongColumnsError as error:
        return error
    except Exception as error:  # noqa: BLE001  - the step's policy decides
        rules.states.undo(step, begun)
        if data.num_rows == 1:
            return ColumnsResult(data.slice(0, 0), pa.array([False]), {0: error})
        if pace.flag:
            await pace.give_way()
        return await _halved(step, data, rules, pace)
    return answer


async def _halved(
    step: Step, data: pa.RecordBatch, rules: StepRules, pace: Pace
) -> ColumnsResult | WrongColumnsError:
    """Under the policy `"stop"` nothing behind the first culprit is run: as if it failed, too."""
    middle = data.num_rows // 2
    first = await columns_result(step, data.slice(0, middle), rules, pace)
    if isinstance(first, WrongColumnsError):
        return first
    if any(rules.policy(step, error) == "stop" for error in first.errors.values()):
        kept = pa.concat_arrays([_mask(first, middle), pa.array([False] * (data.num_rows - middle))])
        return ColumnsResult(first.data, kept, first.errors)
    second = await columns_result(step, data.slice(middle), rules, pace)
    if isinstance(second, WrongColumnsError):
        return second
    return _joined(step, first, second, middle, data.num_rows)


def _joined(
    step: Step, first: ColumnsResult, second: ColumnsResult, middle: int, total: int
) -> ColumnsResult | WrongColumnsError:
    parts = [each.data for each in (first, second) if each.data.num_rows]
    if len({part.schema for part in parts}) > 1:
        return WrongColumnsError(
            f"step {step.name!r}: process_columns gave columns of different types for two parts of a batch: "
            f"({_line(parts[0].schema)}) and ({_line(parts[1].schema)})"
        )
    data = pa.Table.from_batches(parts).combine_chunks().to_batches()[0] if parts else first.data
    kept = pa.concat_arrays([_mask(first, middle), _mask(second, total - middle)])
    errors = {**first.errors, **{middle + index: error for index, error in second.errors.items()}}
    return ColumnsResult(data, kept, errors)


def _mask(result: ColumnsResult, rows: int) -> pa.BooleanArray:
    return result.kept if result.kept is not None else pa.array([True] * rows, pa.bool_())


async def settle_columns(
    step: Step, rules: StepRules, batch: Batch, result: ColumnsResult | WrongColumnsError
) -> None:
    """Put the step's answer into the batch: rows that are left, drops, failures."""
    before = batch.rows
    assert isinstance(before, Columns)
    if isinstance(result, WrongColumnsError):
        failure = Failure(offset=batch.index[0], stage=step.stage, error=result, policy="stop", entry=None)
        batch.truncate(0, failure)
        return
    end, halt = len(before), None
    passed: dict[int, Record] = {}
    judged = sorted(result.errors)
    for position in judged:
        record, offset, entry = before[position], batch.index[position], batch.entry(position)
        failed = await rules.judge(step, record, result.errors[position], offset=offset, entry=entry)
        if failed is None:
            passed[position] = record
        elif failed.policy == "stop":
            end, halt = position, failed
            break
        else:
            batch.failures.append(failed)
    if halt is not None:
        result = _until(result, end)
        batch.truncate(end, halt)
    _keep(batch, result, passed)
    count = rules.count(step)
    count.entered += end + (halt is not None)
    count.left += len(batch.rows)
    count.dropped += end - sum(position < end for position in judged) - result.data.num_rows
    if rules.marks(step):
        batch.entries = [rules.entry_after(step, row) for row in batch.rows]


def _until(result: ColumnsResult, end: int) -> ColumnsResult:
    """What was made of the first `end` rows."""
    kept = _mask(result, end).slice(0, end)
    left = int(pc.sum(kept, min_count=0).as_py())
    return ColumnsResult(result.data.slice(0, left), kept)


def _keep(batch: Batch, result: ColumnsResult, passed: Mapping[int, Record]) -> None:
    """The rows that are left; with those that failed and go on as they were, they are rows from here on."""
    if passed:
        left = iter(rows_of(result.data))
        mask = _mask(result, len(batch.rows)).to_pylist()
        rows = [
            passed[at] if at in passed else next(left) for at, kept in enumerate(mask) if kept or at in passed
        ]
        gone = [at for at, kept in enumerate(mask) if not kept and at not in passed]
        batch.remove(gone, rows)
        return
    if result.kept is not None:
        batch.index = Positions.kept(batch.index, result.kept)
        if batch.entries is not None:
            batch.entries = [
                entry for entry, kept in zip(batch.entries, result.kept.to_pylist(), strict=True) if kept
            ]
    batch.rows = Columns(result.data)


def _line(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
