"""DuckDB, which keeps the order of rows unless told otherwise."""

from pathlib import Path

import duckdb

from benchmarks.contenders.orders import FLIGHT_NUMBERS, LATE

CSV = """read_csv('{source}', header=true, auto_detect=false, delim=',', quote='"', columns={{
    'id': 'VARCHAR', 'customer': 'VARCHAR', 'country': 'VARCHAR', 'amount': 'DOUBLE', 'ordered_on': 'VARCHAR'}})"""
JSONL = """read_json('{source}', format='newline_delimited', columns={{
    'id': 'BIGINT', 'customer': 'VARCHAR', 'country': 'VARCHAR', 'amount': 'DOUBLE', 'ordered_on': 'VARCHAR'}})"""
PARQUET = "read_parquet('{source}')"
AS_PARQUET = "(FORMAT parquet, COMPRESSION zstd)"


def csv_to_jsonl(source: Path, target: Path) -> None:
    _orders(CSV, source, target, "(FORMAT json)")


def jsonl_to_parquet(source: Path, target: Path) -> None:
    _orders(JSONL, source, target, AS_PARQUET)


def parquet_to_parquet(source: Path, target: Path) -> None:
    _orders(PARQUET, source, target, AS_PARQUET)


def flights(source: Path, target: Path) -> None:
    whole = ", ".join(f"nullif({name}, 'NA')::BIGINT AS {name}" for name in FLIGHT_NUMBERS)
    duckdb.sql(
        f"""COPY (
            SELECT *, dep_delay - arr_delay AS gain
            FROM (SELECT * REPLACE ({whole}) FROM read_csv('{source}', header=true, all_varchar=true))
            WHERE arr_delay > {LATE}
        ) TO '{target}' (FORMAT json)"""
    )


def _orders(read: str, source: Path, target: Path, form: str) -> None:
    select = (
        f"SELECT *, amount * 0.92::DOUBLE AS amount_eur FROM {read.format(source=source)} WHERE amount > 500"
    )
    duckdb.sql(f"COPY ({select}) TO '{target}' {form}")
