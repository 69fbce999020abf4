"""Whole pipelines that are broken on purpose, each in one way. `BROKEN` says which law each of them breaks."""

import json

import attrs
import trio

from agora import Pipeline
from agora.sinks import JsonLinesSink
from agora.sources import JsonLinesSource
from agora.state import CheckpointStore, MemoryBackend, StateDLQSink


@attrs.frozen
class Broken:
    """A pipeline, the law that it breaks, and whether it is its own source that does."""

    factory: object
    law: str
    own_source: bool = False

    def __str__(self):
        return self.factory.__name__


OPENED = []
"""By parts that don't close them: whoever tries these does."""


def read_back(place):
    path = place / "out.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def target(place):
    return JsonLinesSink(place / "out.jsonl")


def source(place):
    return JsonLinesSource(place / "in.jsonl")


def built(pipeline):
    state = MemoryBackend()
    return pipeline.build(checkpoint_store=CheckpointStore(state), dlq=StateDLQSink(state))


def with_step(step):
    return lambda place: built(Pipeline(source(place), name="broken").pipe(step(place)).to(target(place)))


def named(factory, name):
    factory.__name__ = name
    return factory


# repetition


class SharedNumbers:
    """Goes on counting from one run to the next."""

    count = 0

    def process(self, record):
        type(self).count += 1
        return {**record, "number": self.count}


class Stamped:
    """Says when it was."""

    def process(self, record):
        return {**record, "at": trio.current_time()}


# fold, order


class NumberedInBatch:
    def process_batch(self, records):
        return [{**record, "number": number} for number, record in enumerate(records)]


class SortedInBatch:
    def process_batch(self, records):
        return sorted(records, key=lambda record: record["n"])


# counting, settings, crash: sinks


@attrs.define
class Lines:
    """A sink of lines, without transactions. What is broken is made of it."""

    path: object

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        self.append(records)

    def append(self, records):
        with self.path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


@attrs.define
class LosesTheRest:
    """Writes by twos; what is left in the end isn't written."""

    lines: Lines
    buffer: list = attrs.field(factory=list)

    async def write(self, records):
        self.buffer += records
        while len(self.buffer) >= 2:
            await self.lines.write(self.buffer[:2])
            del self.buffer[:2]


@attrs.define
class WritesAtTheEnd:
    """Writes when it is closed, and has no flush: a checkpoint counts what isn't written."""

    lines: Lines
    buffer: list = attrs.field(factory=list)

    async def write(self, records):
        await trio.lowlevel.checkpoint()
        self.buffer += records

    async def close(self):
        self.lines.append(self.buffer)
        self.buffer = []


@attrs.define
class FirstOfBatch:
    """Says of each record which one was the first of its batch."""

    lines: Lines

    async def write(self, records):
        await self.lines.write([{**record, "first": records[0]["n"]} for record in records])


def with_sink(kind):
    return lambda place: built(Pipeline(source(place), name="broken").to(kind(Lines(place / "out.jsonl"))))


# stop


class ForgetsWhatItSaw:
    """A sum so far that no snapshot keeps."""

    def __init__(self):
        self.total = 0

    def process(self, record):
        self.total += record["n"]
        return {**record, "total": self.total}


@attrs.define
class OneOff:
    """A source whose position is the one behind the next record."""

    at: int = 0
    supports_checkpoint = True

    def identity(self):
        return "one off"

    def checkpoint(self):
        return self.at + 1

    async def prepare_resume(self, position):
        self.at = position or 0

    async def stream(self):
        while self.at < 6:
            await trio.lowlevel.checkpoint()
            self.at += 1
            yield {"n": self.at}


def one_off(place):
    return built(Pipeline(OneOff(), name="broken").to(target(place)))


# cancellation


class RemembersInAFile:
    """Passes over what it has seen in an earlier run, by a note that it takes when it ends, however it ends."""

    def __init__(self, place):
        self.path = place / "seen.json"
        self.passed = json.loads(self.path.read_text()) if self.path.exists() else 0

    def on_start(self, context):
        self.count = 0 if context.resumed_from is None else context.resumed_from.ordinal

    def process(self, record):
        self.count += 1
        return None if self.count <= self.passed else record

    def on_end(self):
        self.path.write_text(json.dumps(self.count))


# ending


class LeavesATask:
    def on_start(self, context):
        trio.lowlevel.spawn_system_task(trio.sleep_forever)

    def process(self, record):
        return record


class LeavesAFile:
    """Opens a log at the first record, and has no end at which it would be closed."""

    def __init__(self, place):
        self.path = place / "log"
        self.log = None

    def process(self, record):
        if self.log is None:
            self.log = self.path.open("w")
            OPENED.append(self.log)
        return record


BROKEN = [
    Broken(named(with_step(lambda place: SharedNumbers()), "shared_numbers"), "repetition"),
    Broken(named(with_step(lambda place: Stamped()), "stamped"), "repetition"),
    Broken(named(with_step(lambda place: NumberedInBatch()), "numbered_in_batch"), "fold"),
    Broken(named(with_step(lambda place: SortedInBatch()), "sorted_in_batch"), "order"),
    Broken(named(with_sink(LosesTheRest), "loses_the_rest"), "counting"),
    Broken(named(with_sink(FirstOfBatch), "first_of_batch"), "settings"),
    Broken(named(with_step(lambda place: ForgetsWhatItSaw()), "forgets_what_it_saw"), "stop"),
    Broken(one_off, "stop", own_source=True),
    Broken(named(with_step(RemembersInAFile), "remembers_in_a_file"), "cancellation"),
    Broken(named(with_sink(WritesAtTheEnd), "writes_at_the_end"), "crash"),
    Broken(named(with_step(lambda place: LeavesATask()), "leaves_a_task"), "ending"),
    Broken(named(with_step(LeavesAFile), "leaves_a_file"), "ending"),
]
