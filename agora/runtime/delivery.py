"""Delivery of a batch's rows to one sink: which rows it takes, and which of those it refuses.

Whatever way a sink says that a record is bad (`RecordsRejected`, `write_record`, a raise that accepted
nothing) comes out of `SinkPort.deliver` as one answer: the refused positions with their errors. Everything
else it raises ends the run.
"""

from collections.abc import Callable, Sequence
from inspect import isawaitable
from types import CoroutineType
from typing import Any

import attrs

from agora.columns import Columns
from agora.errors import ConfigError, RecordsRejected
from agora.middlewares.step import Policy
from agora.records import Record
from agora.runtime.counting import StageCount
from agora.runtime.failing import leaf
from agora.runtime.pace import Pace
from agora.runtime.segment import halves
from agora.runtime.spec import takes_columns
from agora.sinks.base import DATA_ERRORS

__all__ = ["SinkPort", "chosen_rows", "route"]


@attrs.define(kw_only=True, eq=False, repr=False)
class SinkPort:
    """A sink at its place in a pipeline."""

    name: str
    sink: Any
    """The user's sink, duck-typed by the contract in `agora.sinks.base`."""
    policy: Policy
    where: Callable[[Record], object] | None = None
    otherwise: bool = False
    count: StageCount = attrs.field(factory=StageCount)
    pace: Pace
    prepared: bool = False
    """Asked to prepare, and not committed since: what its target holds is open."""

    @property
    def stage(self) -> str:
        return f"sink:{self.name}"

    @property
    def takes_columns(self) -> bool:
        """Whether it is written RecordBatches, where it is columns that come."""
        return takes_columns(self.sink)

    async def deliver(self, rows: Sequence[Record]) -> dict[int, Exception]:
        """Write the rows, `Columns` only where `takes_columns`; the refused ones by position. Under the policy
        `"stop"`, nothing behind a refused record is begun anymore.

        Raises what doesn't concern records, with a note where the sink could say more.
        """
        write_record = getattr(self.sink, "write_record", None)
        if write_record is not None:
            refused = await self._one_by_one(write_record, rows)
        else:
            refused = await self._together(rows, 0)
        self.count.failed += len(refused)
        self.count.left += len(rows) - len(refused)
        return refused

    async def _one_by_one(
        self, write_record: Callable[[Record], object], rows: Sequence[Record]
    ) -> dict[int, Exception]:
        refused: dict[int, Exception] = {}
        flag = self.pace.flag
        for position, row in enumerate(rows):
            try:
                done = write_record(row)
                if isawaitable(done):
                    await done
            except Exception as group:
                error = leaf(group)
                if isinstance(error, RecordsRejected) and self.policy != "stop":
                    error = next(iter(error.errors.values()), error)
                elif not isinstance(error, (RecordsRejected, *DATA_ERRORS)):
                    raise
                refused[position] = error
            if refused and self.policy == "stop":
                break
            if flag:
                await self.pace.give_way()
        return refused

    async def _together(self, rows: Sequence[Record], start: int) -> dict[int, Exception]:
        try:
            done = (
                self.sink.write_columns(rows.data)
                if isinstance(rows, Columns)
                else self.sink.write(list(rows))  # its own list: it may take it apart
            )
            if isawaitable(done):
                await done
        except Exception as group:
            error = leaf(group)
            if isinstance(error, RecordsRejected):
                return self._rejected(error, len(rows), start)
            if not isinstance(error, DATA_ERRORS):
                raise
            if len(rows) == 1:
                return {start: error}
            if not getattr(self.sink, "atomic_write", False):
                error.add_note(
                    f"{type(self.sink).__name__}.write raised this for a batch of {len(rows)} records, and "
                    "doesn't say which were accepted, so none can be written again. A sink can define "
                    "write_record(record), or raise RecordsRejected({index: error}), or declare "
                    "atomic_write = True (raising means that none was accepted)."
                )
                raise
        else:
            return {}
        if self.pace.flag:
            await self.pace.give_way()
        first, second = halves(rows)
        refused = await self._together(first, start)
        if not (refused and self.policy == "stop"):
            refused |= await self._together(second, start + len(first))
        return refused

    def _rejected(self, rejected: RecordsRejected, size: int, start: int) -> dict[int, Exception]:
        strange = [index for index in rejected.errors if not 0 <= index < size]
        if strange or not rejected.errors:
            rejected.add_note(
                f"{type(self.sink).__name__}.write named the records {strange} of a batch of {size}: "
                "which records it accepted can't be known"
            )
            raise rejected
        if self.policy == "stop":
            return {start + min(rejected.errors): rejected}
        return {start + index: error for index, error in sorted(rejected.errors.items())}


async def route(
    ports: Sequence[SinkPort], rows: Sequence[Record], pace: Pace
) -> tuple[list[Sequence[int] | None], list[dict[int, Exception]]]:
    """For each sink the positions of the rows that it takes (`None`: all), and those at which its `where`
    failed.

    A sink with `otherwise` takes what no `where` before it took, a row whose `where` failed not among it.
    """
    if not any(port.where is not None or port.otherwise for port in ports):
        return [None] * len(ports), [{} for _ in ports]
    taken = bytearray(len(rows))
    routes: list[Sequence[int] | None] = []
    failed: list[dict[int, Exception]] = []
    for port in ports:
        errors: dict[int, Exception] = {}
        if port.otherwise:
            routes.append([position for position in range(len(rows)) if not taken[position]])
        elif port.where is None:
            routes.append(None)
        else:
            choose = getattr(port.where, "choose", None)
            chosen, errors = await _asked(port, rows, pace) if choose is None else choose(rows)
            routes.append(chosen)
            for position in (*chosen, *errors):
                taken[position] = 1
        failed.append(errors)
    return routes, failed


async def _asked(
    port: SinkPort, rows: Sequence[Record], pace: Pace
) -> tuple[list[int], dict[int, Exception]]:
    """The positions of the rows that the port's function wants, and those at which it failed."""
    assert port.where is not None
    chosen: list[int] = []
    errors: dict[int, Exception] = {}
    for position, row in enumerate(rows):
        try:
            wanted = port.where(row)
        except Exception as error:  # noqa: BLE001  - a failing `where` is that record's failure at that sink
            errors[position] = leaf(error)
        else:
            if type(wanted) is CoroutineType:
                wanted.close()
                raise ConfigError(
                    f"the where of {port.stage} gave a coroutine: it must be a plain function; "
                    "ask in a map() and route by its answer"
                )
            if wanted:
                chosen.append(position)
        if pace.flag:
            await pace.give_way()
    return chosen, errors


def chosen_rows(rows: Sequence[Record], positions: Sequence[int]) -> Sequence[Record]:
    """The rows at these positions."""
    return rows.take(positions) if isinstance(rows, Columns) else [rows[position] for position in positions]
