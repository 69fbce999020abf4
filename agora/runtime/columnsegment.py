"""Columnar steps that follow one another as one segment: one turn in a thread for all of them.

What a step computes of a large batch takes less time than handing the batch to a thread and back. So steps that
nothing has to come between, since they have no state and no hooks, are asked in one go, as far as all rows pass.
A row that fails is judged before the next step is asked, as everywhere.
"""

from collections.abc import Sequence
from functools import partial

import attrs
import pyarrow as pa

from agora.columns import Columns, on_columns
from agora.middlewares.columnar import ColumnsResult, checked
from agora.middlewares.step import Step
from agora.runtime.batch import Batch
from agora.runtime.columnar import asked_apart, settle_columns
from agora.runtime.segment import BatchSegment, Emit

__all__ = ["ColumnSegment"]

Answers = tuple[list[ColumnsResult], Exception | None]
"""Of the first steps, in order; and what the one behind them raised."""


@attrs.frozen
class ColumnSegment:
    """The steps of some `BatchSegment`s; in this order, each is asked alone where it has to be."""

    parts: Sequence[BatchSegment]

    @property
    def steps(self) -> Sequence[Step]:
        return [part.step for part in self.parts]

    async def process(self, batch: Batch, emit: Emit) -> None:
        """See `Segment`."""
        left = list(self.parts)
        while left:  # behind a halt, too: what stands before it passes them all
            if isinstance(batch.rows, Columns) and batch.rows:
                for _ in range(await self._together(left, batch)):
                    left.pop(0)
            else:
                await left.pop(0).work(batch)
        await emit(batch)

    async def _together(self, parts: Sequence[BatchSegment], batch: Batch) -> int:
        """Ask the steps of these parts as far as that goes; how many are through."""
        assert isinstance(batch.rows, Columns)
        data = batch.rows.data
        answers, error = await on_columns(partial(_through, [part.step for part in parts]), data)
        for part, answer in zip(parts, answers, strict=False):
            await settle_columns(part.step, part.rules, batch, answer)
        if error is None:
            return len(answers)
        failed = parts[len(answers)]
        before = answers[-1].data if answers else data
        result = await asked_apart(failed.step, before, error, failed.rules, failed.pace)
        await settle_columns(failed.step, failed.rules, batch, result)
        return len(answers) + 1


def _through(steps: Sequence[Step], data: pa.RecordBatch) -> Answers:
    """Up to the first step in which a row fails, or that leaves none."""
    answers: list[ColumnsResult] = []
    for step in steps:
        try:
            assert step.columns is not None
            answer = checked(step.name, data, step.columns(data))
        except Exception as error:  # noqa: BLE001  - the step's policy decides
            return answers, error
        answers.append(answer)
        data = answer.data
        if answer.errors or not data.num_rows:
            break
    return answers, None
