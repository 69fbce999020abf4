"""Pipelines with a part that is deliberately broken, each with the invariants of the simulation that it breaks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from agora import BoundPipeline, Pipeline, seam
from agora.sinks import JsonLinesSink
from agora.sources import JsonLinesSource
from agora.state import CheckpointStore, StateDLQSink
from agora.testing.simulation import World

RECORDS = [{"id": number} for number in range(30)]


def pipeline(world: World, *, source: Any = None, step: Any = None, sink: Any = None) -> BoundPipeline[Any]:
    steps = Pipeline(source or JsonLinesSource("in.jsonl"), name="p")
    if step is not None:
        steps = steps.pipe(step)
    return steps.to(sink or JsonLinesSink("out.jsonl")).build(
        checkpoint_store=CheckpointStore(world.state), checkpoint_every=4, dlq=StateDLQSink(world.state)
    )


class Wrapped:
    """A sink that does as the one it wraps, apart from what a subclass breaks."""

    def __init__(self, sink: Any) -> None:
        self.sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)


class WithoutRecover(Wrapped):
    """What wasn't committed stays in the file."""

    async def recover(self, token: Any) -> None:
        await self.sink.recover({**token, "size": seam.current().files.status(Path("out.jsonl")).size})


class WithoutRestart(Wrapped):
    """What was written stays in the file when the pipeline is started over."""

    async def restart(self, token: Any) -> None:
        await trio.lowlevel.checkpoint()


class ByHand:
    """A transactional sink of one's own, as a careless author writes it: it forgets to fsync."""

    def __init__(self, *, syncs: bool = False, closes: bool = True) -> None:
        self.syncs, self.closes = syncs, closes
        self.lines: list[bytes] = []
        self.size = 0
        self.handle: Any = None

    async def open(self, context: Any) -> None:
        files = seam.current().files
        there = files.exists(Path("out.jsonl"))
        self.handle = files.open(Path("out.jsonl"), "r+b" if there else "x+b")

    async def write(self, records: Sequence[Any]) -> None:
        self.lines += [b'{"id":%d}\n' % record["id"] for record in records]
        await trio.lowlevel.checkpoint()

    async def prepare(self) -> Any:
        files = seam.current().files
        self.handle.seek(self.size)
        files.write(self.handle, b"".join(self.lines))
        self.size += sum(map(len, self.lines))
        self.lines = []
        if self.syncs:
            files.fsync(self.handle)
            files.sync_directory(Path.cwd())
        await trio.lowlevel.checkpoint()
        return self.size

    async def commit(self, token: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def recover(self, token: Any) -> None:
        self.size = token
        seam.current().files.truncate(self.handle, token)
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        if self.closes:
            self.handle.close()


class AsItComes:
    """Not transactional, though its file is all that is looked at: records come twice."""

    async def write_record(self, record: Any) -> None:
        files = seam.current().files
        with files.open(Path("out.jsonl"), "ab") as handle:
            files.write(handle, b'{"id":%d}\n' % record["id"])
        await trio.lowlevel.checkpoint()


class Numbers:
    """Has a state that isn't in its snapshot."""

    def __init__(self) -> None:
        self.count = 0

    def process(self, record: Any) -> Any:
        self.count += 1
        return {**record, "number": self.count}


class Ahead:
    """A source whose position is one record further than what it has given."""

    supports_checkpoint = True

    def __init__(self) -> None:
        self.at = 0

    def identity(self) -> Any:
        return "ahead"

    async def prepare_resume(self, position: Any) -> None:
        self.at = position or 0

    def checkpoint(self) -> Any:
        return self.at + 1 if 0 < self.at < len(RECORDS) else self.at

    async def stream(self) -> Any:
        while self.at < len(RECORDS):
            await trio.lowlevel.checkpoint()
            self.at += 1
            yield RECORDS[self.at - 1]


class Waits:
    """Waits for its own record's answer, which a late stop or failure keeps from it: never ends."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def process(self, record: Any) -> Any:
        if record["id"] == 7 and self.world.elapsed:
            await trio.sleep_forever()
        return record


class Background:
    """Starts a task that nobody waits for."""

    async def process(self, record: Any) -> Any:
        if record["id"] == 3:
            trio.lowlevel.spawn_system_task(trio.sleep_forever)
        await trio.lowlevel.checkpoint()
        return record


class Fickle:
    """Fails only sometimes."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def process(self, record: Any) -> Any:
        await self.world.pause()
        if self.world.elapsed and record["id"] == 20:
            raise KeyError("only in a later run")
        return record


@attrs.frozen
class Broken:
    """A pipeline, and by which invariants it may be found out."""

    build: Callable[[World], BoundPipeline[Any]]
    breaks: Sequence[str]


def _sink(make: Callable[[], Any]) -> Callable[[World], BoundPipeline[Any]]:
    return lambda world: pipeline(world, sink=make())


BROKEN = {
    "recovers nothing": Broken(
        _sink(lambda: WithoutRecover(JsonLinesSink("out.jsonl"))),
        ["completes", "takes over", "fails for a reason"],
    ),
    "undoes nothing": Broken(
        _sink(lambda: WithoutRestart(JsonLinesSink("out.jsonl"))),
        ["completes", "takes over", "fails for a reason"],
    ),
    "doesn't fsync": Broken(_sink(ByHand), ["files"]),
    "doesn't close": Broken(_sink(lambda: ByHand(syncs=True, closes=False)), ["leaves nothing"]),
    "isn't transactional": Broken(_sink(AsItComes), ["files"]),
    "keeps no state": Broken(lambda world: pipeline(world, step=Numbers()), ["files"]),
    "is ahead": Broken(lambda world: pipeline(world, source=Ahead()), ["files"]),
    "never ends": Broken(lambda world: pipeline(world, step=Waits(world)), ["ends"]),
    "leaves a task": Broken(lambda world: pipeline(world, step=Background()), ["leaves nothing"]),
    "is fickle": Broken(lambda world: pipeline(world, step=Fickle(world)), ["letters", "files"]),
}
