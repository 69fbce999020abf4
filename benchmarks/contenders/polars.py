"""polars, streaming."""

from pathlib import Path

import polars as pl

from benchmarks.contenders.orders import FLIGHT_NUMBERS, LATE

ORDERS = {
    "id": pl.String,
    "customer": pl.String,
    "country": pl.String,
    "amount": pl.Float64,
    "ordered_on": pl.String,
}


def csv_to_jsonl(source: Path, target: Path) -> None:
    _orders(pl.scan_csv(source, schema=ORDERS)).sink_ndjson(target, maintain_order=True)


def jsonl_to_parquet(source: Path, target: Path) -> None:
    schema = ORDERS | {"id": pl.Int64}
    _orders(pl.scan_ndjson(source, schema=schema)).sink_parquet(
        target, compression="zstd", maintain_order=True
    )


def parquet_to_parquet(source: Path, target: Path) -> None:
    _orders(pl.scan_parquet(source)).sink_parquet(target, compression="zstd", maintain_order=True)


def flights(source: Path, target: Path) -> None:
    whole = dict.fromkeys(FLIGHT_NUMBERS, pl.Int64)
    frame = pl.scan_csv(
        source,
        schema_overrides=whole | {"time_hour": pl.String},
        null_values=dict.fromkeys(FLIGHT_NUMBERS, "NA"),
    )
    late = frame.filter(pl.col("arr_delay") > LATE)
    gained = late.with_columns(gain=pl.col("dep_delay") - pl.col("arr_delay"))
    gained.sink_ndjson(target, maintain_order=True)


def _orders(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.filter(pl.col("amount") > 500).with_columns(amount_eur=pl.col("amount") * 0.92)
