"""A run may be cancelled, or fail, at any point: nothing of it is left, and the next run completes the output.

In place of chosen points, all of them: the k-th scheduling step of a run, for every k until a run ends before it; the
k-th call of a user's part, likewise.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio._core._run as trio_run  # type: ignore[import-not-found, unused-ignore]  # private
from support import agora_threads, run_virtual

from agora import Pipeline
from agora.sinks import JsonLinesSink
from agora.sources import JsonLinesSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

COUNT = 7


class Fault(RuntimeError):
    """What is injected."""


@attrs.define
class Calls:
    """Counts the calls of users' parts; the k-th one raises."""

    fail_at: int | None = None
    count: int = 0
    fault: Fault | None = None

    def __call__(self, what: str) -> None:
        self.count += 1
        if self.count == self.fail_at:
            self.fault = Fault(f"call {self.count}: {what}")
            raise self.fault


class Source:
    """A `JsonLinesSource` whose calls are counted."""

    supports_checkpoint = True

    def __init__(self, path: Path, calls: Calls) -> None:
        self.inner, self.calls = JsonLinesSource(path), calls

    def identity(self) -> Any:
        self.calls("source.identity")
        return self.inner.identity()

    def checkpoint(self) -> Any:
        self.calls("source.checkpoint")
        return self.inner.checkpoint()

    async def prepare_resume(self, position: Any) -> None:
        self.calls("source.prepare_resume")
        await self.inner.prepare_resume(position)

    async def open(self, context: Any) -> None:
        self.calls("source.open")

    async def close(self) -> None:
        self.calls("source.close")

    async def committed(self, position: Any) -> None:
        self.calls("source.committed")

    async def stream(self) -> Any:
        stream = self.inner.stream()
        try:
            async for record in stream:
                self.calls("source.stream")
                yield record
        finally:
            await stream.aclose()


class Sink:
    """A `JsonLinesSink` whose calls are counted, before and after."""

    def __init__(self, path: Path, calls: Calls) -> None:
        self._inner, self._calls = JsonLinesSink(path), calls

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name not in ("open", "write", "prepare", "commit", "recover", "finish", "close"):
            return attribute

        async def method(*args: Any) -> Any:
            if name != "close":
                self._calls(f"before sink.{name}")
            result = await attribute(*args)
            self._calls(f"after sink.{name}")
            return result

        return method

    async def write(self, records: Any) -> None:
        self._calls("before sink.write")
        await self._inner.write(records)
        self._calls("after sink.write")


class State(SQLiteBackend):
    """A SQLite backend whose changes are counted, before and after."""

    calls: Calls

    async def apply(self, changes: Any) -> None:
        self.calls("before state.apply")
        await super().apply(changes)
        self.calls("after state.apply")


class Numbered:
    """A stateful step: numbers what passes."""

    def __init__(self, calls: Calls) -> None:
        self.calls, self.passed = calls, 0

    async def on_start(self, context: Any) -> None:
        self.calls("step.on_start")
        await trio.lowlevel.checkpoint()

    async def on_end(self) -> None:
        await trio.lowlevel.checkpoint()
        self.calls("step.on_end")

    def snapshot(self) -> Any:
        self.calls("step.snapshot")
        return self.passed

    def restore(self, state: Any) -> None:
        self.calls("step.restore")
        self.passed = state

    def process(self, record: Any) -> Any:
        self.calls("step.process")
        self.passed += 1
        return {**record, "n": self.passed}


def linear(pipeline: Any, calls: Calls) -> Any:
    async def slow(record: Any) -> Any:
        calls("async map")
        await trio.lowlevel.checkpoint()
        return record

    return pipeline.map(slow, on_error="stop").pipe(Numbered(calls), on_error="stop")


def buffered(pipeline: Any, calls: Calls) -> Any:
    async def slow(record: Any) -> Any:
        await trio.sleep(record["id"] % 3)
        calls("buffered map")
        return record

    return pipeline.map(slow, concurrency=3, on_error="stop").pipe(Numbered(calls), on_error="stop")


def multiplying(pipeline: Any, calls: Calls) -> Any:
    def children(record: Any) -> Iterator[Any]:
        for number in range(record["id"] % 4):
            calls("flat_map")
            yield {"id": record["id"], "child": number}

    return pipeline.flat_map(children, on_error="stop").pipe(Numbered(calls), on_error="stop")


def letters(pipeline: Any, calls: Calls) -> Any:
    def picky(record: Any) -> Any:
        if record["id"] % 3 == 1:
            raise ValueError(f"not {record['id']}")
        return record

    return pipeline.map(picky).pipe(Numbered(calls), on_error="stop")


CHAINS = [linear, buffered, multiplying, letters]


@attrs.define
class Site:
    """A directory with an input; builds the pipeline on it."""

    root: Path
    chain: Any

    def build(self, calls: Calls) -> Any:
        state = State(self.root / "state.db")
        object.__setattr__(state, "calls", calls)
        pipeline = Pipeline(Source(self.root / "in.jsonl", calls), name="p")
        return (
            self.chain(pipeline, calls)
            .to(Sink(self.root / "out.jsonl", calls), name="out")
            .build(
                checkpoint_store=CheckpointStore(state),
                checkpoint_every=3,
                dlq=StateDLQSink(state),
                batch_size=2,
            )
        )

    def result(self) -> tuple[list[Any], list[Any]]:
        """The output's lines, and the letters."""

        async def read() -> list[Any]:
            dlq = StateDLQSink(SQLiteBackend(self.root / "state.db"))
            return [(each.id, each.original, each.error_message) async for each in dlq.read("p")]

        output = self.root / "out.jsonl"
        lines = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
        return lines, run_virtual(read)

    def names(self) -> set[str]:
        return {path.name for path in self.root.iterdir()}


@pytest.fixture
def site() -> Iterator[Callable[[Any, str], Site]]:
    """In memory where there is such a file system: thousands of runs, each with its fsyncs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:

        def make(chain: Any, name: str) -> Site:
            root = Path(directory).resolve() / name
            root.mkdir()
            (root / "in.jsonl").write_text("".join(f'{{"id": {n}}}\n' for n in range(COUNT)))
            return Site(root, chain)

        yield make


class CancelAt(trio.abc.Instrument):
    """Cancels the scope before the k-th step of any task but those of trio itself."""

    def __init__(self, number: int, scope: trio.CancelScope) -> None:
        self.number, self.scope, self.steps = number, scope, 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self.number:
            self.scope.cancel()


def open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return sorted(found)


def unfinished_generators() -> list[Any]:
    alive = list(trio_run.GLOBAL_RUN_CONTEXT.runner.asyncgens.alive)
    return [each for each in alive if each.ag_frame is not None]


async def nothing_left(main: Callable[[], Any], root: Path) -> Any:
    """Run `main` and look for what it left: tasks, async generators, threads, files of this directory."""
    tasks = trio.lowlevel.current_statistics().tasks_living
    try:
        return await main()
    finally:
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert unfinished_generators() == []
        assert agora_threads() == []
        assert [path for path in open_files() if path.startswith(str(root))] == []


def run_cancelled(site: Site, number: int, run: Callable[[Any], bool] = run_virtual) -> bool:
    """Whether the run was cancelled before it ended."""
    bound = site.build(Calls())

    async def main() -> bool:
        with trio.CancelScope() as scope:
            instrument = CancelAt(number, scope)
            trio.lowlevel.add_instrument(instrument)
            try:
                await nothing_left(bound.run, site.root)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        return scope.cancelled_caught or instrument.steps >= number

    return run(main)


def run_failing(site: Site, number: int) -> bool:
    """Whether the run failed with the injected error, which is the one that comes out."""
    calls = Calls(fail_at=number)
    bound = site.build(calls)

    async def main() -> bool:
        try:
            await nothing_left(bound.run, site.root)
        except Fault as fault:
            assert fault is calls.fault
            notes = "\n".join(fault.__notes__)
            assert "pipeline 'p'" in notes
            assert bound.spec.name == "p"
        return calls.fault is not None

    return run_virtual(main)


def complete(site: Site) -> Any:
    async def main() -> Any:
        return await nothing_left(site.build(Calls()).run, site.root)

    return run_virtual(main)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.__name__)
@pytest.mark.parametrize("end", [run_cancelled, run_failing], ids=["cancelled", "failing"])
def test_ended_at_any_point_it_leaves_nothing_and_the_next_run_completes(
    site: Callable[[Any, str], Site], chain: Any, end: Callable[[Site, int], bool]
) -> None:
    whole = site(chain, "whole")
    complete(whole)
    want, names = whole.result(), whole.names()
    number, ended = 0, True
    while ended:
        number += 1
        torn = site(chain, str(number))
        ended = end(torn, number)
        assert torn.names() <= names | {"state.db-wal", "state.db-shm", "state.db.locks"}, number
        complete(torn)
        assert torn.result() == want, number
        assert torn.names() == names, number
    assert number > 50  # the run was really taken apart


def test_cancelled_while_threads_work_it_leaves_nothing_either(site: Callable[[Any, str], Site]) -> None:
    whole = site(letters, "whole")
    complete(whole)
    number, ended = -4, True
    while ended:
        number += 7
        torn = site(letters, str(number))
        ended = run_cancelled(torn, number, trio.run)
        complete(torn)
        assert torn.result() == whole.result(), number
        assert torn.names() == whole.names(), number


def test_a_part_that_hangs_in_closing_leaves_no_file_open_and_the_next_run_goes_on(
    site: Callable[[Any, str], Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agora.runtime.closing.SECONDS", 0.3)
    monkeypatch.setattr("agora.runtime.closing.GRACE", 0.2)

    class Hanging(Numbered):
        async def on_end(self) -> None:
            await trio.sleep_forever()

    def hanging(pipeline: Any, calls: Calls) -> Any:
        return pipeline.pipe(Hanging(calls), on_error="stop")

    place = site(hanging, "hanging")

    async def main() -> None:
        bound = place.build(Calls())
        with pytest.raises(TimeoutError, match="on_end"):
            await nothing_left(bound.run, place.root)

    trio.run(main)
    lines, _ = place.result()
    assert [line["id"] for line in lines] == list(range(COUNT))
    place.chain = linear
    complete(place)
    assert place.result()[0] == lines
