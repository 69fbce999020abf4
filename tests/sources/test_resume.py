"""Resuming: from every position exactly the rest; a source that isn't what it was is refused, with the ways
on."""

import contextlib
import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

from agora import seam
from agora.errors import AgoraError, SourceChanged
from agora.sources import CsvSource, Demand, JsonLinesSource, ParquetSource


def _file_of(kind, path, numbers, packed=lambda data: data):
    if kind == "parquet":
        pq.write_table(pa.table({"n": numbers}), path, row_group_size=3)
        return
    text = "n\n" if kind == "csv" else ""
    for number in numbers:
        text += f"{number}\n" if kind == "csv" else f'{{"n":{number}}}\n'
    path.write_bytes(packed(text.encode()))


SOURCES = {"csv": CsvSource, "jsonl": JsonLinesSource, "parquet": ParquetSource}
TEXT = ["csv", "jsonl"]


def _n(rows):
    return [int(row["n"]) for row in rows]


@pytest.mark.parametrize("kind", SOURCES)
def test_every_position_resumes_with_exactly_the_rest(reading, tmp_path, kind, packed):
    for part in range(3):
        _file_of(kind, tmp_path / f"{part}.in", list(range(part * 10, part * 10 + 7)), packed)
    source = SOURCES[kind](str(tmp_path / "*.in"))
    taken = reading.rows_and_positions(source)
    numbers = _n([row for row, _ in taken])
    assert numbers == [*range(7), *range(10, 17), *range(20, 27)]
    for index, (_, position) in enumerate(taken):
        assert _n(reading.rows(source, position)) == numbers[index + 1 :]


@pytest.mark.parametrize("kind", SOURCES)
def test_every_position_within_a_block_is_right_also_when_asked_late(reading, tmp_path, kind):
    path = tmp_path / "x"
    _file_of(kind, path, list(range(8)))
    source = SOURCES[kind](path)
    blocks = reading.blocks(source)
    rows = [row for block in blocks for row in block.rows]
    before = 0
    for block in blocks:
        for taken in range(len(block.rows) + 1):
            assert reading.rows(source, block.position(taken)) == rows[before + taken :]
        before += len(block.rows)


@pytest.mark.parametrize("kind", SOURCES)
def test_before_the_first_record_the_checkpoint_is_where_it_was_resumed(reading, tmp_path, kind):
    path = tmp_path / "x"
    _file_of(kind, path, [1, 2])
    source = SOURCES[kind](path)
    position = reading.rows_and_positions(source)[0][1]

    async def run():
        await source.prepare_resume(position)
        try:
            assert source.checkpoint() == position
        finally:
            await source.close()

    trio.run(run)


@pytest.mark.parametrize("kind", TEXT)
def test_after_a_completed_run_only_what_was_appended_is_read(reading, tmp_path, kind, packed):
    path = tmp_path / "x"
    _file_of(kind, path, [1, 2], packed)
    source = SOURCES[kind](path)
    position = reading.rows_and_positions(source)[-1][1]
    assert reading.rows(source, position) == []
    with path.open("ab") as file:
        file.write(packed(b"3\n" if kind == "csv" else b'{"n":3}\n'))
    assert _n(reading.rows(source, position)) == [3]


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_last_record_without_newline_may_grow_by_one_and_more(reading, tmp_path, kind, newline):
    path = tmp_path / "x"
    _file_of(kind, path, [1, 2])
    path.write_bytes(path.read_bytes()[:-1])
    source = SOURCES[kind](path)
    position = reading.rows_and_positions(source)[-1][1]
    grown = path.read_bytes() + newline
    path.write_bytes(grown)
    assert reading.rows(source, position) == []
    path.write_bytes(grown + (b"3\n" if kind == "csv" else b'{"n":3}\n'))
    assert _n(reading.rows(source, position)) == [3]


@pytest.mark.parametrize("kind", TEXT)
def test_a_last_record_without_newline_that_goes_on_is_refused(reading, tmp_path, kind):
    path = tmp_path / "x"
    _file_of(kind, path, [1, 2])
    path.write_bytes(path.read_bytes()[:-1])
    source = SOURCES[kind](path)
    position = reading.rows_and_positions(source)[-1][1]
    with path.open("ab") as file:
        file.write(b"3\n")
    with pytest.raises(SourceChanged, match=r"no line end.*b'3\\n'.*--allow-source-change.*--restart"):
        reading.rows(source, position)


def test_a_lone_cr_at_the_end_may_turn_out_to_be_half_a_line_end(reading, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"n,s\n1,a\r")
    source = CsvSource(path)
    position = reading.rows_and_positions(source)[-1][1]
    path.write_bytes(b"n,s\n1,a\r\nbad\n")
    (row,) = reading.rows(source, position)
    assert "line 3, byte 9" in row[2]


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("taken", [1, 6])
def test_a_shortened_file_is_refused(reading, tmp_path, kind, taken):
    path = tmp_path / "x"
    _file_of(kind, path, range(6))
    source = SOURCES[kind](path)
    position = reading.rows_and_positions(source)[taken - 1][1]
    size = path.stat().st_size
    os.truncate(path, size - 2)
    with pytest.raises(
        SourceChanged, match=rf"{path} had {size} bytes when .*; now it has {size - 2}\..*--restart"
    ):
        reading.rows(source, position)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_replaced_file_is_refused_unless_that_is_allowed(reading, tmp_path, kind):
    path = tmp_path / "x"
    _file_of(kind, path, [1, 2, 3])
    source = SOURCES[kind](path)
    position = reading.rows_and_positions(source)[1][1]
    before = path.stat()
    _file_of(kind, path, [4, 5, 6])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    said = (
        rf"{path} isn't the file that was read up to (byte \d+|row 2 of row group 0): it begins differently\. It had "
        rf"{before.st_size:,} bytes, with the fingerprint [0-9a-f]{{32}} of \d+ of them; now it has "
        rf"{before.st_size:,}, with [0-9a-f]{{32}}\. "
        r".*allow_source_change=True \(--allow-source-change\).*restart=True \(--restart\)"
    )
    with pytest.raises(SourceChanged, match=said):
        reading.rows(source, position)
    source.allow_change = True
    assert _n(reading.rows(source, position)) == [6]


def test_a_change_just_before_the_place_is_seen_far_into_a_file(reading, tmp_path):
    path = tmp_path / "x"
    _file_of("csv", path, range(100_000, 130_000))
    source = CsvSource(path)
    taken = reading.blocks(source)
    position = taken[-1].position(1)
    data = bytearray(path.read_bytes())
    at = position["offset"] - 3
    data[at : at + 1] = b"x"
    path.write_bytes(data)
    with pytest.raises(SourceChanged, match="goes on differently"):
        reading.rows(source, position)


def test_a_change_between_the_first_64_kib_and_the_last_4_before_the_place_is_not_seen(reading, tmp_path):
    """The price of a bounded look, as `agora.sources.resume` says; here so that nobody relies on more."""
    path = tmp_path / "x"
    _file_of("csv", path, range(100_000, 130_000))
    source = CsvSource(path)
    position = reading.blocks(source)[-1].position(1)
    rest = reading.rows(source, position)
    data = path.read_bytes()
    for at, seen in (
        (65_535, True),
        (65_536, False),
        (position["offset"] - 4097, False),
        (position["offset"] - 4096, True),
    ):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        if seen:
            with pytest.raises(SourceChanged, match="differently"):
                reading.rows(source, position)
        else:
            assert reading.rows(source, position) == rest


@pytest.mark.parametrize("kind", SOURCES)
def test_names_below_the_base_are_told_relative_to_it_so_that_a_moved_directory_resumes(
    reading, tmp_path, kind
):
    def source_in(folder):
        source = SOURCES[kind](folder / "data" / "*.in")
        source.base = folder
        return source

    old, new = tmp_path / "old", tmp_path / "new"
    (old / "data").mkdir(parents=True)
    for part in range(2):
        _file_of(kind, old / "data" / f"{part}.in", [part * 10, part * 10 + 1])
    before = source_in(old)
    taken = reading.rows_and_positions(before)
    old.rename(new)
    assert source_in(new).identity() == before.identity()
    assert str(tmp_path) not in str([position for _, position in taken])
    for index, (_, position) in enumerate(taken):
        assert _n(reading.rows(source_in(new), position)) == _n([row for row, _ in taken[index + 1 :]])


def test_names_that_are_not_below_the_base_are_told_whole(tmp_path):
    source = CsvSource(tmp_path / "x.csv")
    source.base = tmp_path / "project"
    assert source.identity()["paths"] == [str(tmp_path / "x.csv")]


def test_a_resumed_run_reads_a_bounded_part_of_what_was_read(reading, tmp_path, monkeypatch):
    path = tmp_path / "x"
    _file_of("csv", path, range(1_000_000, 1_200_000))
    source = CsvSource(path)
    position = reading.blocks(source)[-1].position(1)
    read = []

    class Counting(seam.Files):
        def open(self, path, mode):
            handle = super().open(path, mode)

            class Handle:
                def read(self, size):
                    data = handle.read(size)
                    read.append(len(data))
                    return data

                seek, tell, close = handle.seek, handle.tell, handle.close

            return Handle()

    with seam.use(seam.Seam()) as machine:
        machine.files = Counting()
        reading.rows(source, position)
    assert sum(read) < path.stat().st_size / 2
    assert sum(read) < 700_000


def test_new_names_behind_are_read_and_one_before_is_refused(reading, tmp_path):
    for name in "bd":
        _file_of("csv", tmp_path / f"{name}.csv", [ord(name)])
    source = CsvSource(str(tmp_path / "*.csv"))
    position = reading.rows_and_positions(source)[-1][1]
    _file_of("csv", tmp_path / "e.csv", [5])
    assert _n(reading.rows(source, position)) == [5]
    _file_of("csv", tmp_path / "c.csv", [3])
    with pytest.raises(SourceChanged, match=r"c\.csv is new.*before .*d\.csv"):
        reading.rows(source, position)


def test_a_finished_file_that_grew_is_refused_and_one_moved_away_is_not_missed(reading, tmp_path):
    for name in "ab":
        _file_of("csv", tmp_path / f"{name}.csv", [ord(name)])
    source = CsvSource(str(tmp_path / "*.csv"))
    position = reading.rows_and_positions(source)[-1][1]
    with (tmp_path / "a.csv").open("a") as file:
        file.write("7\n")
    with pytest.raises(SourceChanged, match=r"a\.csv was read to its end when it had 5 bytes; now it has 7"):
        reading.rows(source, position)
    for path in tmp_path.iterdir():
        path.unlink()
    assert reading.rows(source, position) == []


def test_a_file_that_is_gone_before_it_was_read_to_its_end_is_refused(reading, tmp_path):
    for name in "ab":
        _file_of("csv", tmp_path / f"{name}.csv", [1, 2])
    source = CsvSource(str(tmp_path / "*.csv"))
    position = reading.rows_and_positions(source)[0][1]
    (tmp_path / "a.csv").unlink()
    with pytest.raises(SourceChanged, match=r"a\.csv was read up to byte 4, of 6 bytes; now it is gone"):
        reading.rows(source, position)


@pytest.mark.parametrize("position", [7, "x", {}, {"offset": 1}, [1], {"head": 3, "tail": None}])
def test_a_position_of_another_source_is_refused(reading, put, position):
    with pytest.raises(SourceChanged, match="isn't one of a file"):
        reading.rows(CsvSource(put("a\n1\n")), position)


def test_identity_holds_what_says_where_records_are_and_not_their_types():
    assert CsvSource("x.csv").identity() == CsvSource("./x.csv", types={"a": int}).identity()
    for other in (
        CsvSource("y.csv"),
        CsvSource("x.csv", delimiter=";"),
        CsvSource("x.csv", encoding="latin-1"),
    ):
        assert other.identity() != CsvSource("x.csv").identity()
    assert JsonLinesSource("x").identity() != ParquetSource("x").identity()


@pytest.mark.parametrize("kind", SOURCES)
def test_leaving_early_leaves_no_file_open(tmp_path, kind):
    path = tmp_path / "x"
    _file_of(kind, path, range(10))
    source = SOURCES[kind](path)

    def count():
        return sum(
            os.path.realpath(f"/proc/self/fd/{number}") == str(path) for number in os.listdir("/proc/self/fd")
        )

    async def run():
        stream = source.stream()
        await anext(stream)
        assert count() == 1
        await stream.aclose()
        assert count() == 0
        await source.prepare_resume(None)
        async with contextlib.aclosing(source.stream()) as stream:
            await anext(stream)
            position = source.checkpoint()
        await source.prepare_resume(position)
        assert count() == 1
        await source.close()
        assert count() == 0
        with trio.CancelScope() as scope:
            async with contextlib.aclosing(source.blocks(Demand(1))) as blocks:
                async for _ in blocks:
                    scope.cancel()
        assert count() == 0

    trio.run(run)


@pytest.mark.parametrize("kind", TEXT)
def test_damage_before_the_place_says_so(reading, tmp_path, kind):
    path = tmp_path / "x"
    _file_of(kind, path, range(30_000), gzip.compress)
    source = SOURCES[kind](path)
    position = reading.blocks(source)[-1].position(1)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(AgoraError):
        reading.rows(source, position)
