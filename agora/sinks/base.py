"""The contract of a sink: where records go.

`write(records)` (or `write_record(record)` in its place) is all that is required. Every other member below is
optional and looked up by name. The engine calls one sink from one task at a time, in source order.

`async write(records)`
    Takes every record of the list, or raises. `RecordsRejected({index: error})`: those were refused, all
    others accepted. Any other data error (`ValueError`, `TypeError`, `LookupError`, `ArithmeticError`) of a
    batch of one is that record's; of a larger batch it is searched by halving, if `atomic_write`. All else
    fails closed.
`async write_columns(record_batch)`
    Beside `write`, for records that come as a `pyarrow.RecordBatch`: the same, without making rows of them.
`async write_record(record)`
    In place of `write`: each record is accepted or refused alone.
`atomic_write = True`
    A `write` that raises has accepted nothing.
`async open(context)`, `async flush()`, `async close()`
    In the task that called `run()` (`flush`: in the writer's). `close` also after a failed `open`; it may
    discard only what isn't prepared. `flush`: all that was accepted is delivered.
`async prepare() -> token`, `async commit(token)`, `async recover(token)`
    A transactional sink. `prepare`: what was accepted so far is durable but revocable; the JSON-able token
    says what the target has to hold. Before any write it answers the base token and creates nothing.
    `commit`: the target holds it, durable when it returns; may be called any number of times with the same
    token. `recover`: called once in every run after `open` and before any write, with the last saved token:
    completes its commit and undoes whatever came after it.
`async restart(token)`
    Called in place of `recover` by `run(restart=True)`, after `open` and before any write, with the last
    saved token: undoes everything that this pipeline's tokens name, back to the target as it was before the
    first run (which is why a token keeps its base). Where that was cut off, the next run calls it again with
    the same token. The `prepare` that follows answers the new base token. Raises `SinkChanged`, and changes
    nothing, where the target holds what isn't this pipeline's. A transactional sink without it can't be
    restarted.
`async finish()`
    Once, when the source is exhausted and every record was written, before the last `prepare` or `publish`
    (not on a stop): what waits for more records waits no longer, and a target that got no record at all may
    be made, empty.
`async publish()`
    Only without checkpoints, once, at the end of a successful run: the target appears whole under its name. A
    sink that has it discards in `close` what wasn't published.
`live: bool`
    True: `prepare` and `commit` are called at every cut without checkpoints too (there is no position to
    save), and what is committed stays when the run fails: for sources that never end.
`target: str`
    What it writes to, for its default name: `"jsonl:large.jsonl"`.
`paths() -> Sequence[Path]`
    The files or directories that it writes.
`explain() -> str`
    Half a sentence for the plan of a checkpointed pipeline: how it comes that it delivers exactly once.
`lifespan(context)`, `async check(context)`
    As for any part.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from agora.records import Json, Record

__all__ = ["DATA_ERRORS", "Sink", "TransactionalSink"]

DATA_ERRORS: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, ArithmeticError)
"""Errors of a sink that concern records (beside `RecordsRejected`); all others concern the sink."""


@runtime_checkable
class Sink(Protocol):
    """Takes records. See the module's documentation for what else it may define."""

    async def write(self, records: Sequence[Record]) -> None: ...


class TransactionalSink(Sink, Protocol):
    """A sink that takes part in the barrier."""

    async def prepare(self) -> Json: ...

    async def commit(self, token: Json) -> None: ...

    async def recover(self, token: Json) -> None: ...
