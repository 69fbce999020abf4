"""ParquetSource: every row of the format table."""

import datetime
from decimal import Decimal

import attrs
import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from agora.errors import AgoraError, ConfigError
from agora.sources import ParquetSource, parquetfile


@attrs.frozen
class Row:
    a: int
    b: str | None


def _write(path, table, **options):
    pq.write_table(table, path, **options)
    return path


def _table():
    return pa.table(
        {
            "i": [1, None, 3],
            "s": ["x", "", None],
            "d": [datetime.date(2026, 1, 2), None, None],
            "t": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
            "n": [Decimal("1.10"), None, Decimal("0.00")],
            "l": [[{"k": 1}], [], None],
            "b": [b"\xff", b"", None],
            "c": pa.array(["p", "q", "p"]).dictionary_encode(),
        }
    )


def test_values_are_those_of_to_pylist(reading, tmp_path):
    path = _write(tmp_path / "x", _table())
    assert reading.rows(ParquetSource(path)) == pq.read_table(path).to_pylist()


def test_columns_are_read_in_the_order_asked_for(reading, tmp_path):
    path = _write(tmp_path / "x", _table())
    rows = reading.rows(ParquetSource(path, columns=["s", "i"]))
    assert list(rows[0].items()) == [("s", "x"), ("i", 1)]


def test_a_column_that_is_not_there_ends_the_run(reading, tmp_path):
    path = _write(tmp_path / "x", _table())
    with pytest.raises(AgoraError, match="no column 'zip'"):
        reading.rows(ParquetSource(path, columns=["zip"]))


def test_whole_microseconds_of_nanosecond_columns_are_plain_datetimes_whatever_is_installed(
    reading, tmp_path
):
    table = pa.table(
        {
            "t": pa.array([1000], pa.timestamp("ns")),
            "d": pa.array([2000], pa.duration("ns")),
            "s": pa.array([{"t": 3000}], pa.struct([("t", pa.timestamp("ns"))])),
            "l": pa.array([[4000]], pa.list_(pa.timestamp("ns"))),
        }
    )
    (row,) = reading.rows(ParquetSource(_write(tmp_path / "x", table)))
    epoch = datetime.datetime(1970, 1, 1)
    assert row == {
        "t": epoch + datetime.timedelta(microseconds=1),
        "d": datetime.timedelta(microseconds=2),
        "s": {"t": epoch + datetime.timedelta(microseconds=3)},
        "l": [epoch + datetime.timedelta(microseconds=4)],
    }
    assert type(row["t"]) is datetime.datetime
    assert type(row["d"]) is datetime.timedelta


@pytest.mark.parametrize(
    ("column", "kept"),
    [
        (pa.array([0, 1, 2000], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
        (pa.array([0, 253402300800, 1], pa.timestamp("s")), "10000-01-01 00:00:00.000"),
        (pa.array([0, 10**7, 1], pa.int32()).cast(pa.date32()), None),
        (pa.array([b"x", b"\xff", b"y"], pa.binary()).view(pa.string()), b"\xff"),
    ],
)
def test_a_value_that_python_has_no_type_for_is_a_letter_for_its_row(reading, tmp_path, column, kept):
    path = _write(tmp_path / "x", pa.table({"n": [1, 2, 3], "v": column}), store_schema=True)
    first, bad, last = reading.rows(ParquetSource(path))
    assert (first["n"], last["n"]) == (1, 3)
    assert bad[1]["n"] == 2
    if kept is not None:
        assert bad[1]["v"] == kept
    assert bad[2].startswith(f"{path}, row group 0, row 1: ")
    assert not bad[3]


def test_a_schema_makes_instances_and_letters(reading, tmp_path):
    path = _write(tmp_path / "x", pa.table({"a": [1, None], "b": [None, "x"]}))
    source = ParquetSource(path, schema=Row)
    good, bad = reading.rows(source)
    assert good == Row(1, None)
    assert bad[1] == {"a": None, "b": "x"}
    assert bad[3]
    assert source.convert({"a": 2, "b": "y"}) == Row(2, "y")


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"a,b\n1,2\n", b"PAR1" + bytes(40) + b"PAR1", b"PARE" + bytes(9)]
)
def test_what_is_no_parquet_ends_the_run_with_the_files_name(reading, put, content):
    path = put(content)
    with pytest.raises(AgoraError, match=str(path)) as caught:
        reading.rows(ParquetSource(path))
    assert caught.value.__cause__ is not None


def test_columns_of_one_name_end_the_run_nested_ones_too(reading, tmp_path):
    flat = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    nested = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    for table in (flat, pa.table({"s": nested})):
        with pytest.raises(AgoraError, match="of one name"):
            reading.rows(ParquetSource(_write(tmp_path / "x", table)))


def test_a_damaged_page_is_found_by_its_checksum(reading, tmp_path):
    numbers = pa.table({"n": pa.array(range(1000), pa.int64())})
    path = _write(tmp_path / "x", numbers, write_page_checksum=True, use_dictionary=False, compression="none")
    data = bytearray(path.read_bytes())
    at = data.index((500).to_bytes(8, "little"))
    data[at] ^= 1
    path.write_bytes(data)
    rows, error = reading.until_error(ParquetSource(path))
    assert rows == []
    assert isinstance(error, AgoraError)
    assert str(path) in str(error)


def test_rows_are_counted_against_the_footer(reading, tmp_path, monkeypatch):
    path = _write(tmp_path / "x", pa.table({"n": [1, 2, 3]}))

    class Short(pq.ParquetFile):
        def iter_batches(self, *args, **kwargs):
            for batch in super().iter_batches(*args, **kwargs):
                yield batch.slice(0, 2)

    monkeypatch.setattr(parquetfile.pq, "ParquetFile", Short)
    rows, error = reading.until_error(ParquetSource(path))
    assert rows == [{"n": 1}, {"n": 2}]
    assert "row group 0 has 2 of its 3 rows" in str(error)


@pytest.mark.parametrize("table", [pa.table({}), pa.table({"n": pa.array([], pa.int64())})])
def test_no_rows_are_no_records(reading, tmp_path, table):
    assert reading.rows(ParquetSource(_write(tmp_path / "x", table))) == []


def test_originals_are_made_again(reading, tmp_path):
    path = _write(tmp_path / "x", pa.table({"n": [1, 2]}))
    (block,) = reading.blocks(ParquetSource(path))
    block.rows[1].clear()
    assert block.original(1) == {"n": 2}


def test_an_error_of_the_disk_is_itself_and_not_damage(reading, tmp_path, monkeypatch):
    path = _write(tmp_path / "x", pa.table({"n": [1]}))

    def fail(self, size=-1):
        self.error = OSError("disk")
        raise self.error

    opened = parquetfile._ParquetFile.open

    def broken(self):
        monkeypatch.setattr(parquetfile._Handle, "read", fail)
        opened(self)

    monkeypatch.setattr(parquetfile._ParquetFile, "open", broken)
    with pytest.raises(OSError, match=r"^disk$"):
        reading.rows(ParquetSource(path))


@settings(max_examples=40, deadline=None)
@given(groups=st.lists(st.integers(0, 7), max_size=4), batch=st.integers(1, 5))
def test_every_position_resumes_whatever_the_row_groups(reading, tmp_path_factory, groups, batch):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    numbers = iter(range(100))
    with pq.ParquetWriter(path, pa.schema([("n", pa.int64())])) as writer:
        for size in groups:
            writer.write_table(pa.table({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}))
    source = ParquetSource(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquetfile, "_ROWS", batch)
        taken = reading.rows_and_positions(source)
        assert [row["n"] for row, _ in taken] == list(range(sum(groups)))
        for index, (_, position) in enumerate(taken):
            assert reading.rows(source, position) == [row for row, _ in taken[index + 1 :]]


@pytest.mark.parametrize(
    "options", [{"columns": []}, {"columns": "a"}, {"columns": ["a", "a"]}, {"missing": "x"}]
)
def test_options_that_can_not_be_meant_are_refused_at_once(options):
    with pytest.raises(ConfigError):
        ParquetSource("x.parquet", **options)
