"""agora-etl with agora-etl-rs, in an environment of its own: its package is named `agora`, too. Types aren't
checked here (pyproject.toml): they would be taken from the wrong one.

`lane` is the one of its lanes that the source opens: `rows`, `batches` (lists of rows) or `arrow`. Its profile is the
default, since "throughput" was slower; batches of 1,000, since one a record was.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from agora.core.sink import BaseSink
from agora.sinks.file.jsonlines import JsonLinesSink
from agora.sinks.file.parquet import ParquetSink
from agora.sources.file.csv import ArrowCsvSource, CsvSource
from agora.sources.file.jsonlines import JsonLinesSource
from agora.sources.file.parquet import ParquetSource

from agora import (
    ArrowFilterMiddleware,
    ArrowJsonLinesSource,
    ArrowMapMiddleware,
    DeliveryConfig,
    IterableSource,
    MapMiddleware,
    Pipeline,
)
from benchmarks.contenders.five import FIVE
from benchmarks.contenders.harness import clock, load, save
from benchmarks.contenders.orders import FLIGHT_NUMBERS, add_euros, add_gain, is_large, is_late, whole_or_na

CONFIG = DeliveryConfig(batch_size=1_000)


def csv_to_jsonl(source: Path, target: Path, *, lane: str) -> None:
    sink = JsonLinesSink(target, flush_every=1_000)
    if lane == "arrow":
        _columns(ArrowCsvSource(source), sink, ids_as_text=True)
    else:
        _rows(CsvSource(source, _with_amount, emit_batches=lane == "batches"), sink)


def jsonl_to_parquet(source: Path, target: Path, *, lane: str) -> None:
    sink = ParquetSink(target, _same, batch_size=65_536, compression="zstd")
    if lane == "arrow":
        _columns(ArrowJsonLinesSource(source), sink, days_as_text=True)
    else:
        _rows(JsonLinesSource(source, _same, emit_batches=lane == "batches"), sink)


def parquet_to_parquet(source: Path, target: Path, *, lane: str) -> None:
    sink = ParquetSink(target, _same, batch_size=65_536, compression="zstd")
    if lane == "arrow":
        _columns(ParquetSource(source, _same, use_arrow_batches=True), sink)
    else:
        _rows(ParquetSource(source, _same), sink)


def flights(source: Path, target: Path, *, lane: str) -> None:
    read = CsvSource(source, _with_numbers, emit_batches=lane == "batches")
    _run(
        Pipeline(read).filter(is_late).pipe(MapMiddleware(add_gain)), JsonLinesSink(target, flush_every=1_000)
    )


def five_maps(source: Path, target: Path) -> None:
    numbers = load(source)
    sink = _Memory()
    with clock():
        pipeline: Any = Pipeline(IterableSource(numbers))
        for number, step in enumerate(FIVE):
            pipeline = pipeline.pipe(MapMiddleware(step, name=f"map{number}"))
        _run(pipeline, sink)
    save(target, sink.records)


class _Memory(BaseSink):
    sink_name = "list"

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def write(self, record: Any) -> None:
        self.records.append(record)

    async def write_batch(self, records: list[Any]) -> None:
        self.records.extend(records)


def _same(record: Any) -> Any:
    return record


def _with_amount(row: dict[str, Any]) -> dict[str, Any]:
    row["amount"] = float(row["amount"])
    return row


def _with_numbers(row: dict[str, Any]) -> dict[str, Any]:
    for name in FLIGHT_NUMBERS:
        row[name] = whole_or_na(row[name])
    return row


def _rows(source: Any, sink: Any) -> None:
    _run(Pipeline(source).filter(is_large).pipe(MapMiddleware(add_euros)), sink)


def _columns(source: Any, sink: Any, *, ids_as_text: bool = False, days_as_text: bool = False) -> None:
    def changed(batch: Any) -> Any:
        if ids_as_text:  # its sources take no types, they guess them
            batch = batch.set_column(0, "id", pc.cast(batch.column("id"), "string"))
        if days_as_text:
            batch = batch.set_column(4, "ordered_on", pc.strftime(batch.column("ordered_on"), "%Y-%m-%d"))
        return batch.append_column("amount_eur", pc.multiply(batch.column("amount"), 0.92))

    large = ArrowFilterMiddleware(lambda batch: pc.greater(batch.column("amount"), 500))
    _run(Pipeline(source).pipe(large).pipe(ArrowMapMiddleware(changed)), sink)


def _run(pipeline: Any, sink: Any) -> None:
    logging.disable(logging.CRITICAL)
    asyncio.run(pipeline.build(sink, config=CONFIG).run())
