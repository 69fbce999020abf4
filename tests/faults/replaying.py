"""`python replaying.py`, in a folder of its own: replays in the middle of a run that are killed at one place after the
other, each in a process forked before anything was opened, and a last one that is left alone.

Prints, as JSON, how each of the killed ended.
"""

import json
import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import trio

from agora import Checkpoint, Pipeline
from agora.sinks import JsonLinesSink
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

RECORDS, PAUSE = 100, 90
LETTERS = [number for number in range(PAUSE) if number % 3 == 1]
PLACES = [
    (what, nth)
    for nth in (1, 2)
    for what in ("write", "prepare", "prepared", "save", "saved", "commit", "committed")
]


@attrs.define(eq=False)
class Trap:
    """Kills this process at the n-th time that it passes a place, once it is set."""

    what: str = ""
    left: int = 0

    def passed(self, what: str) -> None:
        if what == self.what:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@attrs.define(eq=False)
class Numbers:
    """Goes on behind `PAUSE` records only where nothing is to be killed."""

    goes_on: bool
    supports_checkpoint: bool = True
    at: int = 0

    async def prepare_resume(self, position: Any) -> None:
        self.at = position or 0

    def checkpoint(self) -> int:
        return self.at

    async def stream(self) -> AsyncGenerator[Any]:
        while self.at < RECORDS:
            if self.at == PAUSE and not self.goes_on:
                await trio.sleep_forever()
            self.at += 1
            yield {"id": self.at - 1}


class Sink:
    """A `JsonLinesSink` with traps."""

    def __init__(self, trap: Trap) -> None:
        self.inner, self.trap = JsonLinesSink("out.jsonl"), trap

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def write(self, records: Any) -> None:
        await self.inner.write(records)
        self.trap.passed("write")

    async def prepare(self) -> Any:
        self.trap.passed("prepare")
        token = await self.inner.prepare()
        self.trap.passed("prepared")
        return token

    async def commit(self, token: Any) -> None:
        self.trap.passed("commit")
        await self.inner.commit(token)
        self.trap.passed("committed")


@attrs.frozen
class Store(CheckpointStore):
    """A `CheckpointStore` with traps."""

    trap: Trap

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        self.trap.passed("save")
        await super().save(pipeline, checkpoint, **more)
        self.trap.passed("saved")


async def run(place: tuple[str, int] | None) -> None:
    trap, fixed, state, source = Trap(), [False], SQLiteBackend("state.db"), Numbers(place is None)

    def check(record: Any) -> Any:
        if not fixed[0] and record["id"] in LETTERS:
            raise ValueError("not yet")
        return record

    bound = (
        Pipeline(source, name="replaying")
        .map(check, name="check")
        .to(Sink(trap), name="out")
        .build(
            checkpoint_store=Store(state, trap),
            checkpoint_every=1 if place is None else 2,
            dlq=StateDLQSink(state),
            linger=0,
        )
    )
    if place is None:
        fixed[0] = True
        await bound.run()
        await bound.replay()
        return
    async with trio.open_nursery() as nursery:
        handle = await nursery.start(bound.run)
        while source.at < PAUSE:
            await trio.sleep(0.01)
        await handle.checkpoint()
        fixed[0] = True
        trap.what, trap.left = place
        await handle.replay()
        handle.stop()


def forked(place: tuple[str, int] | None) -> int:
    """The exit status of a process that runs this."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            trio.run(run, place)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    killed = [forked(place) for place in PLACES]
    print(json.dumps({"killed": killed, "last": forked(None)}))
