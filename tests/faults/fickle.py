"""Pipelines whose steps answer differently whenever they are asked again: drops, failures and numbers of children are
random, and other ones after a resume.

What is right is told by the log that each run keeps of what its steps answered, written before they return. A record is
decided by the run that processed it last before a checkpoint covered it: run k goes on at the ordinal where its
checkpoint is, so the records from there to where run k + 1 goes on are those that run k decided.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import trio

from agora import BoundPipeline, Pipeline
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

from .phases import Recorder
from .variants import EVERY, NAME, RECORDS, VARIANTS, Verdict, feed, letters_of, read_output, sink_of
from .watching import WatchedSink, WatchedSource, WatchedStore

__all__ = ["FICKLE", "Fickle", "build"]

_FEEDS = next(variant for variant in VARIANTS.values() if variant.source == "csv")
_LOG = "answers"
_KEEP, _DROP, _FAIL = "keep", "drop", "fail"


@attrs.frozen(kw_only=True)
class Fickle:
    """A pipeline with one sink, which takes all, or with three: even records, the others, and all."""

    sinks: tuple[str, ...]
    concurrency: int
    multiplies: bool = False

    @property
    def name(self) -> str:
        mode = "linear" if self.concurrency == 1 else "buffered"
        return "-".join(("fickle", *self.sinks, mode, *(["many"] if self.multiplies else [])))

    @property
    def model(self) -> "Fickle":
        return self

    def feed(self, folder: Path, *, leg: int) -> None:
        _feed(folder, leg=leg)

    def judge(self, folder: Path, _: Verdict | None) -> Verdict:
        """Whether each record has the one outcome that the run which decided it gave it."""
        rows: Any = {}
        letters: Any = []
        for start, stop, run, answers in _decided(folder):
            for ordinal in range(start, stop):
                for row, failure in self._outcomes(run, ordinal, answers):
                    if failure is None:
                        for sink in self._sinks_of(ordinal):
                            rows.setdefault(sink, []).append(row)
                    else:
                        letters.append(failure)
        found = {sink: [_row(sink, row) for row in read_output(sink, folder)] for sink in self.sinks}
        wanted: Any = {sink: rows.get(sink, []) for sink in self.sinks}
        got_letters = [(letter["original"]["id"], letter["error_message"]) for letter in letters_of(folder)]
        lost, repeated = Counter[Any](), Counter[Any]()
        for sink in self.sinks:
            lost += Counter(wanted[sink]) - Counter(found[sink])
            repeated += Counter(found[sink]) - Counter(wanted[sink])
        lost += Counter(letters) - Counter(got_letters)
        repeated += Counter(got_letters) - Counter(letters)
        right = found == wanted and [i for i, _ in got_letters] == [i for i, _ in letters]
        wrong = None if right and not lost and not repeated else f"lost: {lost}, too many: {repeated}"
        return Verdict(wrong=wrong, lost=lost.total(), repeated=repeated.total())

    def _sinks_of(self, ordinal: int) -> tuple[str, ...]:
        if len(self.sinks) == 1:
            return self.sinks
        even, odd, every = self.sinks
        return (odd if ordinal % 2 else even, every)

    def _outcomes(
        self, run: int, ordinal: int, answers: dict[tuple[int, int], Any]
    ) -> Iterator[tuple[tuple[int, int, int], tuple[int, str] | None]]:
        """The row, or the failure, of everything that came of a record."""
        first = answers[ordinal, -1]
        if first == _FAIL:
            yield (ordinal, run, -1), (ordinal, _message(run, ordinal, -1))
        elif first == _KEEP and not self.multiplies:
            yield (ordinal, run, 0), None
        elif first == _KEEP:
            for child in range(answers[ordinal, -2]):
                answer = answers[ordinal, child]
                if answer != _DROP:
                    failure = (ordinal, _message(run, ordinal, child)) if answer == _FAIL else None
                    yield (ordinal, run, child), failure


def _fickle() -> Iterator[Fickle]:
    routed = ("jsonl", "sqlite", "parquet")
    for concurrency in (1, 8):
        yield Fickle(sinks=("jsonl",), concurrency=concurrency)
        yield Fickle(sinks=("sqlite",), concurrency=concurrency, multiplies=True)
        yield Fickle(sinks=routed, concurrency=concurrency)
        yield Fickle(sinks=routed, concurrency=concurrency, multiplies=True)


FICKLE = {fickle.name: fickle for fickle in _fickle()}


def _feed(folder: Path, *, leg: int) -> None:
    """Every line can be read: ordinal and id are one."""
    feed(attrs.evolve(_FEEDS, broken=False), folder, leg=leg)


# --- the log ---


@attrs.define(eq=False)
class Log:
    """What one run's steps answered, as lines `[run, ordinal, child, answer]`; where it began: `[run, ordinal]`."""

    run: int
    _file: int = attrs.field(factory=lambda: os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND))

    def note(self, *what: Any) -> None:
        os.write(self._file, json.dumps([self.run, *what]).encode() + b"\n")

    def answer(self, ordinal: int, child: int, answers: list[Any], weights: list[int]) -> Any:
        """Another one in every run, noted before anybody knows it."""
        dice = random.Random(f"{self.run} {ordinal} {child}")
        answer = dice.choices(answers, weights)[0]
        self.note(ordinal, child, answer)
        return answer


def _decided(folder: Path) -> Iterator[tuple[int, int, int, dict[tuple[int, int], Any]]]:
    """From where to where which run decided, and what it answered."""
    starts: list[tuple[int, int]] = []
    answers: dict[int, dict[tuple[int, int], Any]] = {}
    for line in (folder / _LOG).read_text().splitlines():
        run, ordinal, *more = json.loads(line)
        if not more:
            starts = [*starts, (run, ordinal)] if ordinal else [(run, 0)]  # a restart undoes what was decided
        else:
            child, answer = more
            answers.setdefault(run, {})[ordinal, child] = answer
    for (run, start), (_, stop) in zip(starts, [*starts[1:], (-1, RECORDS)], strict=True):
        assert start <= stop, "a run went on before the place where one before it did"
        yield start, stop, run, answers.get(run, {})


def _row(sink: str, row: Any) -> tuple[int, int, int]:
    fields = json.loads(row) if sink == "jsonl" else row
    return fields["id"], fields["run"], fields["child"]


# --- the steps ---


def _message(run: int, ordinal: int, child: int) -> str:
    return f"run {run} refuses {ordinal}, child {child}"


@attrs.define(eq=False)
class Judge:
    """Keeps, drops or fails a record. Tells where its run begins."""

    log: Log

    def on_start(self, context: Any) -> None:
        self.log.note(0 if context.resumed_from is None else context.resumed_from.ordinal)

    async def process(self, record: dict) -> dict | None:
        for _ in range(random.Random(f"{self.log.run} {record['id']}").randrange(3)):
            await trio.lowlevel.checkpoint()
        return _judged(self.log, {**record, "run": self.log.run, "child": 0}, -1)


def _judged(log: Log, record: dict, child: int) -> dict | None:
    answer = log.answer(record["id"], child, [_KEEP, _DROP, _FAIL], [7, 2, 1])
    if answer == _FAIL:
        raise ValueError(_message(log.run, record["id"], child))
    return record if answer == _KEEP else None


def build(fickle: Fickle, recorder: Recorder, run: int) -> BoundPipeline:
    """Its pipeline, for the run of this number."""
    log = Log(run)
    state = SQLiteBackend("state.db")
    store = CheckpointStore(state)
    source = CsvSource("in.csv", types={"id": int, "amount": int})
    pipeline: Any = Pipeline(WatchedSource(source, recorder, lambda: store.load(NAME)), name=NAME)
    pipeline = pipeline.pipe(Judge(log), name="judge", concurrency=fickle.concurrency)
    if fickle.multiplies:

        def split(record: dict) -> list[dict]:
            count = log.answer(record["id"], -2, [0, 1, 2, 3], [1, 1, 1, 1])
            return [{**record, "child": child} for child in range(count)]

        pipeline = pipeline.flat_map(split).map(
            lambda record: _judged(log, record, record["child"]), name="again"
        )
    sinks = [WatchedSink(sink_of(kind), recorder) for kind in fickle.sinks]
    if len(sinks) == 1:
        pipeline = pipeline.to(sinks[0], name="out")
    else:
        pipeline = pipeline.to(sinks[0], where=lambda record: record["id"] % 2 == 0, name="even")
        pipeline = pipeline.to(sinks[1], where=lambda record: record["id"] % 2 == 1, name="odd")
        pipeline = pipeline.to(sinks[2], name="every")
    return pipeline.build(
        checkpoint_store=WatchedStore(store, recorder),
        checkpoint_every=EVERY,
        dlq=StateDLQSink(state),
        batch_size=8,
    )
