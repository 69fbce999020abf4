"""A batch in column form through a columnar step, and what its answer does to the batch.

The same outcomes as for rows, decided by the same rules: a failing record is judged alone, in order; a step
that raises for a whole batch is asked again for halves of it until the culprits are alone. Work on many rows
is done in a thread: what Arrow computes holds no lock of Python's, so other stages go on meanwhile.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agora.columns import Columns, Positions, on_columns, rows_of
from agora.middlewares.columnar import ColumnsResult, StepFaultError, WrongColumnsError, checked
from agora.middlewares.step import Step
from agora.records import Record
from agora.runtime.batch import Batch, Failure
from agora.runtime.failing import StepRules, parts
from agora.runtime.pace import Pace

__all__ = ["Ask", "asked_apart", "columns_result", "joined", "settle_columns"]

Ask = Callable[[pa.RecordBatch], Awaitable[object]]
"""The step's `process_columns`, wherever it runs."""


async def columns_result(
    step: Step, data: pa.RecordBatch, rules: StepRules, pace: Pace, ask: Ask | None = None
) -> ColumnsResult | StepFaultError:
    """The step's answer, its failures found one by one; a `StepFaultError`, which ends the run, where the
    answer can't be matched with the rows."""
    begun = rules.states.begin(step)
    try:
        if ask is not None:
            given = await ask(data)
        else:
            given = await on_columns(step.columns, data)  # type: ignore[arg-type]  # a columnar step has it
        return checked(step.name, data, given)
    except Exception as error:  # noqa: BLE001  - the step's policy decides
        rules.states.undo(step, begun)
        return await asked_apart(step, data, error, rules, pace, ask)


async def asked_apart(
    step: Step, data: pa.RecordBatch, error: Exception, rules: StepRules, pace: Pace, ask: Ask | None = None
) -> ColumnsResult | StepFaultError:
    """What `columns_result` gives where the step has raised for the whole."""
    if isinstance(error, StepFaultError):
        return error
    if data.num_rows == 1:
        return ColumnsResult(data.slice(0, 0), pa.array([False]), {0: error})
    if pace.flag:
        await pace.give_way()
    return await _parted(step, data, rules, pace, parts(data.num_rows, error), ask)


async def _parted(
    step: Step, data: pa.RecordBatch, rules: StepRules, pace: Pace, borders: Sequence[range], ask: Ask | None
) -> ColumnsResult | StepFaultError:
    """Under the policy `"stop"` nothing behind the first culprit is run: as if it failed, too."""
    results: list[ColumnsResult | StepFaultError] = []
    for part in borders:
        result = await columns_result(step, data.slice(part.start, len(part)), rules, pace, ask)
        results.append(result)
        if isinstance(result, StepFaultError):
            return result
        if any(rules.policy(step, error) == "stop" for error in result.errors.values()):
            break
    return joined(step, results, [len(part) for part in borders])


def joined(
    step: Step, results: Sequence[ColumnsResult | StepFaultError], sizes: Sequence[int]
) -> ColumnsResult | StepFaultError:
    """The answer for a batch from those for its parts, which have these sizes. Parts at its end may lack: their rows
    aren't kept. A `StepFaultError` where one is among them, or columns of different types."""
    known: list[ColumnsResult] = []
    for result in results:
        if isinstance(result, StepFaultError):
            return result
        known.append(result)
    filled = [each.data for each in known if each.data.num_rows]
    strange = next((each.schema for each in filled if each.schema != filled[0].schema), None)
    if strange is not None:
        return WrongColumnsError(
            f"step {step.name!r}: process_columns gave columns of different types for two parts of a batch: "
            f"({_line(filled[0].schema)}) and ({_line(strange)})"
        )
    if len(known) == 1 and len(sizes) == 1:
        return known[0]
    data = pa.Table.from_batches(filled).combine_chunks().to_batches()[0] if filled else known[0].data
    masks = [_mask(each, size) for each, size in zip(known, sizes, strict=False)]
    masks.append(pa.array([False] * sum(sizes[len(known) :]), pa.bool_()))
    errors: dict[int, Exception] = {}
    start = 0
    for each, size in zip(known, sizes, strict=False):
        errors |= {start + index: error for index, error in each.errors.items()}
        start += size
    return ColumnsResult(data, pa.concat_arrays(masks), errors)


def _mask(result: ColumnsResult, rows: int) -> pa.BooleanArray:
    return result.kept if result.kept is not None else pa.array([True] * rows, pa.bool_())


async def settle_columns(
    step: Step, rules: StepRules, batch: Batch, result: ColumnsResult | StepFaultError
) -> None:
    """Put the step's answer into the batch: rows that are left, drops, failures."""
    before = batch.rows
    assert isinstance(before, Columns)
    if isinstance(result, StepFaultError):
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
