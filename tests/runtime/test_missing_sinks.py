"""A sink that was in the last checkpoint and isn't in the pipeline now: refused while its target may hold what isn't
committed, forgotten once it can't (`agora.runtime.opening`)."""

import logging
from pathlib import Path
from typing import Any

import pytest

from agora import BoundPipeline, Pipeline, SinkChanged
from agora.sinks import JsonLinesSink, MemorySink
from agora.state import CheckpointStore, SQLiteBackend
from tests.support import Records


class Broken(MemorySink):
    """Commits nothing, as a crash between save and commit would leave it."""

    async def commit(self, token: Any) -> None:
        raise OSError("the disk is gone")


def built(folder: Path, *sinks: Any, count: int = 4, **options: Any) -> BoundPipeline:
    """One sink named after each letter, a file of that name; or the sinks given."""
    pipeline = Pipeline(Records(count), name="p")
    for sink in sinks:
        name, part = sink if isinstance(sink, tuple) else (sink, JsonLinesSink(folder / f"{sink}.jsonl"))
        pipeline = pipeline.to(part, name=name)
    store = CheckpointStore(SQLiteBackend(folder / "state.db"))
    return pipeline.build(checkpoint_store=store, batch_size=1, checkpoint_every=2, **options)


def lines(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.jsonl").read_text().splitlines()


async def unfinished(folder: Path, *more: Any) -> None:
    """A run of sink a, and more, whose commits failed."""
    with pytest.raises(OSError, match="the disk is gone"):
        await built(folder, ("broken", Broken()), "a", *more).run()


async def test_one_with_uncommitted_work_is_refused_until_a_run_has_completed_it(tmp_path: Path) -> None:
    await unfinished(tmp_path, "b")
    for _ in range(2):  # being refused settles nothing
        with pytest.raises(
            SinkChanged, match=r"sink 'b' isn't in the pipeline any more.*max_records=0.*restart"
        ):
            await built(tmp_path, "a", ("broken", MemorySink())).run()
    await built(tmp_path, "a", "b", ("broken", MemorySink())).run(max_records=0)
    summary = await built(tmp_path, "a", ("broken", MemorySink())).run()
    assert summary.read == 2
    assert (len(lines(tmp_path, "a")), len(lines(tmp_path, "b"))) == (4, 2)


async def test_the_message_names_all_of_them_and_the_dead_letter_queue_by_what_it_is(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "letters.jsonl")
    with pytest.raises(OSError, match="the disk is gone"):
        await built(tmp_path, ("broken", Broken()), "a", "b", dlq=sink).run()
    with pytest.raises(SinkChanged, match=r"sinks 'b', 'broken' and the dead-letter queue"):
        await built(tmp_path, "a").run()


async def test_a_crash_in_the_first_run_is_enough(tmp_path: Path) -> None:
    def strike(record: Any) -> None:
        raise KeyboardInterrupt

    class Unclosed(JsonLinesSink):
        async def close(self) -> None:
            raise OSError("not closed")

    with pytest.raises(KeyboardInterrupt):
        await built(tmp_path, ("a", Unclosed(tmp_path / "a.jsonl")), ("b", strike)).run()
    assert await CheckpointStore(SQLiteBackend(tmp_path / "state.db")).load("p") is None
    with pytest.raises(SinkChanged, match="sink 'a' isn't in the pipeline any more"):
        await built(tmp_path, "c").run()


@pytest.mark.parametrize("how", ["completed", "stopped", "a step failed"])
async def test_one_whose_last_run_ended_in_order_is_no_obstacle(tmp_path: Path, how: str) -> None:
    if how == "a step failed":

        def fail(record: Any) -> Any:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await built(tmp_path, "a", "b", ("f", fail)).run()
    else:
        await built(tmp_path, "a", "b").run(max_records=2 if how == "stopped" else None)
    before = lines(tmp_path, "b") if (tmp_path / "b.jsonl").exists() else []
    await built(tmp_path, "a", count=6).run()
    assert len(lines(tmp_path, "a")) == 6
    assert (lines(tmp_path, "b") if (tmp_path / "b.jsonl").exists() else []) == before


async def test_a_crash_without_it_doesnt_make_it_an_obstacle_again(tmp_path: Path) -> None:
    await built(tmp_path, "a", "b").run()
    with pytest.raises(OSError, match="the disk is gone"):
        await built(tmp_path, "a", ("broken", Broken()), count=6).run()
    await built(tmp_path, "a", ("broken", MemorySink()), count=6).run()
    assert len(lines(tmp_path, "a")) == 6


@pytest.mark.parametrize("if_exists", [None, "append"])
async def test_one_that_comes_back_is_a_new_sink_and_not_taken_back_to_where_it_first_began(
    tmp_path: Path, if_exists: Any
) -> None:
    await built(tmp_path, "a", "b").run()
    await built(tmp_path, "a", count=6).run(max_records=1)
    again = ("b", JsonLinesSink(tmp_path / "b.jsonl", if_exists=if_exists))
    if if_exists is None:
        with pytest.raises(SinkChanged, match="if_exists"):
            await built(tmp_path, "a", again, count=6).run()
        assert len(lines(tmp_path, "b")) == 4
    else:
        await built(tmp_path, "a", again, count=6).run()
        assert lines(tmp_path, "b") == [f'{{"id":{n}}}' for n in (0, 1, 2, 3, 5)]


async def test_starting_over_leaves_it_where_it_is_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await unfinished(tmp_path, "b")
    with caplog.at_level(logging.WARNING, "agora"):
        await built(tmp_path, "a", ("broken", MemorySink())).run(restart=True)
    assert "sink 'b' isn't in the pipeline any more: what it wrote stays where it is" in caplog.text
    assert (len(lines(tmp_path, "a")), len(lines(tmp_path, "b"))) == (4, 2)
    await built(tmp_path, "a", count=6).run()
