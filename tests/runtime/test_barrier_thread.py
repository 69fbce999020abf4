"""What a barrier does in threads: sinks whose `prepare` blocks, and the save, in one call; all else as ever."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from support import Records

from agora import Checkpoint, Pipeline, seam
from agora.errors import StateError
from agora.records import Json
from agora.sinks import JsonLinesSink, SQLiteSink
from agora.state import CheckpointStore, SQLiteBackend

P = ParamSpec("P")
T = TypeVar("T")


class Counting(seam.Seam):
    """Names what runs in threads."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def in_thread(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.calls.append(getattr(fn, "__qualname__", repr(fn)))
        return await super().in_thread(fn, *args, **kwargs)


class Failing(JsonLinesSink):
    """A user's, with a `prepare` of its own, which fails the fourth time."""

    prepares = 0

    async def prepare(self) -> Json:
        self.prepares += 1
        if self.prepares > 3:
            raise OSError("no more")
        return await super().prepare()


class Noting(CheckpointStore):
    """A user's, with a `save` of its own."""

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        if checkpoint.ordinal == 30:
            raise StateError("full")
        await super().save(pipeline, checkpoint, **more)


def build(folder: Path, *sinks: Any, store: type[CheckpointStore] = CheckpointStore) -> Any:
    pipeline: Any = Pipeline(Records(60), name="p")
    for sink in sinks:
        pipeline = pipeline.to(sink)
    return pipeline.build(
        checkpoint_store=store(SQLiteBackend(folder / "state.db")), checkpoint_every=10, batch_size=10
    )


async def saved(folder: Path) -> int:
    checkpoint = await CheckpointStore(SQLiteBackend(folder / "state.db")).load("p")
    return 0 if checkpoint is None else checkpoint.ordinal


async def test_a_barrier_is_one_thread_call(tmp_path: Path) -> None:
    with seam.use(Counting()) as counting:
        await build(tmp_path, JsonLinesSink(tmp_path / "a.jsonl"), JsonLinesSink(tmp_path / "b.jsonl")).run()
    name = "Barrier._prepare_and_save.<locals>.work"
    calls = counting.calls
    between = calls[calls.index(name) : len(calls) - calls[::-1].index(name)]
    assert between == [name] * 6
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 60


async def test_one_sink_that_cannot_prepare_saves_nothing_for_the_others(tmp_path: Path) -> None:
    sinks = (JsonLinesSink(tmp_path / "a.jsonl"), SQLiteSink(tmp_path / "t.db", table="t"))
    bound = build(tmp_path, *sinks, Failing(tmp_path / "b.jsonl"))
    with pytest.raises(OSError, match="no more"):
        await bound.run()
    assert await saved(tmp_path) == 20  # prepared: the base token, at 10, at 20
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 20


async def test_a_save_of_the_user_s_own_is_what_saves(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="full"):
        await build(tmp_path, JsonLinesSink(tmp_path / "a.jsonl"), store=Noting).run()
    assert await saved(tmp_path) == 20
