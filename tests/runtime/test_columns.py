"""Columnar steps give the same over RecordBatches as over rows: records, letters, counts, checkpoints."""

import json
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from support import run_virtual

from agora import AgoraError, BoundPipeline, ConfigError, Pipeline
from agora.middlewares.columnar import ColumnsResult
from agora.sinks import CsvSink, JsonLinesSink, MemorySink, ParquetSink
from agora.sources import CsvSource, IterableSource, JsonLinesSource, ParquetSource
from agora.state import CheckpointStore, MemoryBackend

HEADER = "id,amount,name\n"
TYPES = {"id": int, "amount": float}


def as_text(rows: list[dict[str, Any]]) -> str:
    return HEADER + "".join(f"{row['id']},{row['amount']},{row['name']}\n" for row in rows)


def as_record(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "amount": float(row["amount"]), "name": row["name"]}


class Doubled:
    """A columnar middleware of a user's: doubles amounts, keeps what is above a limit, refuses a name."""

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole

    def process_columns(self, batch: pa.RecordBatch) -> Any:
        bad = pc.equal(batch["name"], "x").to_pylist()
        if self.whole and any(bad):
            raise ValueError("an x in here")
        errors = {at: ValueError("it is x") for at, is_bad in enumerate(bad) if is_bad}
        kept = pc.and_(pc.less(batch["amount"], 900.0), pc.not_equal(batch["name"], "x"))
        doubled = batch.set_column(1, "amount", pc.multiply(batch["amount"], 2.0))
        return ColumnsResult(doubled.filter(kept), kept, errors)


STEPS: dict[str, Any] = {
    "where": lambda pipeline: pipeline.where("amount > 100 OR name = 'b'"),
    "compute": lambda pipeline: pipeline.compute(inverse="1 / amount", id="id + 1"),
    "rename": lambda pipeline: pipeline.rename({"name": "label"}).rename(label="name"),
    "cast": lambda pipeline: pipeline.cast(amount=str).cast(amount=float),
    "cast that fails": lambda pipeline: pipeline.compute(whole="CAST(amount AS INT)"),
    "pass": lambda pipeline: pipeline.compute({"half": "100 / amount"}, on_error="pass"),
    "skip": lambda pipeline: pipeline.where("100 / amount > 1", on_error="skip"),
    "user's": lambda pipeline: pipeline.pipe(Doubled(whole=False)),
    "user's that raises": lambda pipeline: pipeline.pipe(Doubled(whole=True), name="whole"),
    "rows": lambda pipeline: pipeline.map(lambda row: {**row, "seen": True} if row["id"] % 7 else None),
    "select": lambda pipeline: pipeline.select("name", "amount", "id"),
}

ROW = st.fixed_dictionaries(
    {
        "id": st.integers(0, 10_000),
        "amount": st.sampled_from(["0", "0.0", "5", "150", "99.5", "1e3", "-3", "250.25"]),
        "name": st.sampled_from(["a", "b", "x", "", "é"]),
    }
)


def built(source: Any, steps: list[str], *sinks: Any, **options: Any) -> BoundPipeline:
    pipeline = Pipeline(source, name="p")
    for step in steps:
        pipeline = STEPS[step](pipeline)
    return pipeline.to(*sinks).build(**options)


def outcome(letters: MemorySink) -> list[Any]:
    return [
        (letter.stage, letter.error_type, letter.error_message, letter.original, letter.checkpoint["ordinal"])
        for letter in letters.records
    ]


@settings(max_examples=examples(30, 600), deadline=None)
@given(
    rows=st.lists(ROW, max_size=40),
    steps=st.lists(st.sampled_from([name for name in STEPS if name != "rows"]), min_size=1, max_size=4),
    tail=st.sampled_from([[], ["rows"], ["rows", "where"]]),
    batch=st.sampled_from([1, 3, 512]),
)
def test_columns_give_what_rows_give(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    steps: list[str],
    tail: list[str],
    batch: int,
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    (folder / "in.csv").write_text(as_text(rows))
    records = [as_record(row) for row in rows]
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in records))
    schema = pa.schema({"id": pa.int64(), "amount": pa.float64(), "name": pa.string()})
    pq.write_table(pa.Table.from_pylist(records, schema), folder / "in.parquet", row_group_size=7)
    chain = list(dict.fromkeys([*steps, *tail]))

    async def main() -> None:
        found: dict[str, Any] = {}
        sources = {
            "columns": CsvSource(folder / "in.csv", types=TYPES),
            "json": JsonLinesSource(folder / "in.jsonl"),
            "parquet": ParquetSource(folder / "in.parquet"),
            "rows": IterableSource([as_record(row) for row in rows]),
        }
        for kind, source in sources.items():
            letters, file = MemorySink(), folder / f"{kind}.jsonl"
            bound = built(source, chain, JsonLinesSink(file), dlq=letters, batch_size=batch)
            summary = await bound.run()
            counts = (summary.read, summary.written, summary.dropped, summary.dead_lettered, summary.skipped)
            stages = {name: attrs.astuple(stage) for name, stage in summary.stages.items()}
            stages = {name: stage for name, stage in stages.items() if name.startswith("middleware")}
            found[kind] = (file.read_bytes(), outcome(letters), counts, stages)
        for kind in sources:
            assert found[kind] == found["rows"], kind

    run_virtual(main)


@pytest.mark.parametrize("every", [1, 7, 1_000])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_run_in_pieces_gives_what_a_whole_one_gives(tmp_path: Path, kind: str, every: int) -> None:
    rows = [{"id": n, "amount": (n + 25) % 50, "name": "ab"[n % 2]} for n in range(100)]
    (tmp_path / "in.csv").write_text(as_text(rows))

    def sink(name: str) -> Any:
        path = tmp_path / f"{name}.{kind}"
        return {"jsonl": JsonLinesSink, "csv": CsvSink, "parquet": ParquetSink}[kind](path)

    def content(name: str) -> Any:
        path = tmp_path / f"{name}.{kind}"
        return pq.read_table(path).to_pylist() if kind == "parquet" else path.read_bytes()

    async def main() -> None:
        source = CsvSource(tmp_path / "in.csv", types=TYPES)
        store, letters = CheckpointStore(MemoryBackend()), MemorySink()
        await store.state.open()
        whole = built(source, ["where", "compute"], sink("whole"), dlq=letters)
        await whole.run()
        pieces = MemorySink()
        for _ in range(20):
            options: Any = {"checkpoint_store": store, "checkpoint_every": every, "dlq": pieces}
            bound = built(source, ["where", "compute"], sink("pieces"), **options)
            if (await bound.run(max_records=9)).status == "completed":
                break
        assert content("pieces") == content("whole")
        assert outcome(pieces) == outcome(letters)
        assert len(letters.records) == 2  # zeros of rows that are kept for their name
        await store.state.close()

    run_virtual(main)


def test_under_stop_what_comes_before_the_failure_is_delivered_first(tmp_path: Path) -> None:
    rows = [{"id": n, "amount": 0 if n == 50 else 5, "name": "b"} for n in range(100)]
    (tmp_path / "in.csv").write_text(as_text(rows))
    sink = MemorySink()
    bound = built(CsvSource(tmp_path / "in.csv", types=TYPES), ["where", "compute"], sink)
    with pytest.raises(ZeroDivisionError) as caught:
        run_virtual(bound.run)
    assert [row["id"] for row in sink.records] == list(range(1, 51))
    assert "record 50" in "".join(caught.value.__notes__)


def test_a_sink_s_where_may_be_an_expression() -> None:
    large, small = MemorySink(), MemorySink()
    rows = [{"n": 1}, {"n": 10}, {"n": None}, {"n": "x"}]
    pipeline = Pipeline(IterableSource(rows), name="p").to(large, where="n > 5").to(small, otherwise=True)
    letters = MemorySink()
    summary = run_virtual(pipeline.build(dlq=letters).run)
    assert (large.records, small.records) == ([{"n": 10}], [{"n": 1}, {"n": None}])
    assert [letter.stage for letter in letters.records] == ["sink:memory"]
    assert (summary.written, summary.dead_lettered) == (3, 1)


def test_rows_of_a_shape_become_one_batch_for_a_step_that_takes_columns() -> None:
    seen: list[pa.RecordBatch] = []

    class Keep:
        def process_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            seen.append(batch)
            return batch

    rows = [{"n": 1}, {"n": None}, {"n": 2}, {"n": 1.5}, {"n": 1.5, "m": "x"}, {"n": [1]}]
    sink = MemorySink()
    run_virtual(Pipeline(IterableSource(rows), name="p").pipe(Keep()).to(sink).build().run)
    assert sink.records == rows
    assert [batch.num_rows for batch in seen] == [3, 1, 1, 1]
    assert seen[0].schema.field("n").type == pa.int64()


def test_columns_that_can_not_be_matched_with_the_records_end_the_run_whatever_the_policy() -> None:
    class Half:
        def process_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            return batch.slice(0, batch.num_rows // 2)

    bound = (
        Pipeline(IterableSource([{"n": 1}, {"n": 2}]), name="p")
        .pipe(Half(), on_error="skip")
        .to(MemorySink())
        .build()
    )
    with pytest.raises(AgoraError, match="gave 1 rows for 2 records"):
        run_virtual(bound.run)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda start: start.where("amount >"), "amount >"),
        (lambda start: start.where(5), "an expression is text"),
        (lambda start: start.compute(), "at least one field"),
        (lambda start: start.select(), "names of the fields"),
        (lambda start: start.select("a", "a"), "twice"),
        (lambda start: start.rename(a="x", b="x"), "one name to two fields"),
        (lambda start: start.cast(a="flaot"), "flaot"),
        (lambda start: start.pipe(Doubled(whole=True), concurrency=4), "takes columns"),
        (lambda start: start.to(MemorySink(), where="1 / 0 > 1"), "1 / 0"),
    ],
)
def test_what_can_not_be_is_refused_when_it_is_said(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Pipeline(IterableSource([]), name="p"))


def test_explain_says_which_steps_take_columns() -> None:
    bound = Pipeline(IterableSource([]), name="p").where("a > 1").map(json.dumps).to(MemorySink()).build()
    modes = {stage.name: stage.mode for stage in bound.explain().stages}
    assert (modes["middleware:where"], modes["middleware:dumps"]) == ("columns", "rows")


@attrs.define
class Chunks:
    """A source of RecordBatches, resumable between two of them."""

    sizes: list[int]
    at: int = 0
    """RecordBatches that were given."""
    supports_checkpoint = True

    async def prepare_resume(self, position: Any) -> None:
        self.at = position or 0

    def checkpoint(self) -> Any:
        return self.at

    def identity(self) -> Any:
        return "chunks"

    async def batches(self) -> Any:
        while self.at < len(self.sizes):
            start = sum(self.sizes[: self.at])
            self.at += 1
            numbers = pa.array(range(start, start + self.sizes[self.at - 1]), pa.int64())
            yield pa.RecordBatch.from_arrays([numbers], names=["n"])


@settings(max_examples=examples(20, 400), deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), max_size=8),
    every=st.integers(1, 12),
    most=st.integers(1, 10),
    rows=st.booleans(),
)
def test_a_source_of_batches_resumes_in_the_middle_of_one(
    sizes: list[int], every: int, most: int, rows: bool
) -> None:
    async def main() -> None:
        store = CheckpointStore(MemoryBackend())
        await store.state.open()
        sink, letters = MemorySink(), MemorySink()
        pipeline = Pipeline(Chunks(sizes), name="p")
        pipeline = (
            pipeline.map(lambda row: {"n": row["n"]}) if rows else pipeline.where("10 / (n - 4) < 1000")
        )
        bound = pipeline.to(sink).build(checkpoint_store=store, checkpoint_every=every, dlq=letters)
        for _ in range(90):
            if (await bound.run(max_records=most)).status == "completed":
                break
        numbers = list(range(sum(sizes)))
        refused = [4] if not rows and len(numbers) > 4 else []
        assert [row["n"] for row in sink.records] == [n for n in numbers if n not in refused]
        assert [letter.original for letter in letters.records] == [{"n": n} for n in refused]
        await store.state.close()

    run_virtual(main)


def test_without_stream_a_source_of_batches_gives_rows_too() -> None:
    sink = MemorySink()
    run_virtual(Pipeline(Chunks([2, 1]), name="p").map(lambda row: row["n"]).to(sink).build().run)
    assert sink.records == [0, 1, 2]
