"""What other systems were seen to get wrong after a crash, each with real files, real state and a process that dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from agora import AgoraError, BoundPipeline, Pipeline, StateError
from agora.config import build, load
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink, opened
from agora.state.base import Put

from .ahead import SLOW, Stopping, dropping, flushing
from .changing import RECORDS, SAVED, Setup, Sink, read, written
from .dying import Mortals, Place

BASE = Setup()
TWO = Setup(sinks=[Sink(), Sink("csv", "two.csv")])


def undisturbed(setup: Setup, sink: Sink = Sink()) -> list[dict[str, Any]]:  # noqa: B008  - frozen
    return written([(setup, range(RECORDS))], sink.file)


# --- a crash before the first checkpoint of the first run was complete ---


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "sqlite"])
@pytest.mark.parametrize(
    "place",
    [
        "before genesis",
        "after genesis",
        "after a write",
        "before prepare",
        "after prepare",
        "within save",
        "after save",
        "before commit",
        "after commit",
    ],
)
async def test_a_crash_before_the_first_checkpoint_was_complete_loses_and_repeats_nothing(
    folder: Path, mortals: Mortals, kind: str, place: str
) -> None:
    sink = Sink(kind, f"out.{kind}")
    setup = Setup(sinks=[sink, Sink(file="second.jsonl")])
    mortals.kill(folder, partial(setup.build, folder), Place(place))
    summary = await setup.build(folder).run()
    assert summary.read == (20 + 10 if place in AFTER_THE_DECISION else RECORDS)
    assert read(folder, sink) == undisturbed(setup, sink)
    assert read(folder, setup.sinks[1]) == undisturbed(setup, setup.sinks[1])


AFTER_THE_DECISION = ("after save", "before commit", "after commit")


# --- a state file left empty, or cut short, by the kill ---


@pytest.mark.parametrize("left", [0, 1, 100, 512, 4096, 4097, -4096, -1])
async def test_a_state_file_that_the_kill_left_empty_or_cut_short_is_reported_and_never_started_over(
    folder: Path, mortals: Mortals, left: int
) -> None:
    mortals.kill(folder, partial(BASE.build, folder))
    state = folder / "state.db"
    whole = {path: path.read_bytes() for path in folder.glob("state.db*") if path.is_file()}
    data = whole[state]
    for path in whole:
        path.unlink()
    state.write_bytes(data[: left % len(data) if left < 0 else left])
    output = (folder / "out.jsonl").read_bytes()
    with pytest.raises(StateError, match=r"state\.db .*(backup|to start anew|move it away)"):
        await BASE.build(folder).run()
    assert (folder / "out.jsonl").read_bytes() == output
    for path, content in whole.items():  # from the backup, as the message says
        path.write_bytes(content)
    await BASE.build(folder).run()
    assert read(folder, Sink()) == undisturbed(BASE)


# --- a saved checkpoint whose commit was cut off, and then the source is gone ---


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "sqlite"])
async def test_a_commit_that_was_cut_off_is_completed_before_a_source_that_is_gone_is_refused(
    folder: Path, mortals: Mortals, kind: str
) -> None:
    sink = Sink(kind, f"out.{kind}", options={"part_rows": 3} if kind == "parquet" else {})
    setup = Setup(sinks=[sink])
    mortals.kill(folder, partial(setup.build, folder), Place("before commit", 2))
    (folder / "in.csv").rename(folder / "away.csv")
    with pytest.raises(AgoraError, match=r"in\.csv"):
        await setup.build(folder).run()
    assert read(folder, sink) == undisturbed(setup, sink)[:SAVED]
    (folder / "away.csv").rename(folder / "in.csv")
    await setup.build(folder).run()
    assert read(folder, sink) == undisturbed(setup, sink)


# --- a kill during the orderly stop ---


@pytest.mark.parametrize(
    "place", ["before prepare", "after prepare", "within save", "before commit", "after commit"]
)
async def test_a_kill_at_the_last_barrier_of_an_orderly_stop_loses_and_repeats_nothing(
    folder: Path, mortals: Mortals, place: str
) -> None:
    setup = attrs.evolve(TWO, every=1_000)
    mortals.kill(folder, Stopping(TWO, folder), Place(place))
    await setup.build(folder).run()
    for sink in TWO.sinks:
        assert read(folder, sink) == undisturbed(TWO, sink)


@pytest.mark.parametrize("concurrency", ["1", "20"])
def test_a_process_that_is_killed_while_it_finishes_after_sigterm_loses_and_repeats_nothing(
    tmp_path: Path, concurrency: str
) -> None:
    shutil.copy(Path(__file__).with_name("drill.py"), tmp_path)
    rows = "".join(f"{number},{number}\n" for number in range(500))
    (tmp_path / "orders.csv").write_text("id,amount\n" + rows)
    command = [sys.executable, "-m", "agora", "run", "drill:pipeline"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "DRILL_PAUSE": "0.2",
        "DRILL_CONCURRENCY": concurrency,
    }
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 30
        while not (tmp_path / "out.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        assert "SIGTERM: finishing what is in flight" in process.stderr.readline()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "DRILL_PAUSE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert ids == [number for number in range(500) if number % 97 != 96]


# --- a position saved ahead of the data it stands for ---


@pytest.mark.parametrize("concurrency", [1, 20], ids=["linear", "buffered"])
async def test_a_dropped_record_moves_no_checkpoint_past_those_before_it_that_arent_written(
    folder: Path, mortals: Mortals, concurrency: int
) -> None:
    build = partial(dropping, folder, concurrency)
    mortals.kill(folder, build)
    checkpoint = await CheckpointStore(SQLiteBackend(folder / "state.db")).load("p")
    assert checkpoint is not None
    assert checkpoint.ordinal <= SLOW
    await build().run()
    assert [record["n"] for record in read(folder, Sink())] == list(range(SLOW + 1))


@pytest.mark.parametrize("place", ["before commit", "after save", "before prepare"])
async def test_a_sink_that_keeps_records_is_flushed_before_the_position_behind_them_is_saved(
    folder: Path, mortals: Mortals, place: str
) -> None:
    mortals.kill(folder, partial(flushing, folder), Place(place, 2))
    checkpoint = await CheckpointStore(SQLiteBackend(folder / "state.db")).load("p")
    assert checkpoint is not None
    assert len(read(folder, Sink())) == checkpoint.ordinal
    await flushing(folder).run()
    assert [record["n"] for record in read(folder, Sink())] == list(range(RECORDS))


# --- what agora-etl was seen to do ---


async def test_a_resumed_run_appends_and_never_opens_its_output_anew(folder: Path, mortals: Mortals) -> None:
    mortals.kill(folder, partial(BASE.build, folder))
    path = folder / "out.jsonl"
    before, inode = path.read_bytes().splitlines()[:SAVED], path.stat().st_ino
    await BASE.build(folder).run(max_records=1)
    assert path.read_bytes().splitlines()[:SAVED] == before
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("error", [TimeoutError, trio.TooSlowError])
@pytest.mark.parametrize("concurrency", [1, 5])
async def test_a_timeout_of_a_step_is_a_failure_of_that_record_and_not_lost(
    folder: Path, error: type[Exception], concurrency: int
) -> None:
    async def fetch(record: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if record["n"] == 7:
            raise error("too slow")
        return record

    state = SQLiteBackend(folder / "state.db")
    source = CsvSource(folder / "in.csv", types={"n": int})
    pipeline = (
        Pipeline(source, name="p").map(fetch, concurrency=concurrency).to(JsonLinesSink(folder / "out.jsonl"))
    )
    bound = pipeline.build(checkpoint_store=CheckpointStore(state), dlq=StateDLQSink(state))
    summary = await bound.run()
    assert (summary.read, summary.written, summary.dead_lettered) == (RECORDS, RECORDS - 1, 1)
    letters = [letter async for letter in StateDLQSink(state).read("p")]
    assert [letter.original["n"] for letter in letters] == [7]


async def test_the_checkpoint_table_of_a_config_file_is_obeyed(folder: Path) -> None:
    (folder / "p.toml").write_text(
        'format = "agora/1"\n[pipelines.p]\nsource = { type = "csv", path = "in.csv" }\n'
        'sinks = [{ type = "jsonl", path = "out.jsonl" }]\ncheckpoint = { every = 8 }\n'
        'state = { type = "sqlite", path = "state.db" }\n'
    )
    summary = await build(load(folder / "p.toml")).run(max_records=20)
    assert summary.checkpoints == 3  # at 8, at 16, and at the stop
    assert (await build(load(folder / "p.toml")).run()).read == RECORDS - 20


async def test_a_run_that_fails_without_checkpoints_leaves_no_half_of_a_file(folder: Path) -> None:
    def fail(record: dict[str, Any]) -> dict[str, Any]:
        return {"share": 1 / (30 - record["n"])}

    source = CsvSource(folder / "in.csv", types={"n": int})
    bound = Pipeline(source, name="p").map(fail).to(JsonLinesSink(folder / "out.jsonl")).build(batch_size=4)
    with pytest.raises(ZeroDivisionError):
        await bound.run()
    assert [path.name for path in folder.iterdir()] == ["in.csv"]


async def test_a_damaged_checkpoint_is_no_obstacle_to_what_its_message_advises(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id\n1\n2\n")
    state = SQLiteBackend(tmp_path / "state.db")

    def built() -> BoundPipeline:
        pipeline = Pipeline(CsvSource(tmp_path / "in.csv"), name="p").to(
            JsonLinesSink(tmp_path / "out.jsonl")
        )
        return pipeline.build(checkpoint_store=CheckpointStore(state))

    await built().run()
    async with opened(state):
        row = await state.get("checkpoint", "p")
        assert row is not None
        await state.apply([Put("checkpoint", "p", row[:-9] + b"x" + row[-8:])])
    with pytest.raises(StateError, match="restart=True"):
        await built().run()
    assert (await built().run(restart=True)).written == 2
    assert (tmp_path / "out.jsonl").read_text() == '{"id":"1"}\n{"id":"2"}\n'
