"""What a run says of itself at its end, for people."""

from typing import Any

import pytest
from support import CountingStore, ListSink, Records, run_virtual

from agora import Pipeline
from agora.runtime.report import RunSummary
from agora.sinks import MemorySink


def summary(**more: Any) -> RunSummary:
    given: dict[str, Any] = {
        "pipeline": "p", "run_id": "0123", "status": "completed", "stop_reason": None, "read": 3_000,
        "written": 2_000, "dropped": 1_000, "dead_lettered": 0, "skipped": 0, "checkpoints": 0,
        "resumed_from": None, "duration": 2.0, "stages": {}, "peak_in_flight": 10, **more,
    }  # fmt: skip
    return RunSummary(**given)


def test_a_summary_says_how_the_run_ended_what_became_of_its_records_and_how_fast() -> None:
    assert str(summary()).splitlines() == [
        "p: completed in 2.00 s, run 0123",
        "  read 3,000 (1,500/s), written 2,000, dropped 1,000, dead-lettered 0, skipped 0",
    ]
    assert str(summary(status="stopped", stop_reason="max_records")).startswith("p: stopped (max_records) in")


def test_a_run_that_took_no_time_has_no_rate() -> None:
    assert "read 3,000 (0/s)" in str(summary(duration=0.0))


@pytest.mark.parametrize(
    ("first", "says"),
    [({}, "a completed run; read only what is new"), ({"max_records": 2}, "a checkpoint")],
)
def test_a_resumed_run_says_from_where(first: dict[str, Any], says: str) -> None:
    bound = Pipeline(Records(5), name="p").to(MemorySink()).build(checkpoint_store=CountingStore())
    before = run_virtual(lambda: bound.run(**first))
    assert str(before).splitlines()[2:] == ["  checkpoints 1"]
    text = str(run_virtual(bound.run))
    assert f"  resumed after record {first.get('max_records', 5)} from {says}" in text.splitlines()


def test_what_passed_a_failure_and_fails_again_ends_the_run_behind_what_came_before() -> None:
    """Of a chain that is one loop: the record goes on behind the step whose policy is `"pass"`."""

    def first(record: Any) -> Any:
        if record["id"] == 2:
            raise ValueError("the first")
        return record

    def second(record: Any) -> Any:
        if record["id"] == 2:
            raise LookupError("the second")
        return record

    sink = ListSink()
    pipeline = (
        Pipeline(Records(5), name="p").map(first, on_error="pass").map(second, on_error="stop").to(sink)
    )
    with pytest.raises(LookupError, match="the second"):
        run_virtual(pipeline.build().run)
    assert [record["id"] for record in sink.records] == [0, 1]
