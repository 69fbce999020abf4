"""Dead letters: made of failures, and written to the queue or kept for the barrier's transaction."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs

from agora import seam
from agora.deadletter import DLQRecord, letter_id
from agora.runtime.batch import Batch, Failure
from agora.state.base import Change

__all__ = ["LetterBox", "LetterMaker"]


@attrs.define(kw_only=True)
class LetterMaker:
    """Makes letters of failures. An id is equal when the same record fails again at the same stage after a
    resume, so that a letter isn't doubled; without checkpoints each run has ids of its own."""

    pipeline: str
    run_id: str
    resumes: bool
    _nth: Counter[tuple[int, str]] = attrs.field(factory=Counter)

    def letter(self, batch: Batch, failure: Failure) -> DLQRecord:
        """What is known of this failure of a record of this batch."""
        behind = not 0 <= failure.offset < batch.count
        ordinal = batch.first + (batch.count - 1 if behind else failure.offset)
        if failure.stage == "source" or behind:
            original = failure.original
        else:
            original = batch.origin.original(failure.offset)
        nth = self._nth[ordinal, failure.stage]
        self._nth[ordinal, failure.stage] += 1
        return DLQRecord(
            id=letter_id(
                pipeline=self.pipeline,
                run_id="" if self.resumes else self.run_id,
                ordinal=max(ordinal, 0),
                stage=failure.stage,
                nth=nth,
            ),
            pipeline=self.pipeline,
            run_id=self.run_id,
            stage=failure.stage,
            error_type=_qualified(type(failure.error)),
            error_message=str(failure.error),
            original=original,
            processed=failure.processed,
            entry=failure.entry,
            checkpoint={
                "ordinal": ordinal,
                "position": None if behind else batch.origin.position(failure.offset),
            },
            failed_at=seam.current().now(),
        )

    def passed(self) -> None:
        """The slices of a batch are through: failures of its ordinals are numbered from 0 again."""
        self._nth.clear()


def _qualified(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@attrs.define(kw_only=True, eq=False)
class LetterBox:
    """The pipeline's dead-letter queue, as the writer sees it."""

    dlq: Any
    """The user's DLQ: any sink. One on the checkpoint's own state has its letters saved by the barrier."""
    in_transaction: bool
    waiting: list[DLQRecord] = attrs.field(factory=list)
    """Letters that the next barrier saves."""

    async def put(self, letters: Sequence[DLQRecord]) -> None:
        """Write the letters, or keep them for the barrier. What the DLQ raises ends the run."""
        if self.in_transaction:
            self.waiting += letters
            return
        write_record = getattr(self.dlq, "write_record", None)
        if write_record is None:
            await self.dlq.write(letters)
            return
        for each in letters:
            await write_record(each)

    def changes(self) -> list[Change]:
        """What the barrier's transaction has to save."""
        return list(self.dlq.changes(self.waiting)) if self.waiting else []

    def saved(self) -> None:
        """The transaction is through."""
        self.waiting.clear()
