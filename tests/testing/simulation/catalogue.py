"""Pipelines of built-in parts to be simulated, each with what must come of it
by a fold that knows nothing of agora."""

import contextlib
import csv
import datetime
import io
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import attrs
import pyarrow as pa  # whether it is loaded decides how columns are read: so it is, everywhere
import pyarrow.parquet as pq
import trio

from agora import Backpressure, BoundPipeline, Pipeline
from agora.middlewares import Deduplicate
from agora.runtime.handle import RunHandle
from agora.sinks import CsvSink, JsonLinesSink, ParquetSink
from agora.sources import CsvSource, IterableSource, JsonLinesSource, ParquetSource
from agora.state import CheckpointStore, StateDLQSink
from agora.testing.simulation import Hazards, Observation, Simulation, World, observe_calm, simulate

COUNT = 40
RECORDS = [{"id": number, "key": number % 11, "text": "x" * (number % 5)} for number in range(COUNT)]
INPUT: Mapping[str, Any] = {"in.jsonl": RECORDS}

Expected = dict[str, Any]
"""Content of the output by its name, and of `letters` the numbers of the records."""


@attrs.frozen(kw_only=True)
class Scenario:
    """One pipeline."""

    build: Callable[[World], BoundPipeline[Any]]
    expected: Callable[[], Expected]
    files: Mapping[str, Any] = INPUT
    during: Callable[[RunHandle, World], Any] | None = None
    seen: Callable[[str, bytes], object] | None = None
    hazards: Hazards | None = None
    calm: list[Observation] = attrs.field(factory=list)

    def simulate(self, seed: int) -> Simulation:
        """With small buffers, so that there is much to go wrong in few records."""
        with small():
            if not self.calm:
                self.calm.append(
                    observe_calm(self.build, files=self.files, during=self.during, seen=self.seen)
                )
            return simulate(
                self.build,
                seed=seed,
                files=self.files,
                during=self.during,
                seen=self.seen,
                calm=self.calm[0],
                hazards=self.hazards,
                check=self.check,
            )

    def check(self, simulation: Simulation) -> None:
        for name, expected in self.expected().items():
            found = _read(simulation, name)
            if found != expected:
                missing = [each for each in expected if each not in found]
                surplus = [each for each in found if each not in expected]
                raise AssertionError(
                    f"{name}: {missing} are missing, {surplus} are too many, or the order is wrong"
                )


def _read(simulation: Simulation, name: str) -> list[Any]:
    if name == "letters":
        return sorted(letter[0] for letter in simulation.found.letters)
    if name.endswith("/"):
        return _rows_of_parts(simulation, name[:-1])
    content = simulation.found.files.get(name, b"")
    if isinstance(content, bytes) and name.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(content.decode())))
    assert isinstance(content, bytes | list)
    return [json.loads(line) for line in (content.splitlines() if isinstance(content, bytes) else content)]


def _rows_of_parts(simulation: Simulation, directory: str) -> list[Any]:
    rows: list[Any] = []
    for path, content in sorted(simulation.world.disk.tree().items()):
        if str(path.parent) == directory and not path.name.endswith(".tmp"):
            assert not path.name.startswith("."), f"{path} was left"
            assert content is not None
            rows += pq.read_table(io.BytesIO(content)).to_pylist()
    return rows


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Blocks and buffers of a few records."""
    with contextlib.ExitStack() as stack:
        for name, value in (
            ("agora.sinks.target._BUFFER", 150),
            ("agora.sinks.target._COMPRESSED_BUFFER", 400),
            ("agora.sources.textfile._BLOCK", 300),
            ("agora.sources.reader._PIECE", 200),
        ):
            stack.enter_context(mock.patch(name, value))
        yield


def store(world: World, **options: Any) -> dict[str, Any]:
    given = {"checkpoint_every": 5, "batch_size": 8, **options}
    if "checkpoint_interval" in given:
        del given["checkpoint_every"]
    return {"checkpoint_store": CheckpointStore(world.state), "dlq": StateDLQSink(world.state), **given}


def source() -> JsonLinesSource:
    return JsonLinesSource("in.jsonl")


def fails(record: Any) -> bool:
    return bool(record["id"] % 7 == 3)


def change(record: Any) -> Any:
    if fails(record):
        raise ValueError(f"refused {record['id']}")
    return None if record["id"] % 5 == 0 else {**record, "twice": record["id"] * 2}


def changed() -> list[Any]:
    kept = (record for record in RECORDS if not fails(record) and record["id"] % 5)
    return [{**record, "twice": record["id"] * 2} for record in kept]


def bad() -> list[int]:
    return [record["id"] for record in RECORDS if fails(record)]


def plain() -> Expected:
    return {"out.jsonl": changed(), "letters": bad()}


def linear(world: World) -> BoundPipeline[Any]:
    return Pipeline(source(), name="p").map(change).to(JsonLinesSink("out.jsonl")).build(**store(world))


def deep(world: World) -> BoundPipeline[Any]:
    """The target's directory has to be made."""
    sink = JsonLinesSink("new/directory/out.jsonl")
    return Pipeline(source(), name="p").map(change).to(sink).build(**store(world, checkpoint_every=11))


def packed(world: World) -> BoundPipeline[Any]:
    sinks = [JsonLinesSink(f"out.jsonl.{kind}") for kind in ("gz", "zst")]
    return Pipeline(source(), name="p").map(change).to(*sinks).build(**store(world))


def buffered(world: World) -> BoundPipeline[Any]:
    async def slow(record: Any) -> Any:
        await world.pause()
        return change(record)

    return (
        Pipeline(source(), name="p")
        .map(slow, concurrency=4)
        .filter(lambda record: True)
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, batch_size=3))
    )


def multiplying(world: World) -> BoundPipeline[Any]:
    async def split(record: Any) -> AsyncGenerator[Any]:
        for number in range(record["id"] % 4):
            await world.pause(0.001)
            yield {"id": record["id"], "child": number}
        if fails(record):
            raise ValueError("refused")

    return (
        Pipeline(source(), name="p")
        .flat_map(split, concurrency=3)
        .flat_map(lambda record: [record, {**record, "again": True}])
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, batch_size=4))
    )


def multiplied() -> Expected:
    children = [{"id": each["id"], "child": n} for each in RECORDS for n in range(each["id"] % 4)]
    out = [record for child in children for record in (child, {**child, "again": True})]
    return {"out.jsonl": out, "letters": bad()}


class Numbered:
    """Numbers what it passes on, in `context.state` and in a snapshot."""

    def __init__(self) -> None:
        self.passed = 0
        self.state: Any = None

    def on_start(self, context: Any) -> None:
        self.state = context.state

    def process(self, record: Any) -> Any:
        if fails(record):
            raise ValueError("refused")
        self.passed += 1
        key = str(record["key"])
        self.state[key] = self.state.get(key, 0) + 1
        if self.passed % 9 == 0:
            del self.state[key]
            return None
        return {**record, "passed": self.passed, "of key": self.state[key]}

    def snapshot(self) -> Any:
        return self.passed

    def restore(self, state: Any) -> None:
        self.passed = state


def stateful(world: World) -> BoundPipeline[Any]:
    steps = Pipeline(source(), name="p").pipe(Numbered())
    return (
        steps.pipe(Deduplicate("key", ttl=datetime.timedelta(days=30)))
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, checkpoint_every=3))
    )


def numbered() -> Expected:
    out, passed, seen = [], 0, dict[int, int]()
    known = set[int]()
    for record in RECORDS:
        if fails(record):
            continue
        passed, key = passed + 1, record["key"]
        seen[key] = seen.get(key, 0) + 1
        if passed % 9 == 0:
            del seen[key]
        elif key not in known:
            known.add(key)
            out.append({**record, "passed": passed, "of key": seen[key]})
    return {"out.jsonl": out, "letters": bad()}


def columns(world: World) -> BoundPipeline[Any]:
    return (
        Pipeline(CsvSource("in.csv", types={"id": "int", "amount": "float"}), name="p")
        .where("id % 3 <> 0")
        .compute(more="amount * 2")
        .rename(key="group")
        .select("id", "group", "more")
        .to(CsvSink("out.csv"), JsonLinesSink("out.jsonl"))
        .build(**store(world, checkpoint_every=7))
    )


def table() -> str:
    rows = [
        f'{each["id"]},{"oops" if fails(each) else each["id"] / 4},"a, {each["key"]}"' for each in RECORDS
    ]
    return "\n".join(["id,amount,key", *rows]) + "\n"


def computed() -> Expected:
    kept = [each for each in RECORDS if each["id"] % 3 and not fails(each)]
    out = [{"id": each["id"], "group": f"a, {each['key']}", "more": each["id"] / 2} for each in kept]
    rows = [{**each, "id": str(each["id"]), "more": str(each["more"])} for each in out]
    return {"out.jsonl": out, "out.csv": rows, "letters": bad()}


def several(world: World) -> BoundPipeline[Any]:
    """Sinks with routes, one of which refuses records."""

    def endless(record: Any) -> Any:
        return {**record, "value": float("nan") if fails(record) else 0.5}

    return (
        Pipeline(source(), name="p")
        .map(endless)
        .to(JsonLinesSink("even.jsonl"), where=lambda record: record["id"] % 2 == 0)
        .to(JsonLinesSink("fives.jsonl"), where="id % 5 = 0", on_error="skip")
        .to(JsonLinesSink("rest.jsonl"), otherwise=True)
        .to(CsvSink("all.csv", columns=["id", "key", "text", "value"]))
        .build(**store(world))
    )


def routed() -> Expected:
    good = [{**each, "value": 0.5} for each in RECORDS if not fails(each)]
    rest = [each for each in good if each["id"] % 2 and each["id"] % 5]
    rows = [{name: str(value) for name, value in each.items()} for each in good]
    return {
        "even.jsonl": [each for each in good if each["id"] % 2 == 0],
        "fives.jsonl": [each for each in good if each["id"] % 5 == 0],
        "rest.jsonl": rest,
        "all.csv": rows,
    }


def replaying(world: World) -> BoundPipeline[Any]:
    """Letters are sent again in the middle of the run, and fail again."""

    async def slow(record: Any) -> Any:
        await world.pause()
        return change(record)

    return (
        Pipeline(source(), name="p")
        .map(slow)
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, batch_size=2))
    )


async def replay(handle: RunHandle, world: World) -> None:
    for _ in range(3):
        await world.pause(0.1)
        await handle.replay(limit=world.chance.randint(1, 4))


async def ask(handle: RunHandle, world: World) -> None:
    for _ in range(4):
        await world.pause(0.1)
        await handle.checkpoint()
        assert handle.stats().in_flight >= 0


def adaptive(world: World) -> BoundPipeline[Any]:
    async def slow(record: Any) -> Any:
        await world.pause(0.2)
        return change(record)

    return (
        Pipeline(source(), name="p")
        .map(slow, concurrency=8)
        .to(JsonLinesSink("out.jsonl"))
        .build(
            **store(
                world, batch_size=4, backpressure=Backpressure.adaptive(min_in_flight=2, max_in_flight=16)
            )
        )
    )


def one_by_one(world: World) -> BoundPipeline[Any]:
    return (
        Pipeline(source(), name="p")
        .map(change)
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, checkpoint_every=1, backpressure=Backpressure.fixed(1)))
    )


def interval(world: World) -> BoundPipeline[Any]:
    async def slow(record: Any) -> Any:
        await world.pause(0.3)
        return change(record)

    return (
        Pipeline(source(), name="p")
        .map(slow, concurrency=2)
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, checkpoint_interval=1, batch_size=3, linger=0.05))
    )


def without_checkpoints(world: World) -> BoundPipeline[Any]:
    """Files appear whole or not at all."""
    return (
        Pipeline(source(), name="p")
        .map(change)
        .to(JsonLinesSink("out.jsonl"), CsvSink("out.csv"))
        .build(dlq=StateDLQSink(world.state), batch_size=8)
    )


def published() -> Expected:
    rows = [{name: str(value) for name, value in each.items()} for each in changed()]
    return {"out.jsonl": changed(), "out.csv": rows}


def iterable(world: World) -> BoundPipeline[Any]:
    async def records() -> AsyncGenerator[Any]:
        for record in RECORDS:
            await world.pause(0.05)
            yield record

    return (
        Pipeline(IterableSource(records()), name="p")
        .map(change, on_error="skip")
        .to(JsonLinesSink("out.jsonl"))
        .build(batch_size=8)
    )


def globbed(world: World) -> BoundPipeline[Any]:
    """Several files, one compressed, one empty; what is there is kept, or replaced."""
    return (
        Pipeline(JsonLinesSource("in/*.jsonl*"), name="p")
        .map(change)
        .to(JsonLinesSink("out.jsonl", if_exists="append"), JsonLinesSink("new.jsonl", if_exists="replace"))
        .build(**store(world, checkpoint_every=4))
    )


def many_files() -> Mapping[str, Any]:
    import gzip  # noqa: PLC0415  - one scenario needs it

    text = b"".join(json.dumps(each).encode() + b"\n" for each in RECORDS)
    lines = text.splitlines(keepends=True)
    return {
        "in/a.jsonl": b"".join(lines[:13]),
        "in/b.jsonl": b"",
        "in/c.jsonl.gz": gzip.compress(b"".join(lines[13:20]), mtime=0)
        + gzip.compress(b"".join(lines[20:30]), mtime=0),
        "in/d.jsonl": b"".join(lines[30:])[:-1],
        "out.jsonl": b'{"old": 1}',
        "new.jsonl": b'{"old": 1}\n',
    }


def letters_in_a_file(world: World) -> BoundPipeline[Any]:
    return (
        Pipeline(source(), name="p")
        .map(change)
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, dlq=JsonLinesSink("letters.jsonl")))
    )


def seen_of_letters(name: str, content: bytes) -> object:
    """Letters, without when and by whom they were written."""
    if name != "letters.jsonl":
        return content
    return [json.dumps(json.loads(line)["original"]) for line in content.splitlines()]


class Batches:
    """Gives some errors as results, and raises others, so that the engine has to halve."""

    async def process_batch(self, records: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if any(record["id"] % 14 == 3 for record in records):
            raise ValueError("refused")
        return [ValueError("refused") if fails(record) else change(record) for record in records]


def batches(world: World) -> BoundPipeline[Any]:
    return Pipeline(source(), name="p").pipe(Batches()).to(JsonLinesSink("out.jsonl")).build(**store(world))


def parts(world: World) -> BoundPipeline[Any]:
    """Into Parquet: in rows and, behind a columnar step, in columns."""
    return (
        Pipeline(source(), name="p")
        .map(change)
        .where("id <> 4")
        .to(ParquetSink("out", part_rows=10), ParquetSink("rest", part_rows=100), JsonLinesSink("out.jsonl"))
        .build(**store(world))
    )


def without_parts(name: str, content: bytes) -> object:
    """When there are parts, and their names, depend on what happened."""
    return None if name.startswith(("out/", "rest/")) else content


def in_parts() -> Expected:
    out = [each for each in changed() if each["id"] != 4]
    return {"out/": out, "rest/": out, "out.jsonl": out, "letters": bad()}


def from_parts(world: World) -> BoundPipeline[Any]:
    """Out of Parquet, into files that appear whole."""
    return (
        Pipeline(ParquetSource("in/*.parquet"), name="p")
        .map(change)
        .to(JsonLinesSink("out.jsonl"))
        .build(**store(world, checkpoint_every=7))
    )


def parquet_files() -> Mapping[str, bytes]:
    files = {}
    for name, some in (("a", RECORDS[:25]), ("b", RECORDS[25:])):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(some), buffer, row_group_size=9)
        files[f"in/{name}.parquet"] = buffer.getvalue()
    return files


def one_part(world: World) -> BoundPipeline[Any]:
    return (
        Pipeline(source(), name="p")
        .map(change)
        .to(ParquetSink("out/whole.parquet"))
        .build(dlq=StateDLQSink(world.state), batch_size=8)
    )


SCENARIOS: dict[str, Scenario] = {
    "linear": Scenario(build=linear, expected=plain),
    "deep": Scenario(build=deep, expected=lambda: {"new/directory/out.jsonl": changed(), "letters": bad()}),
    "packed": Scenario(
        build=packed,
        expected=lambda: {"out.jsonl.gz": changed(), "out.jsonl.zst": changed(), "letters": bad()},
    ),
    "buffered": Scenario(build=buffered, expected=plain),
    "multiplying": Scenario(build=multiplying, expected=multiplied),
    "stateful": Scenario(build=stateful, expected=numbered),
    "columns": Scenario(build=columns, expected=computed, files={"in.csv": table()}),
    "several": Scenario(build=several, expected=routed),
    "replaying": Scenario(build=replaying, expected=plain, during=replay),
    "asking": Scenario(build=buffered, expected=plain, during=ask),
    "adaptive": Scenario(build=adaptive, expected=plain),
    "one by one": Scenario(build=one_by_one, expected=plain),
    "interval": Scenario(build=interval, expected=plain),
    "without checkpoints": Scenario(build=without_checkpoints, expected=published),
    "iterable": Scenario(build=iterable, expected=lambda: {"out.jsonl": changed()}),
    "globbed": Scenario(
        build=globbed,
        expected=lambda: {"out.jsonl": [{"old": 1}, *changed()], "new.jsonl": changed(), "letters": bad()},
        files=many_files(),
    ),
    "letters in a file": Scenario(
        build=letters_in_a_file,
        expected=lambda: {
            "out.jsonl": changed(),
            "letters.jsonl": [record for record in RECORDS if fails(record)],
        },
        seen=seen_of_letters,
    ),
    "batches": Scenario(build=batches, expected=plain),
    "parts": Scenario(build=parts, expected=in_parts, seen=without_parts),
    "from parts": Scenario(build=from_parts, expected=plain, files=parquet_files()),
    "one part": Scenario(
        build=one_part, expected=lambda: {"out/": changed()}, files={**INPUT, "out/whole.parquet": b"old"}
    ),
}
