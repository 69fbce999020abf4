"""Pipelines whose position could run ahead of the data that it stands for, if the engine let it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from agora import BoundPipeline, Pipeline
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend

from .changing import Setup
from .dying import die

__all__ = ["SLOW", "BufferingSink", "Stopping", "dropping", "flushing"]

SLOW = 13
"""The record that is at work while those behind it are dropped."""


def _store(folder: Path) -> CheckpointStore:
    return CheckpointStore(SQLiteBackend(folder / "state.db"))


def dropping(folder: Path, concurrency: int) -> BoundPipeline:
    """Everything behind record 13 is dropped, at once; 13 itself is at work until they are, and then the process dies.

    Linear, 13 is at work in the sink: what is behind it is dropped meanwhile, and waits for its turn.
    """
    dropped = trio.Event()

    async def last_of_them_was_dropped() -> None:
        if "DYING" in os.environ:
            with trio.move_on_after(0.5):
                await dropped.wait()
            await trio.sleep(0.02)  # would be enough for a barrier
            die()

    async def fetch(record: dict[str, Any]) -> dict[str, Any] | None:
        if record["n"] > SLOW:
            if record["n"] == SLOW + 3:
                dropped.set()
            return None
        if record["n"] == SLOW and concurrency > 1:
            await last_of_them_was_dropped()
        return record

    async def slow(record: dict[str, Any]) -> None:
        if record["n"] == SLOW and concurrency == 1:
            await last_of_them_was_dropped()

    source = CsvSource(folder / "in.csv", types={"n": int})
    pipeline = Pipeline(source, name="p").pipe(Fetch(fetch), concurrency=concurrency)
    return pipeline.to(slow, JsonLinesSink(folder / "out.jsonl")).build(
        checkpoint_store=_store(folder), checkpoint_every=1, batch_size=2
    )


@attrs.frozen(eq=False)
class Fetch:
    """A middleware of a function that may drop."""

    fetch: Any

    async def process(self, record: Any) -> Any:
        return await self.fetch(record)


@attrs.define(eq=False)
class BufferingSink:
    """Not transactional: it keeps records until it is flushed, as many clients do."""

    path: Path
    _waiting: list[str] = attrs.field(factory=list)

    async def write(self, records: Sequence[Any]) -> None:
        self._waiting += [json.dumps(record) + "\n" for record in records]

    async def flush(self) -> None:
        with self.path.open("a") as file:
            file.writelines(self._waiting)
        self._waiting.clear()


def flushing(folder: Path) -> BoundPipeline:
    source = CsvSource(folder / "in.csv", types={"n": int})
    return (
        Pipeline(source, name="p")
        .to(BufferingSink(folder / "out.jsonl"))
        .build(checkpoint_store=_store(folder), checkpoint_every=10, batch_size=4)
    )


@attrs.frozen
class Stopping:
    """A run that is stopped in order while it is in the midst of its records; its one barrier is that of the stop."""

    setup: Setup
    folder: Path

    def __call__(self) -> "Stopping":
        return self

    async def run(self) -> None:
        bound = attrs.evolve(self.setup, every=1_000).build(self.folder)
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            while handle.stats().read < 8:
                await trio.lowlevel.checkpoint()
            handle.stop()
