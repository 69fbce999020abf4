"""What happens to a pipeline's output around the end of a completed run."""

from pathlib import Path

import pytest

from agora import BoundPipeline, Pipeline, SinkChanged
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import CheckpointStore, SQLiteBackend


def built(folder: Path, **options: object) -> BoundPipeline:
    def strike(record: dict) -> None:
        if record["id"] == "strike":
            raise KeyboardInterrupt  # as a crash would: no policy applies, nothing more is saved

    store = CheckpointStore(SQLiteBackend(folder / "state.db"))
    source = CsvSource(folder / "in.csv")
    pipeline = Pipeline(source, name="p").to(JsonLinesSink(folder / "out.jsonl"), strike)
    return pipeline.build(checkpoint_store=store, batch_size=1, checkpoint_every=1_000, **options)  # type: ignore[arg-type]  # forwarded


async def test_a_crash_after_a_completed_run_is_cut_back_and_not_taken_for_somebody_elses_writing(
    tmp_path: Path,
) -> None:
    (tmp_path / "in.csv").write_text("id\n1\n2\n")
    await built(tmp_path).run()
    with (tmp_path / "in.csv").open("a") as file:
        file.write("3\nstrike\n")
    with pytest.raises(KeyboardInterrupt):
        await built(tmp_path).run()
    # What a crash leaves: a record behind the completed checkpoint, written and not covered by one.
    with (tmp_path / "out.jsonl").open("a") as file:
        file.write('{"id":"3"}\n')
    text = (tmp_path / "in.csv").read_text()
    (tmp_path / "in.csv").write_text(text.replace("strike", "4"))
    summary = await built(tmp_path).run()
    assert summary.read == 2
    assert (tmp_path / "out.jsonl").read_text() == '{"id":"1"}\n{"id":"2"}\n{"id":"3"}\n{"id":"4"}\n'


async def test_what_others_write_behind_a_completed_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id\n1\n")
    await built(tmp_path).run()
    with (tmp_path / "out.jsonl").open("a") as file:
        file.write('{"id":"foreign"}\n')
    with (tmp_path / "in.csv").open("a") as file:
        file.write("2\n")
    with pytest.raises(SinkChanged):
        await built(tmp_path).run()
