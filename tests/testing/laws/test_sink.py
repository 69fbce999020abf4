"""`check_sink`: what keeps the rules passes, each way of breaking them is found."""

import csv
import json

import apsw
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from testing.broken import filesinks
from testing.broken.sinks import (
    BROKEN,
    DATABASES,
    LeavesAFile,
    RefusesAll,
    Reverses,
    ShortOfMemory,
    Table,
    rows_of,
)
from testing.laws.finding import SEEDS, found, replayed

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

records = st.fixed_dictionaries({"id": st.integers(0, 9), "name": st.text('ab\n,"é', max_size=3)})
no_json = st.builds(lambda: {"id": object(), "name": ""})


negative = st.fixed_dictionaries({"id": st.just(-1), "name": st.just("")})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_sink_is_found_and_its_counterexample_finds_it_again(broken, seed):
    refused = negative if issubclass(broken.factory, Table) and broken.law != "borders" else None
    try:
        seen = found(broken.law, check_sink, broken.factory, rows_of, records, refused=refused, seed=seed)
        assert replayed(seen).seen == seen.seen
    finally:
        DATABASES.clear()
        while LeavesAFile.kept:
            LeavesAFile.kept.pop().close()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("broken", filesinks.BROKEN, ids=str)
def test_a_broken_sink_of_a_file_is_found_and_its_counterexample_finds_it_again(broken, seed):
    seen = found(broken.law, check_sink, broken.factory, filesinks.rows_of, records, seed=seed)
    assert replayed(seen).seen == seen.seen


def test_each_law_is_broken_by_one_of_them():
    broken = {name for each in (*BROKEN, *filesinks.BROKEN) for name in each.law.split("|")}
    assert broken == {law.name for law in SINK_LAWS}


def test_one_by_the_rules_passes():
    check_sink(Table, rows_of, records, refused=negative)


@pytest.mark.parametrize("factory", [filesinks.File, filesinks.Appender])
def test_one_of_a_file_by_the_rules_passes(factory):
    check_sink(factory, filesinks.rows_of, records)


def test_a_counterexample_is_small():
    seen = found("delivered", check_sink, Reverses, rows_of, records, seed=1)
    assert seen.code.count('"id"') == 2  # two that differ


@pytest.mark.parametrize(
    ("factory", "place", "law"),
    [
        (filesinks.AddsInPlace, "fault=", "recover"),  # on the disk
        (filesinks.NeverSyncs, "loss=Loss(kept=0)", "durable"),
        (ShortOfMemory, "at=", "once"),  # at a call
    ],
)
def test_a_counterexample_names_the_place_where_it_was_struck(factory, place, law):
    read_back = rows_of if factory is ShortOfMemory else filesinks.rows_of
    seen = found(law, check_sink, factory, read_back, records, seed=1)
    assert "at=" in seen.code
    assert place in seen.code
    assert "PLACE" in seen.seen or factory is ShortOfMemory


def test_the_same_seed_finds_the_same():
    def message():
        return str(found("durable", check_sink, filesinks.NeverSyncs, filesinks.rows_of, records, seed=7))

    assert message() == message()


def test_a_sink_that_writes_past_the_seam_isn_t_held_to_a_loss_of_power():
    class PastTheSeam(filesinks.NeverSyncs):
        def put(self, path, rows, mode):
            with path.open(mode) as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows).encode())

    check_sink(PastTheSeam, filesinks.rows_of, records, examples=2)


def test_records_that_were_not_given_as_refused_have_to_be_accepted():
    with pytest.raises(LawBroken, match=r"It refused .* which is one of records=: .* given as refused="):
        check_sink(RefusesAll, rows_of, records)


def test_a_target_that_cannot_be_read_back_is_a_counterexample():
    def read(place):
        return [*rows_of(place)] if len(rows_of(place)) < 2 else json.loads("[1")

    with pytest.raises(LawBroken, match=r"read_back raised JSONDecodeError.*it has to give no records"):
        check_sink(Table, read, records)


def test_a_single_case_of_a_single_law():
    check_sink(Reverses, rows_of, law="delivered", case=SinkCase(records=[{"id": 1, "name": ""}]))
    with pytest.raises(TypeError, match="case="):
        check_sink(Reverses, rows_of, law="delivered")
    with pytest.raises(TypeError, match=r"give records=, a Hypothesis strategy.*int}\)$"):
        check_sink(Reverses, rows_of)
    with pytest.raises(TypeError, match=r"instead of \[{'id': 1}\]"):
        check_sink(Reverses, rows_of, [{"id": 1}])


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
    return [row for path in paths for row in pq.read_table(path, use_threads=False).to_pylist()]


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
