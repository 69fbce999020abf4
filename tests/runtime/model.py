"""A model of a pipeline: random steps and sinks, and, independent of the engine, what must come of each record.

A step is described by data, and what it does to a record follows from the record alone (a checksum of it and of the
step's salt), so that the engine's parts and the reference below agree without sharing any code of the engine.
"""

import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import trio
from hypothesis import strategies as st

from agora.deadletter import DLQRecord, Entry

__all__ = [
    "Expected",
    "SinkModel",
    "StepModel",
    "by_key",
    "chains",
    "expected",
    "letter_fields",
    "make",
    "one_sink",
    "sinks",
]


def make(number: int) -> dict[str, Any]:
    """Record `number` of the source."""
    return {"key": str(number), "value": number, "tags": []}


def dice(salt: int, record: dict[str, Any], sides: int = 100) -> int:
    """The same number for the same record, whatever was appended to its tags."""
    return zlib.crc32(f"{salt}/{record['key']}/{record['value']}".encode()) % sides


class StepError(ValueError):
    """What a step of the model raises."""


@attrs.frozen(kw_only=True)
class StepModel:
    """One step."""

    kind: str
    """`map`, `filter`, `list`, `lazy`, `batch`, `count`, `countbatch`, `hold`."""
    mode: str
    """`sync`, `async`, `buffered`."""
    policy: str | None
    salt: int
    fails: int
    """Of 100 records, how many fail."""
    drops: int
    in_place: bool
    concurrency: int = 3
    name: str = ""

    @property
    def stateful(self) -> bool:
        return self.kind in ("count", "countbatch")

    @property
    def multiplies(self) -> bool:
        return self.kind in ("list", "lazy")

    @property
    def marks(self) -> bool:
        return self.stateful or self.multiplies

    # What it does, to one record.

    def error(self, record: dict[str, Any]) -> StepError | None:
        if dice(self.salt, record) < self.fails:
            return StepError(f"{self.name} can't take {record['key']}")
        return None

    def drop(self, record: dict[str, Any]) -> bool:
        return dice(self.salt + 1, record) < self.drops

    def changed(self, record: dict[str, Any]) -> dict[str, Any]:
        if self.in_place:
            record["tags"].append(self.name)
            record["value"] += 1
            return record
        return {**record, "value": record["value"] + 1, "tags": [*record["tags"], self.name]}

    def child_count(self, record: dict[str, Any]) -> int:
        return (0, 1, 2, 5)[dice(self.salt + 2, record, 4)]

    def child(self, record: dict[str, Any], number: int) -> dict[str, Any]:
        return {"key": f"{record['key']}.{number}", "value": record["value"], "tags": list(record["tags"])}

    def breaks_after(self, record: dict[str, Any]) -> int | None:
        """For `lazy`: fails when so many children were drawn."""
        return dice(self.salt + 3, record, self.child_count(record) + 1) if self.error(record) else None

    def delay(self, record: dict[str, Any]) -> float:
        return dice(self.salt + 4, record, 5) / 10

    def add_to(self, pipeline: Any, part: Any = None) -> Any:
        """The pipeline with this step behind it."""
        options: dict[str, Any] = {"name": self.name, "on_error": self.policy}
        if self.mode == "buffered":
            options["concurrency"] = self.concurrency
        method = {"map": "map", "filter": "filter", "list": "flat_map", "lazy": "flat_map"}.get(
            self.kind, "pipe"
        )
        return getattr(pipeline, method)(self.part() if part is None else part, **options)

    def part(self) -> Any:
        """The step as a part for `Pipeline.pipe`, `map` and so on."""
        return _PARTS[self.kind](self)


class _Part:
    def __init__(self, model: StepModel) -> None:
        self.model = model
        self.seen: list[tuple[str, str]] = []

    def on_error(self, record: Any, error: Exception) -> None:
        self.seen.append((record["key"], str(error)))


def _process(model: StepModel, record: Any) -> Any:
    if model.kind == "filter":
        if model.in_place:
            record["tags"].append(model.name)
        if error := model.error(record):
            raise error
        return not model.drop(record)
    error, drop = model.error(record), model.drop(record)
    after = model.changed(record)
    if error:
        raise error  # after a change in place
    return None if drop else after


def _map(model: StepModel) -> Any:
    if model.mode == "sync":
        return lambda record: _process(model, record)

    async def call(record: Any) -> Any:
        await trio.sleep(model.delay(record))
        return _process(model, record)

    return call


def _list(model: StepModel) -> Any:
    def children(record: Any) -> list[Any]:
        if error := model.error(record):
            if model.in_place:
                record["tags"].append(model.name)
            raise error
        return [model.child(record, number) for number in range(model.child_count(record))]

    if model.mode == "sync":
        return children

    async def call(record: Any) -> list[Any]:
        await trio.sleep(model.delay(record))
        return children(record)

    return call


def _lazy(model: StepModel) -> Any:
    def children(record: Any) -> Iterator[Any]:
        end = model.breaks_after(record)
        for number in range(model.child_count(record)):
            if number == end:
                break
            yield model.child(record, number)
        if error := model.error(record):
            if model.in_place:
                record["tags"].append(model.name)
            raise error

    if model.mode == "sync":
        return children

    async def drawn(record: Any) -> AsyncIterator[Any]:
        for child in children(record):
            await trio.sleep(model.delay(child))
            yield child

    if model.mode == "async":
        return drawn

    async def call(record: Any) -> Iterator[Any]:
        await trio.sleep(model.delay(record))
        return children(record)

    return call


class _Batch(_Part):
    """Some errors are raised, so that the engine has to halve; some are given as results."""

    def results(self, records: Sequence[Any]) -> list[Any]:
        model = self.model
        errors = [model.error(record) for record in records]
        for error, record in zip(errors, records, strict=True):
            if error and dice(model.salt + 5, record, 2):
                raise error
        return [
            error or (None if model.drop(record) else model.changed(record))
            for error, record in zip(errors, records, strict=True)
        ]


class _SyncBatch(_Batch):
    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        return self.results(records)


class _AsyncBatch(_Batch):
    async def process_batch(self, records: Sequence[Any]) -> list[Any]:
        await trio.sleep(self.model.delay(records[0]))
        return self.results(records)


class _Count(_Part):
    """Numbers the records that it passes on; drops every one that its count says."""

    def __init__(self, model: StepModel) -> None:
        super().__init__(model)
        self.count = {"passed": 0}

    def snapshot(self) -> Any:
        return self.count  # its live state, as a careless author would give it

    def restore(self, state: Any) -> None:
        self.count = state

    def counted(self, record: Any) -> Any:
        self.count["passed"] += 1
        if self.model.drop(record):
            return None
        return {**record, "tags": [*record["tags"], f"{self.model.name}={self.count['passed']}"]}


class _SyncCount(_Count):
    def process(self, record: Any) -> Any:
        if error := self.model.error(record):
            raise error
        return self.counted(record)


class _AsyncCount(_Count):
    async def process(self, record: Any) -> Any:
        await trio.sleep(self.model.delay(record))
        if error := self.model.error(record):
            raise error
        return self.counted(record)


class _CountBatch(_Count):
    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        results = []
        for record in records:
            if error := self.model.error(record):
                raise error  # with part of the batch counted
            results.append(self.counted(record))
        return results


class _Hold(_Part):
    """Keeps some records until the end."""

    def __init__(self, model: StepModel) -> None:
        super().__init__(model)
        self.held: list[Any] = []

    def process(self, record: Any) -> Any:
        if error := self.model.error(record):
            raise error
        if self.model.drop(record):
            self.held.append(record)
            return None
        return record

    def finish(self) -> Iterable[Any]:
        return [{**record, "key": record["key"] + "f"} for record in self.held]


_PARTS: dict[str, Callable[[StepModel], Any]] = {
    "map": _map,
    "filter": _map,
    "list": _list,
    "lazy": _lazy,
    "batch": lambda model: _SyncBatch(model) if model.mode == "sync" else _AsyncBatch(model),
    "count": lambda model: _SyncCount(model) if model.mode == "sync" else _AsyncCount(model),
    "countbatch": _CountBatch,
    "hold": _Hold,
}


@attrs.frozen(kw_only=True)
class SinkModel:
    """One sink."""

    name: str
    how: str
    policy: str | None
    salt: int
    fails: int
    where: int | None
    """Of 100 records, how many it wants; `None`: all."""
    otherwise: bool = False

    def wants(self, record: Any) -> bool:
        if dice(self.salt + 7, record) < 5:
            raise StepError(f"{self.name} can't choose {record['key']}")
        return self.where is None or dice(self.salt + 6, record) < self.where

    def bad(self, record: Any) -> bool:
        return dice(self.salt, record) < self.fails


def one_sink() -> SinkModel:
    """A sink that takes everything."""
    return SinkModel(name="k0", how="rejected", policy=None, salt=0, fails=0, where=None)


def letter_fields(letter: DLQRecord) -> tuple[Any, ...]:
    """A letter as `Expected.letters` has it."""
    place: Any = letter.checkpoint
    entry = letter.entry
    return (
        place["ordinal"],
        letter.stage,
        letter.error_message,
        letter.original,
        entry.step if isinstance(entry, Entry) else entry,
        entry.record if isinstance(entry, Entry) else None,
        letter.processed,
    )


def by_key(letters: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Letters of one record compare as a set: their order is that of the stages, not of the children."""
    return sorted(letters, key=repr)


@st.composite
def chains(draw: st.DrawFn, *, dlq: bool, kinds: Sequence[str] | None = None) -> list[StepModel]:
    policies = [None, "skip", "pass", "stop"] + (["dead_letter"] if dlq else [])
    steps = []
    for number in range(draw(st.integers(0, 5), label="steps")):
        kind = draw(st.sampled_from(kinds or list(_PARTS)))
        modes = ["sync", "async"]
        if kind in ("map", "filter", "list", "lazy", "batch"):
            modes.append("buffered")
        if kind in ("countbatch", "hold"):
            modes = ["sync"]
        mode = draw(st.sampled_from(modes))
        steps.append(
            StepModel(
                kind=kind,
                mode=mode,
                policy=draw(st.sampled_from(policies)),
                salt=draw(st.integers(0, 10_000)),
                fails=draw(st.sampled_from([0, 3, 15, 60])),
                drops=draw(st.sampled_from([0, 20, 100])),
                in_place=draw(st.booleans()),
                concurrency=draw(st.sampled_from([2, 3, 8])),
                name=f"s{number}",
            )
        )
    return steps


@st.composite
def sinks(draw: st.DrawFn, *, dlq: bool) -> list[SinkModel]:
    policies = [None, "skip", "stop"] + (["dead_letter"] if dlq else [])
    models: list[SinkModel] = []
    for number in range(draw(st.integers(1, 3), label="sinks")):
        wheres = any(model.where is not None for model in models)
        route = draw(st.sampled_from(["all", "where", "otherwise"] if wheres else ["all", "where"]))
        models.append(
            SinkModel(
                name=f"k{number}",
                how=draw(st.sampled_from(["rejected", "atomic", "record"])),
                policy=draw(st.sampled_from(policies)),
                salt=draw(st.integers(0, 10_000)),
                fails=draw(st.sampled_from([0, 0, 10, 40])),
                where=draw(st.sampled_from([0, 50])) if route == "where" else None,
                otherwise=route == "otherwise",
            )
        )
    return models


# The reference: one record after the other, depth first.


@attrs.define
class Expected:
    """What must come of a run."""

    sinks: dict[str, list[Any]] = attrs.field(factory=dict)
    letters: list[tuple[Any, ...]] = attrs.field(factory=list)
    """(ordinal, stage, message, original, entry step or "source", entry record, processed)."""
    error: str | None = None
    """The message of the error that `run()` raises."""
    halted_at: int | None = None
    halted_sink: str | None = None
    written: int = 0
    outcomes: dict[int, set[str]] = attrs.field(factory=dict)
    hooks: dict[str, list[tuple[str, str]]] = attrs.field(factory=dict)

    def count(self, what: str) -> int:
        """Source records with this outcome: a dead letter beats a skip, which beats the rest."""
        rank = ("dead", "skipped", "written")
        best = [next((each for each in rank if each in seen), "dropped") for seen in self.outcomes.values()]
        return best.count(what)


class _Halt(Exception):
    pass


def _copy(record: Any) -> Any:
    return None if record is None else {**record, "tags": list(record["tags"])}


def expected(count: int, steps: Sequence[StepModel], sinks: Sequence[SinkModel], *, dlq: bool) -> Expected:
    fold = _Fold(steps, sinks, "dead_letter" if dlq else "stop")
    try:
        for number in range(count):
            fold.out.outcomes[number] = set()
            fold.ordinal, fold.original = number, make(number)
            fold.through(make(number), 0, ("source", None))
        fold.finish(count - 1)
    except _Halt:
        pass
    return fold.out


class _Fold:
    def __init__(self, steps: Sequence[StepModel], sinks: Sequence[SinkModel], default: str) -> None:
        self.steps, self.sinks, self.default = steps, sinks, default
        self.out = Expected(sinks={sink.name: [] for sink in sinks})
        self.counts = {step.name: 0 for step in steps}
        self.held: dict[str, list[Any]] = {step.name: [] for step in steps}
        self.ordinal = 0
        self.original: Any = None

    def through(self, record: Any, start: int, entry: tuple[Any, Any]) -> None:
        for position in range(start, len(self.steps)):
            step = self.steps[position]
            following = self.steps[position + 1].name if position + 1 < len(self.steps) else None
            before = _copy(record)
            error = step.error(record)
            children: list[Any] = []
            if step.kind in ("list", "lazy"):
                if step.kind == "lazy" and not (error and step.policy == "pass"):
                    end = step.breaks_after(record)
                    total = step.child_count(record)
                    children = [step.child(record, n) for n in range(total if end is None else end)]
                elif not error:
                    children = [step.child(record, n) for n in range(step.child_count(record))]
                for child in children:
                    self.through(child, position + 1, (following, _copy(child)))
                if error and not self.fails(step, before, error, entry):
                    self.through(before, position + 1, (following, _copy(before)))
                return
            if error:
                if self.fails(step, before, error, entry):
                    return
                record = before
                if step.stateful:
                    entry = (following, _copy(record))
                continue
            if step.kind == "filter":
                if step.in_place:
                    record["tags"].append(step.name)
                if step.drop(before):
                    return
                continue
            if step.stateful:
                self.counts[step.name] += 1
                if step.drop(record):
                    return
                record = {**record, "tags": [*record["tags"], f"{step.name}={self.counts[step.name]}"]}
                entry = (following, _copy(record))
                continue
            if step.kind == "hold":
                if step.drop(record):
                    self.held[step.name].append(record)
                    return
                continue
            if step.drop(record):
                return
            record = step.changed(record)
        self.deliver(record)

    def fails(self, step: StepModel, record: Any, error: Exception, entry: tuple[Any, Any]) -> bool:
        """Whether it fails; false: it goes on."""
        if step.kind in ("batch", "count", "countbatch", "hold"):
            self.out.hooks.setdefault(step.name, []).append((record["key"], str(error)))
        policy = step.policy or self.default
        if policy == "pass":
            return False
        self.failure(policy, f"middleware:{step.name}", error, entry, None)
        return True

    def failure(
        self, policy: str, stage: str, error: Exception, entry: tuple[Any, Any], processed: Any
    ) -> None:
        seen = self.out.outcomes.setdefault(self.ordinal, set())
        if policy == "stop":
            self.out.error, self.out.halted_at = str(error), self.ordinal
            raise _Halt
        if policy == "dead_letter":
            seen.add("dead")
            self.out.letters.append(
                (self.ordinal, stage, str(error), _copy(self.original), *entry, processed)
            )
        else:
            seen.add("skipped")

    def deliver(self, record: Any) -> None:
        taken = False
        wanting: list[tuple[SinkModel, Exception | None]] = []
        for sink in self.sinks:
            if sink.otherwise:
                wanting += [] if taken else [(sink, None)]
                continue
            if sink.where is None:
                wanting.append((sink, None))
                continue
            try:
                if sink.wants(record):
                    taken = True
                    wanting.append((sink, None))
            except StepError as error:
                taken = True
                wanting.append((sink, error))
        refused = False
        for sink, error in wanting:
            if error is None and not sink.bad(record):
                self.out.sinks[sink.name].append(_copy(record))
                continue
            refused = True
            if (sink.policy or self.default) == "stop":
                self.out.halted_sink = sink.name
            why = error or ValueError(f"refused {record!r}")
            self.failure(
                sink.policy or self.default, f"sink:{sink.name}", why, (None, _copy(record)), _copy(record)
            )
        if wanting and not refused:
            self.out.outcomes[self.ordinal].add("written")
            self.out.written += 1

    def finish(self, last: int) -> None:
        self.ordinal, self.original = last, None
        for position, step in enumerate(self.steps):
            for record in self.held[step.name]:
                following = self.steps[position + 1].name if position + 1 < len(self.steps) else None
                given = {**record, "key": record["key"] + "f"}
                self.through(given, position + 1, (following, _copy(given)))
