"""Dead letters: made of failures, and written to the queue or kept for the barrier's transaction."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from agora import seam
from agora.deadletter import DLQRecord, letter_id
from agora.runtime.batch import Batch, Failure
from agora.state.base import Change

__all__ = ["LetterBox", "Letters", "qualified_name", "said"]


class Letters(Protocol):
    """Where the writer sends failures that are dead-lettered."""

    @property
    def in_transaction(self) -> bool:
        """Whether the barrier saves them, by `changes` and `saved`."""
        ...

    def letter(self, batch: Batch, failure: Failure) -> DLQRecord:
        """What is known of this failure of a record of this batch."""
        ...

    async def put(self, letters: Sequence[DLQRecord]) -> None:
        """Write the letters, or keep them for the barrier. What the DLQ raises ends the run."""
        ...

    def passed(self, count: int) -> None:
        """`count` more source records are handled, all of their letters put."""
        ...

    def changes(self) -> list[Change]:
        """What the barrier's transaction has to save."""
        ...

    def saved(self) -> None:
        """The transaction is through."""
        ...

    async def settle(self) -> None:
        """The end of a run that didn't fail: what no barrier saves is done now."""
        ...


@attrs.define(kw_only=True, eq=False, repr=False)
class LetterBox:
    """Letters of a run, for the pipeline's dead-letter queue.

    A letter's id is equal when the same record fails again at the same stage after a resume, so that it isn't
    doubled, and another once the pipeline was started over; without checkpoints each run has ids of its own.
    """

    pipeline: str
    run_id: str
    resumes: bool
    dlq: Any
    """The user's DLQ: any sink. One on the checkpoint's own state has its letters saved by the barrier."""
    in_transaction: bool
    _waiting: list[DLQRecord] = attrs.field(factory=list)
    """Letters that the next barrier saves."""
    restarted_by: str = ""
    """Id of the run that last started the pipeline over; known once the run is open."""
    _nth: Counter[tuple[int, str]] = attrs.field(factory=Counter)

    def letter(self, batch: Batch, failure: Failure) -> DLQRecord:
        """See `Letters`."""
        behind = failure.offset >= batch.count  # a record of finish(), which belongs to the last ordinal
        ordinal = batch.first + min(failure.offset, batch.count - 1)
        own = failure.stage == "source" or behind
        original = failure.original if own else batch.origin.original(failure.offset)
        place = f"{failure.stage} finish" if behind else failure.stage
        nth = self._nth[ordinal, place]
        self._nth[ordinal, place] += 1
        return DLQRecord(
            id=letter_id(
                pipeline=self.pipeline,
                run_id=self.restarted_by if self.resumes else self.run_id,
                ordinal=max(ordinal, 0),
                stage=place,
                nth=nth,
            ),
            pipeline=self.pipeline,
            run_id=self.run_id,
            stage=failure.stage,
            error_type=qualified_name(type(failure.error)),
            error_message=said(failure.error),
            original=original,
            processed=failure.processed,
            entry=failure.entry,
            checkpoint={
                "ordinal": ordinal,
                "position": None if behind else batch.origin.position(failure.offset),
            },
            failed_at=seam.current().now(),
        )

    async def put(self, letters: Sequence[DLQRecord]) -> None:
        """See `Letters`."""
        if self.in_transaction:
            self._waiting += letters
            return
        write_record = getattr(self.dlq, "write_record", None)
        if write_record is None:
            await self.dlq.write(letters)
            return
        for each in letters:
            await write_record(each)

    def passed(self, count: int) -> None:
        """Failures of further ordinals are numbered from 0 again."""
        self._nth.clear()

    def changes(self) -> list[Change]:
        """See `Letters`."""
        return list(self.dlq.changes(self._waiting)) if self._waiting else []

    def saved(self) -> None:
        """See `Letters`."""
        self._waiting.clear()

    async def settle(self) -> None:
        """Nothing is left: what no barrier saves was written as it came."""


def said(error: BaseException) -> str:
    """What an error says of itself; its class's name where even that fails."""
    for say in (str, repr):
        try:
            return say(error)
        except Exception:  # noqa: BLE001, S112  - whatever the error's own method raises
            continue
    return type(error).__name__


def qualified_name(kind: type) -> str:
    """Module and name of a class; the name alone of a built-in one."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
