"""`check_pipeline`: pipelines of the built-in parts pass, each way of breaking a law is found, a counterexample is a
test."""

import json

import pytest
import trio
from hypothesis import strategies as st
from testing.broken import pipelines
from testing.broken.pipelines import BROKEN, Lines, read_back, source, target
from testing.laws.finding import SEEDS, found, replayed
from testing.laws.summing import Running

from agora import Pipeline
from agora.sources import JsonLinesSource
from agora.state import CheckpointStore, MemoryBackend, SQLiteBackend, StateDLQSink
from agora.testing import LawBroken, check_pipeline
from agora.testing.laws import PIPELINE_LAWS

records = st.fixed_dictionaries({"n": st.integers(0, 9)})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_pipeline_is_found_and_its_counterexample_finds_it_again(broken, seed):
    given = None if broken.own_source else records
    try:
        seen = found(broken.law, check_pipeline, broken.factory, given, read_back=read_back, seed=seed)
        again = replayed(seen, factory=broken.factory)  # made in a function: it stands where this is pasted
    finally:
        for file in pipelines.OPENED:
            file.close()
    assert again.seen == seen.seen or broken.factory.__name__ == "shared_numbers"


def test_each_law_is_broken_by_one_of_them():
    assert {broken.law for broken in BROKEN} == {law.name for law in PIPELINE_LAWS}


def halved(record):
    if record["n"] == 7:
        raise ValueError("seven can't be halved")
    return {**record, "half": record["n"] / 2}


def twice(record):
    yield record
    if record["n"] == 5:
        raise ValueError("five only once")
    yield {**record, "again": True}


async def looked_up(record):
    await trio.sleep(record["n"] / 10)
    return {**record, "found": True}


def built(pipeline, state):
    return pipeline.build(checkpoint_store=CheckpointStore(state), dlq=StateDLQSink(state))


def test_a_pipeline_in_memory_passes():
    def orders(place):
        pipeline = Pipeline(source(place), name="orders").where("n > 1").map(halved, name="half")
        return built(pipeline.map(looked_up, concurrency=3).to(target(place)), MemoryBackend())

    check_pipeline(orders, records, read_back=read_back)


def test_a_pipeline_with_its_own_source_and_state_in_a_file_passes():
    def sums(place):
        if not (place / "in.jsonl").exists():
            (place / "in.jsonl").write_text('{"n": 1}\n{"n": 5}\nx\n{"n": 7}\n{"n": 2}\n')
        pipeline = Pipeline(JsonLinesSource(place / "in.jsonl"), name="sums").pipe(Running("n"))
        return built(pipeline.flat_map(twice).to(target(place)), SQLiteBackend(place / "state.db"))

    check_pipeline(sums, read_back=read_back, examples=4)


def test_a_sink_without_transactions_passes_as_at_least_once():
    def lines(place):
        return built(
            Pipeline(source(place), name="lines").map(halved).to(Lines(place / "out.jsonl")), MemoryBackend()
        )

    check_pipeline(lines, records, read_back=read_back)


def test_a_pipeline_without_checkpoints_passes():
    check_pipeline(
        lambda place: Pipeline(source(place), name="plain").map(looked_up).to(target(place)).build(),
        records,
        read_back=read_back,
    )


def test_several_sinks_are_read_back_by_name():
    def routed(place):
        pipeline = Pipeline(source(place), name="routed")
        pipeline = pipeline.to(
            Lines(place / "small.jsonl"), where=lambda record: record["n"] < 5, name="small"
        )
        return built(pipeline.to(target(place), otherwise=True, name="large"), MemoryBackend())

    def read(place):
        small = place / "small.jsonl"
        lines = small.read_text().splitlines() if small.exists() else []
        return {"small": [json.loads(line) for line in lines], "large": read_back(place)}

    check_pipeline(routed, records, read_back=read)


def test_a_pipeline_that_a_failing_record_ends_passes():
    def strict(place):
        pipeline = Pipeline(source(place), name="strict").map(
            lambda record: {**record, "n": 1 // record["n"]}
        )
        store = CheckpointStore(MemoryBackend())
        return pipeline.to(target(place)).build(checkpoint_store=store, checkpoint_every=2, dlq=None)

    for seed in range(3):
        check_pipeline(strict, records, read_back=read_back, seed=seed)


def two(place):
    pipeline = Pipeline(source(place), name="two").to(target(place), name="out")
    return built(pipeline.to(Lines(place / "other.jsonl"), name="other"), MemoryBackend())


@pytest.mark.parametrize(
    ("given_back", "says"),
    [
        (
            {"out": [], "oops": []},
            "records of 'out', 'oops'; the sinks are 'other', 'out': give None for one",
        ),
        ({"out": []}, "records of 'out'; the sinks are"),
        (
            [],
            r"gave \[\]: it has to give the records, and of several sinks a dict of them by name \(other, out\)",
        ),
        (None, "gave None: it has to give the records"),
    ],
)
def test_what_is_read_back_has_to_be_of_all_sinks(given_back, says):
    with pytest.raises(TypeError, match=says):
        check_pipeline(two, records, read_back=lambda place: given_back)


def test_a_sink_that_cannot_be_read_back_is_left_out():
    check_pipeline(two, records, read_back=lambda place: {"out": read_back(place), "other": None}, examples=5)


def test_the_same_seed_finds_the_same():
    def message():
        with pytest.raises(LawBroken) as found:
            check_pipeline(pipelines.one_off, read_back=read_back, seed=7)
        return str(found.value)

    assert message() == message()


def test_what_the_factory_raises_comes_out():
    def factory(place):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_pipeline(factory, records, read_back=read_back)


def test_a_factory_that_does_not_build_is_told_so():
    with pytest.raises(TypeError, match=r"the factory gave Pipeline.*what Pipeline.build\(\) gives"):
        check_pipeline(lambda place: Pipeline(source(place), name="p"), records, read_back=read_back)


def test_a_law_needs_its_case():
    with pytest.raises(TypeError, match="PipelineCase"):
        check_pipeline(pipelines.one_off, read_back=read_back, law="stop")
