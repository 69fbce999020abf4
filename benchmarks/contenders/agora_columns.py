"""agora with expressions over columns."""

from pathlib import Path
from typing import Any

import trio

from agora import Pipeline, sinks, sources, state
from benchmarks.contenders.orders import FLIGHT_NUMBERS, LATE, whole_or_na


def csv_to_jsonl(source: Path, target: Path, *, every: int | None = None) -> None:
    options = {}
    if every is not None:
        store = state.CheckpointStore(state.SQLiteBackend(target.with_suffix(".db")))
        options = {"checkpoint_store": store, "checkpoint_every": every}
    _orders(
        sources.CsvSource(source, types={"amount": float}),
        sinks.JsonLinesSink(target, if_exists="replace"),
        options,
    )


def jsonl_to_parquet(source: Path, target: Path) -> None:
    _orders(sources.JsonLinesSource(source), sinks.ParquetSink(target, if_exists="replace"))


def parquet_to_parquet(source: Path, target: Path) -> None:
    _orders(sources.ParquetSource(source), sinks.ParquetSink(target, if_exists="replace"))


def flights(source: Path, target: Path) -> None:
    read = sources.CsvSource(source, types=dict.fromkeys(FLIGHT_NUMBERS, whole_or_na))
    _run(
        read,
        f"arr_delay > {LATE}",
        {"gain": "dep_delay - arr_delay"},
        sinks.JsonLinesSink(target, if_exists="replace"),
    )


def _orders(source: Any, sink: Any, options: dict[str, Any] | None = None) -> None:
    _run(source, "amount > 500", {"amount_eur": "amount * 0.92"}, sink, options)


def _run(
    source: Any, where: str, computed: dict[str, Any], sink: Any, options: dict[str, Any] | None = None
) -> None:
    pipeline = Pipeline(source, name="columns")
    trio.run(pipeline.where(where).compute(**computed).to(sink).build(**(options or {})).run)
