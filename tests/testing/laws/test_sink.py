"""`check_sink`: what keeps the rules passes, each way of breaking them is found."""

import csv
import json
import os

import apsw
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from testing.broken.sinks import BROKEN, DATABASES, LeavesAFile, Reverses, Table, rows_of

from agora.sinks import (
    CsvSink,
    JsonLinesSink,
    MemorySink,
    NullSink,
    ParquetSink,
    SQLiteSink,
    StdoutSink,
)
from agora.testing import LawBroken, check_sink
from agora.testing.laws.sinkcase import SinkCase
from agora.testing.laws.sinklaws import SINK_LAWS

SEEDS = range(int(os.environ.get("AGORA_LAW_SEEDS", "2")))

records = st.fixed_dictionaries({"id": st.integers(0, 9), "name": st.text('ab\n,"é', max_size=3)})
no_json = st.builds(lambda: {"id": object(), "name": ""})


negative = st.fixed_dictionaries({"id": st.just(-1), "name": st.just("")})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_sink_is_found(broken, seed):
    refused = negative if issubclass(broken.factory, Table) and broken.law != "borders" else None
    try:
        with pytest.raises(LawBroken) as found:
            check_sink(broken.factory, rows_of, records, refused=refused, seed=seed)
    finally:
        DATABASES.clear()
        while LeavesAFile.kept:
            LeavesAFile.kept.pop().close()
    assert found.value.law.name in broken.law.split("|"), str(found.value)


def test_each_law_is_broken_by_one_of_them():
    assert {name for broken in BROKEN for name in broken.law.split("|")} == {law.name for law in SINK_LAWS}


def test_one_by_the_rules_passes():
    check_sink(Table, rows_of, records, refused=negative)


def test_a_counterexample_is_a_test():
    with pytest.raises(LawBroken) as found:
        check_sink(Reverses, rows_of, records, seed=1)
    module = {}
    exec(compile(found.value.code, "counterexample", "exec"), module)
    with pytest.raises(LawBroken) as again:
        module["test_delivered"]()
    assert again.value.seen == found.value.seen
    assert found.value.code.count('"id"') == 2  # two that differ


def test_a_single_case_of_a_single_law():
    check_sink(Reverses, rows_of, law="delivered", case=SinkCase(records=[{"id": 1, "name": ""}]))
    with pytest.raises(TypeError, match="case="):
        check_sink(Reverses, rows_of, law="delivered")
    with pytest.raises(TypeError, match="strategy"):
        check_sink(Reverses, rows_of)


def json_lines(place, name="out.jsonl"):
    path = place / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_json_lines_sink_passes():
    check_sink(lambda place: JsonLinesSink(place / "out.jsonl"), json_lines, records, refused=no_json)


def csv_rows(place):
    path = place / "out.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_sink_passes():
    def as_text(accepted):
        return [{name: str(value) for name, value in record.items()} for record in accepted]

    check_sink(lambda place: CsvSink(place / "out.csv"), csv_rows, records, expected=as_text)


def parquet_rows(place):
    paths = sorted((place / "out").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_parquet_sink_passes():
    check_sink(
        lambda place: ParquetSink(place / "out", part_rows=3), parquet_rows, records, late=True, examples=10
    )


def table_rows(place):
    path = place / "out.db"
    if not path.exists():
        return []
    connection = apsw.Connection(str(path))
    try:
        rows = connection.execute("SELECT id, name FROM t ORDER BY rowid").fetchall()
        return [{"id": number, "name": name} for number, name in rows]
    except apsw.SQLError:
        return []
    finally:
        connection.close()


def test_sqlite_sink_passes():
    schema = {"id": "INTEGER", "name": "TEXT"}
    refused = st.just({"id": "none", "name": ""})
    check_sink(
        lambda place: SQLiteSink(place / "out.db", "t", schema=schema),
        table_rows,
        records,
        refused=refused,
        examples=10,
    )


def test_memory_sink_passes():
    sink = MemorySink()
    check_sink(lambda: sink, lambda: list(sink.records), records)


def test_null_sink_passes():
    check_sink(NullSink, list, records, expected=lambda accepted: [])


def test_stdout_sink_passes(capfd):
    seen = []

    def read_back():
        seen.extend(json.loads(line) for line in capfd.readouterr().out.splitlines())
        return seen

    check_sink(StdoutSink, read_back, records, refused=no_json)


def test_a_function_passes():
    seen = []
    check_sink(lambda: seen.append, lambda: seen, records)
