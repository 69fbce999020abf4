"""What JSON lines and CSV files hold: every row of FORMATS.md for sinks, every option, read back with other
parsers."""

import csv
import datetime
import decimal
import gzip
import io
import json
import math
import os
import uuid
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import examples

from agora.deadletter import DLQRecord, Entry
from agora.errors import ConfigError, RecordsRejected, SinkChanged
from agora.sinks import CsvSink, JsonLinesSink
from agora.testing import strategies

FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=examples(40, 1000),
    deadline=None,
)


@attrs.frozen
class Order:
    id: uuid.UUID
    amount: decimal.Decimal
    at: datetime.datetime
    raw: bytes
    note: str | None = None


ORDER = Order(
    uuid.UUID(int=7),
    decimal.Decimal("1.10"),
    datetime.datetime(2024, 5, 6, 7, 8, tzinfo=datetime.UTC),
    b"\x00\xff",
)


async def written(sink: Any, context: Any, *batches: list[Any]) -> dict[int, Exception]:
    """Write the batches and publish; the rejections, by the index over all batches."""
    rejected: dict[int, Exception] = {}
    first = 0
    await sink.open(context())
    try:
        for batch in batches:
            try:
                await sink.write(batch)
            except RecordsRejected as error:
                rejected |= {first + index: reason for index, reason in error.errors.items()}
            first += len(batch)
        await sink.publish()
    finally:
        await sink.close()
    return rejected


def csv_rows(path: Path, **options: Any) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True, **options))


# --- JSON lines ---

JSON = strategies.json_values(extreme=True)


def is_writable(value: Any) -> bool:
    """Whether FORMATS.md lets a sink write it, said independently of the sink."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(map(is_writable, [*value.keys(), *value.values()]))
    return all(map(is_writable, value)) if isinstance(value, list) else True


@FIXTURES
@given(
    batches=st.lists(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), max_size=6), max_size=4)
)
async def test_json_lines_hold_what_was_accepted_and_only_what_json_lacks_is_rejected(
    batches: Any, tmp_path_factory: Any, context: Any
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "out.jsonl"
    rejected = await written(JsonLinesSink(path), context, *batches)
    records = [record for batch in batches for record in batch]
    assert set(rejected) == {index for index, record in enumerate(records) if not is_writable(record)}
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert list(map(json.loads, lines)) == [r for index, r in enumerate(records) if index not in rejected]


@FIXTURES
@given(records=st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), max_size=6), data=st.data())
async def test_the_text_of_a_record_does_not_depend_on_its_batch(
    records: Any, data: Any, tmp_path_factory: Any, context: Any
) -> None:
    directory = tmp_path_factory.mktemp("paths")
    cut = data.draw(st.integers(0, len(records)))
    for kind, name in ((JsonLinesSink, "jsonl"), (CsvSink, "csv")):
        texts = []
        for number, batches in enumerate(([records], [records[:cut], records[cut:]], [[r] for r in records])):
            sink: Any = kind(directory / f"{number}.{name}")
            rejected = await written(sink, context, *batches)
            texts.append((sorted(rejected), (directory / f"{number}.{name}").read_bytes()))
        assert texts[0] == texts[1] == texts[2]


async def test_integers_are_exact_at_any_size_and_other_values_are_written_as_msgspec_does(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out.jsonl"
    await written(JsonLinesSink(path), context, [{"n": 2**64, "m": -(10**50), "f": 1e16}, ORDER, 5])
    big, order, five = path.read_bytes().splitlines()
    assert (
        big == b'{"n":18446744073709551616,"m":-100000000000000000000000000000000000000000000000000,"f":1e16}'
    )
    assert order == msgspec.json.encode(ORDER)
    assert json.loads(order)["amount"] == "1.10"
    assert five == b"5"


@pytest.mark.parametrize("kind", [JsonLinesSink, CsvSink])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "\ud800", object(), [math.nan]])
async def test_a_value_without_a_text_rejects_its_record_and_its_neighbours_are_written(
    kind: Any, bad: Any, tmp_path: Path, context: Any
) -> None:
    rejected = await written(kind(tmp_path / "out"), context, [{"a": 1}, {"a": bad}, {"a": 2}], [{"a": bad}])
    assert sorted(rejected) == [1, 3]
    assert all(isinstance(error, ValueError | TypeError) for error in rejected.values())
    assert "1" in (tmp_path / "out").read_text()
    assert (tmp_path / "out").read_text().count("\n") == (2 if kind is JsonLinesSink else 3)


async def test_the_message_names_where_the_nan_is(tmp_path: Path, context: Any) -> None:
    sink = JsonLinesSink(tmp_path / "out")
    rejected = await written(sink, context, [{"a": {"b": [0.5, math.nan]}, "n": None}])
    assert "the record['a']['b'][1]" in str(rejected[0])


async def test_a_record_that_holds_itself_is_rejected(tmp_path: Path, context: Any) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    for sink in (JsonLinesSink(tmp_path / "a"), CsvSink(tmp_path / "b")):
        assert isinstance((await written(sink, context, [{"self": 1}, loop]))[1], ValueError)


async def test_nan_is_null_where_that_is_asked_for(tmp_path: Path, context: Any) -> None:
    records = [{"a": math.nan, "b": 1.5}, {"a": -math.inf, "b": 2}]
    assert not await written(JsonLinesSink(tmp_path / "j", nan="null"), context, records)
    assert (tmp_path / "j").read_text() == '{"a":null,"b":1.5}\n{"a":null,"b":2}\n'
    assert not await written(CsvSink(tmp_path / "c", nan="null"), context, records)
    assert (tmp_path / "c").read_text() == "a,b\n,1.5\n,2\n"


# --- CSV ---

FIELD = strategies.texts()


@FIXTURES
@given(data=st.data(), columns=st.lists(st.text("abc ,\n", max_size=3), min_size=1, max_size=4, unique=True))
async def test_text_in_csv_is_read_back_as_it_was(
    data: Any, columns: list[str], tmp_path_factory: Any, context: Any
) -> None:
    row = st.tuples(*[FIELD] * len(columns)).map(lambda fields: dict(zip(columns, fields, strict=True)))
    batches = data.draw(st.lists(st.lists(row, min_size=1, max_size=4), min_size=1, max_size=3))
    delimiter = data.draw(st.sampled_from(",;\t| "))
    path = tmp_path_factory.mktemp("csv") / "out.csv"
    assert not await written(CsvSink(path, delimiter=delimiter), context, *batches)
    found = csv_rows(path, delimiter=delimiter)
    assert found == [columns, *[list(record.values()) for batch in batches for record in batch]]


@FIXTURES
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(), min_size=1))
async def test_numbers_in_csv_have_the_text_that_they_have_in_json(
    numbers: Any, tmp_path_factory: Any, context: Any
) -> None:
    directory = tmp_path_factory.mktemp("numbers")
    await written(CsvSink(directory / "c"), context, [{"n": number, "t": ""} for number in numbers])
    await written(JsonLinesSink(directory / "j"), context, numbers)
    assert [row[0] for row in csv_rows(directory / "c")[1:]] == (directory / "j").read_text().split()


async def test_other_values_in_csv_have_their_json_text_without_quotes(tmp_path: Path, context: Any) -> None:
    await written(CsvSink(tmp_path / "c"), context, [ORDER, attrs.evolve(ORDER, note='a "b"')])
    common = ["00000000-0000-0000-0000-000000000007", "1.10", "2024-05-06T07:08:00Z", "AP8="]
    assert csv_rows(tmp_path / "c")[1:] == [[*common, ""], [*common, 'a "b"']]
    await written(
        CsvSink(tmp_path / "d"), context, [{"a": True, "b": {"x": [1, None]}, "c": datetime.date(2020, 1, 2)}]
    )
    assert csv_rows(tmp_path / "d")[1:] == [["true", '{"x":[1,null]}', "2020-01-02"]]


async def test_a_missing_key_is_empty_and_an_unknown_one_rejects_that_record(
    tmp_path: Path, context: Any
) -> None:
    records = [{"a": "1", "b": "2"}, {"b": "3"}, {"a": "4", "b": "5", "c": "6"}, {}, {"b": "8", "a": "7"}]
    rejected = await written(CsvSink(tmp_path / "c"), context, records)
    assert list(rejected) == [2]
    assert "'c'" in str(rejected[2])
    assert "['a', 'b']" in str(rejected[2])
    assert (tmp_path / "c").read_text() == "a,b\n1,2\n,3\n,\n7,8\n"


async def test_columns_can_be_given_and_the_header_left_out(tmp_path: Path, context: Any) -> None:
    sink = CsvSink(tmp_path / "c", columns=["b", "a"], header=False, delimiter=";")
    await written(sink, context, [{"a": 1, "b": 2}, {"a": 3}])
    assert (tmp_path / "c").read_text() == "2;1\n;3\n"


@pytest.mark.parametrize("header", [True, False])
async def test_a_byte_order_mark_that_is_data_survives_readers_that_drop_one(
    header: bool, tmp_path: Path, context: Any
) -> None:
    await written(CsvSink(tmp_path / "c", header=header), context, [{"\ufeffa": "\ufeffx"}])
    rows = (tmp_path / "c").read_text("utf-8-sig").splitlines()
    assert rows == ["\ufeffa", "\ufeffx"] if header else ["\ufeffx"]


async def test_a_lone_empty_field_is_quoted(tmp_path: Path, context: Any) -> None:
    await written(CsvSink(tmp_path / "c"), context, [{"a": ""}, {"a": None}], [{"a": " "}, {}])
    assert (tmp_path / "c").read_text() == 'a\n""\n""\n \n""\n'


async def test_the_first_record_that_can_be_written_gives_the_columns(tmp_path: Path, context: Any) -> None:
    rejected = await written(
        CsvSink(tmp_path / "c"), context, [{}, {1: 2}, 5], [{"x": math.nan}, {"a": 1}, {"x": 1}]
    )
    assert sorted(rejected) == [0, 1, 2, 3, 5]
    assert (tmp_path / "c").read_text() == "a\n1\n"


async def test_without_a_record_there_is_a_header_if_the_columns_are_known(
    tmp_path: Path, context: Any
) -> None:
    await written(CsvSink(tmp_path / "a", columns=["x", "y"]), context)
    await written(CsvSink(tmp_path / "b"), context)
    assert (tmp_path / "a").read_text() == "x,y\n"
    assert (tmp_path / "b").read_text() == ""


@pytest.mark.parametrize(
    "options", [{"columns": []}, {"columns": ["a", "a"]}, {"delimiter": ""}, {"delimiter": '"'}]
)
def test_options_that_can_not_be_are_refused_when_they_are_given(options: Any) -> None:
    with pytest.raises(ConfigError):
        CsvSink("out.csv", **options)


async def test_appending_uses_the_files_columns_and_refuses_others(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "c"
    path.write_text("\ufeffb,a\n1,2")
    rejected = await written(CsvSink(path, if_exists="append"), context, [{"a": 4, "b": 3}, {"c": 1}])
    assert list(rejected) == [1]
    assert path.read_text() == "\ufeffb,a\n1,2\n3,4\n"
    with pytest.raises(SinkChanged, match="columns"):
        await written(CsvSink(path, if_exists="append", columns=["a"]), context, [{"a": 1}])
    assert path.read_text() == "\ufeffb,a\n1,2\n3,4\n"


async def test_columns_are_kept_in_the_token(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "c"
    sink = CsvSink(path, header=False)
    await sink.open(context(fence=1))
    await sink.write([{"a": 1, "b": 2}])
    token: Any = await sink.prepare()
    await sink.close()
    assert json.loads(json.dumps(token)) == token
    again = CsvSink(path, header=False)
    await again.open(context(fence=2, completed=True))
    await again.recover(token)
    await again.write([{"b": 4, "a": 3}])
    await again.prepare()
    await again.close()
    assert path.read_text() == "1,2\n3,4\n"
    other = CsvSink(path, header=False, columns=["a"])
    await other.open(context(fence=2, completed=False))
    with pytest.raises(SinkChanged, match="columns"):
        await other.recover(token)
    await other.close()


# --- both: files ---


@pytest.mark.parametrize("kind", [JsonLinesSink, CsvSink])
@pytest.mark.parametrize(
    ("name", "compression"), [("o.gz", "auto"), ("o.zst", "auto"), ("o", "gzip"), ("o", "zstd")]
)
@pytest.mark.parametrize("count", [0, 3, 200_000])
async def test_compressed_output_is_read_by_other_tools(
    kind: Any, name: str, compression: Any, count: int, tmp_path: Path, context: Any
) -> None:
    path = tmp_path / name
    await written(kind(path, compression=compression), context, [{"n": n} for n in range(count)])
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        text = gzip.decompress(data)
    else:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            text = reader.read()
    numbers = text.splitlines()[1:] if kind is CsvSink else [line[5:-1] for line in text.splitlines()]
    assert numbers == [b"%d" % n for n in range(count)]


async def test_no_compression_can_be_asked_for_whatever_the_name(tmp_path: Path, context: Any) -> None:
    await written(JsonLinesSink(tmp_path / "o.gz", compression="none"), context, [{"a": 1}])
    assert (tmp_path / "o.gz").read_bytes() == b'{"a":1}\n'


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz", "o.jsonl.zst"])
async def test_append_goes_on_behind_a_last_line_without_line_end(
    name: str, tmp_path: Path, context: Any
) -> None:
    path = tmp_path / name
    await written(JsonLinesSink(path), context, [{"a": 1}])
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)
    path.write_bytes(path.read_bytes() + pack(b'{"a":2}'))
    for n in (3, 4):
        await written(JsonLinesSink(path, if_exists="append"), context, [{"a": n}])
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    assert text == b'{"a":1}\n{"a":2}\n{"a":3}\n{"a":4}\n'


async def test_without_checkpoints_an_existing_file_is_replaced_unless_told_otherwise(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o"
    path.write_text("old\n")
    with pytest.raises(SinkChanged, match="if_exists"):
        await written(JsonLinesSink(path, if_exists="error"), context, [1])
    await written(JsonLinesSink(path, if_exists="append"), context, [1])
    assert path.read_text() == "old\n1\n"
    await written(JsonLinesSink(path), context, [2])
    assert path.read_text() == "2\n"
    assert os.listdir(tmp_path) == ["o"]


async def test_the_target_is_untouched_until_it_is_published_and_closing_early_leaves_nothing(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "new" / "o"
    sink = JsonLinesSink(path)
    await sink.open(context())
    await sink.write([{"long": "x" * 1_000_000}])
    assert not path.exists()
    assert len(os.listdir(path.parent)) == 1
    await sink.close()
    await sink.close()
    assert os.listdir(path.parent) == []


async def test_a_directory_as_target_is_refused_at_once(tmp_path: Path, context: Any) -> None:
    sink = JsonLinesSink(tmp_path)
    with pytest.raises(ConfigError, match="directory"):
        await sink.open(context())
    await sink.close()


async def test_with_checkpoints_an_existing_file_is_refused_by_default(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o"
    path.write_text("theirs\n")
    sink = JsonLinesSink(path)
    await sink.open(context(fence=1))
    with pytest.raises(SinkChanged, match="if_exists"):
        await sink.prepare()
    await sink.close()
    assert path.read_text() == "theirs\n"


async def test_with_checkpoints_a_replaced_file_is_there_until_the_first_commit(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o"
    path.write_text("old\n")
    sink = JsonLinesSink(path, if_exists="replace")
    await sink.open(context(fence=1))
    await sink.write([1])
    token = await sink.prepare()
    assert path.read_text() == "old\n"
    await sink.commit(token)
    await sink.commit(token)
    assert path.read_text() == "1\n"
    await sink.write([2])
    await sink.commit(await sink.prepare())
    await sink.close()
    assert path.read_text() == "1\n2\n"
    assert os.listdir(tmp_path) == ["o"]


async def test_a_run_without_any_record_makes_an_empty_file_once_it_is_finished(
    tmp_path: Path, context: Any
) -> None:
    sink = JsonLinesSink(tmp_path / "o")
    await sink.open(context(fence=1))
    assert await sink.prepare() == await sink.prepare()
    assert os.listdir(tmp_path) == []
    await sink.finish()
    token = await sink.prepare()
    await sink.commit(token)
    await sink.close()
    assert (tmp_path / "o").read_bytes() == b""
    again = JsonLinesSink(tmp_path / "o")
    await again.open(context(fence=2, completed=True))
    await again.recover(token)
    await again.close()
    assert (tmp_path / "o").read_bytes() == b""


async def test_live_shows_each_commit_and_keeps_it_when_the_run_fails(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o"
    path.write_text("old\n")
    sink = JsonLinesSink(path, publish="live")
    assert sink.live
    await sink.open(context())
    await sink.write([1])
    await sink.commit(await sink.prepare())
    assert path.read_text() == "1\n"
    await sink.write([2])
    await sink.commit(await sink.prepare())
    await sink.write([3])
    await sink.close()
    assert path.read_text() == "1\n2\n"
    await written(JsonLinesSink(path, publish="live", if_exists="append"), context, [4])
    assert path.read_text() == "1\n2\n4\n"


async def token_of(path: Path, context: Any) -> Any:
    sink = JsonLinesSink(path)
    await sink.open(context(fence=1))
    await sink.write([{"a": 1}, {"a": 2}])
    token = await sink.prepare()
    await sink.close()
    return token


@pytest.mark.parametrize("completed", [True, False])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a":1}\n', "shortened"), (b'{"a":1}\n{"a":3}\n', "replaced"), (b"", "shortened")],
)
async def test_a_file_that_is_not_what_the_token_says_is_refused_and_left_alone(
    completed: bool, content: bytes, message: str, tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o"
    token = await token_of(path, context)
    path.write_bytes(content)
    sink = JsonLinesSink(path)
    await sink.open(context(fence=2, completed=completed))
    with pytest.raises(SinkChanged, match=message) as caught:
        await sink.recover(token)
    await sink.close()
    assert str(path) in str(caught.value)
    assert "restart" in str(caught.value)
    assert path.read_bytes() == content


async def test_a_file_longer_than_its_completed_run_is_refused_and_after_a_crash_cut_back(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o"
    token = await token_of(path, context)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"a":3}\n{"a"')
    sink = JsonLinesSink(path)
    await sink.open(context(fence=2, completed=True))
    with pytest.raises(SinkChanged, match="more than when its run completed"):
        await sink.recover(token)
    await sink.close()
    await sink.open(context(fence=2, completed=False))
    await sink.recover(token)
    await sink.close()
    assert path.read_bytes() == whole


async def test_a_file_that_was_moved_away_begins_anew_only_after_a_completed_run(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o"
    token = await token_of(path, context)
    path.unlink()
    sink = JsonLinesSink(path)
    await sink.open(context(fence=2, completed=False))
    with pytest.raises(SinkChanged, match="missing"):
        await sink.recover(token)
    await sink.close()
    await sink.open(context(fence=2, completed=True))
    await sink.recover(token)
    await sink.write([{"a": 3}])
    await sink.commit(await sink.prepare())
    await sink.close()
    assert path.read_text() == '{"a":3}\n'


async def test_a_token_of_another_kind_of_sink_is_refused(tmp_path: Path, context: Any) -> None:
    sink = JsonLinesSink(tmp_path / "o")
    await sink.open(context(fence=2, completed=False))
    for token in (None, {}, {"memory": "x"}, 5):
        with pytest.raises(SinkChanged, match="another kind"):
            await sink.recover(token)
    await sink.close()


@pytest.mark.parametrize("kind", [JsonLinesSink, CsvSink])
async def test_every_call_is_a_checkpoint_and_a_cancelled_write_has_accepted_nothing(
    kind: Any, tmp_path: Path, context: Any
) -> None:
    sink = kind(tmp_path / "o", columns=["a"]) if kind is CsvSink else kind(tmp_path / "o")
    with trio.testing.assert_checkpoints():
        await sink.open(context(fence=1))
    for call in (sink.prepare, lambda: sink.write([{"a": 1}]), lambda: sink.write([]), sink.prepare):
        with trio.testing.assert_checkpoints():
            await call()
    for size in (1, 300_000):
        with trio.CancelScope() as scope:
            scope.cancel()
            await sink.write([{"a": "x" * size}])
        assert scope.cancelled_caught
    token = await sink.prepare()
    with trio.testing.assert_checkpoints():
        await sink.commit(token)
    with trio.testing.assert_checkpoints():
        await sink.close()
    assert (tmp_path / "o").read_text().endswith('{"a":1}\n' if kind is JsonLinesSink else "a\n1\n")


# --- as a dead-letter queue ---

OPAQUE = object()
ORIGINALS = [{"a": math.nan}, "\ud800", b"\xff", OPAQUE, None, ORDER, {1: {2}}, 2**80, [math.inf], {"$": 1}]


@pytest.mark.parametrize("kind", [JsonLinesSink, CsvSink])
@pytest.mark.parametrize("original", ORIGINALS, ids=lambda value: type(value).__name__)
async def test_any_letter_can_be_written(kind: Any, original: Any, tmp_path: Path, context: Any) -> None:
    letter = DLQRecord(
        id="p:1:x",
        pipeline="p",
        run_id="r",
        stage="sink:s",
        error_type="ValueError",
        error_message="no \ud800",
        original=original,
        processed=original,
        entry=Entry(step="s", record=original),
        checkpoint={"ordinal": 1, "position": None},
        failed_at=datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    )
    path = tmp_path / "letters"
    assert not await written(kind(path), context, [letter, attrs.evolve(letter, entry="source")])
    if kind is JsonLinesSink:
        first, second = map(json.loads, path.read_text().splitlines())
    else:
        header, *lines = csv_rows(path)
        first, second = (dict(zip(header, line, strict=True)) for line in lines)
    assert (first["id"], first["stage"], second["entry"]) == ("p:1:x", "sink:s", "source")
    assert first["failed_at"] == "2024-01-02T00:00:00+00:00"


async def test_a_letters_plain_record_is_readable_as_it_is(tmp_path: Path, context: Any) -> None:
    letter = DLQRecord(
        id="1", pipeline="p", run_id="r", stage="source", error_type="E", error_message="m",
        original={"a": [1, "x"]},
        checkpoint=None, failed_at=datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    )  # fmt: skip
    await written(JsonLinesSink(tmp_path / "l"), context, [letter])
    assert json.loads((tmp_path / "l").read_text())["original"] == {"a": [1, "x"]}
