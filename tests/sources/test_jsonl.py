"""JsonLinesSource: every row of the format table, and that the quick way reads what the slow one does."""

import datetime
import json
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from properties import examples

from agora.errors import AgoraError, ConfigError
from agora.sources import JsonLinesSource, textfile
from agora.testing import strategies
from agora.testing.strategies import JsonTrouble


@attrs.frozen
class Event:
    id: int
    at: datetime.datetime | None
    tags: list[str]


def _one(reading, put, line: bytes | str):
    """What a line between two good ones becomes, alone in the slow way and the same."""
    line = line if isinstance(line, bytes) else line.encode()
    first, row, last = reading.rows(JsonLinesSource(put(b'{"n":0}\n' + line + b'\n{"n":9}\n')))
    assert (first, last) == ({"n": 0}, {"n": 9})
    return row


@pytest.mark.parametrize("ending", ["\n", "\r\n", " \t\n", ""])
def test_one_object_a_line(reading, put, ending):
    content = '{"a":1}' + (ending or "\n") + '{"a":[1,{"b":null}]}' + ending
    assert reading.rows(JsonLinesSource(put(content))) == [{"a": 1}, {"a": [1, {"b": None}]}]


def test_a_document_across_lines_and_two_on_one_are_letters_though_their_numbers_match(reading, put):
    path = put('{"n":0}\n{"a":\n1}{"b":2}\n{"n":9}\n')
    first, open_, two, last = reading.rows(JsonLinesSource(path))
    assert (first, last) == ({"n": 0}, {"n": 9})
    assert open_[1] == '{"a":'
    assert open_[2].startswith(f"{path}, line 2, byte 8: ")
    assert two[1] == '1}{"b":2}'
    assert two[2].startswith(f"{path}, line 3, byte 14: ")


def test_two_documents_on_a_line_are_a_letter(reading, put):
    assert _one(reading, put, '{"a":1}{"b":2}')[1] == '{"a":1}{"b":2}'
    assert _one(reading, put, '{"a":1} {"b":2}')[0] == "malformed"


@pytest.mark.parametrize("blank", ["", " ", "\t", "\r", " \r"])
def test_blank_lines_are_skipped(reading, put, blank):
    path = put(f'{blank}\n{{"a":1}}\n{blank}\n{{"a":2}}\n{blank}')
    assert reading.rows(JsonLinesSource(path)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("char", ["\x0b", "\x0c", "\xa0", "\u2028"])
def test_other_white_space_is_no_blank_line(reading, put, char):
    assert _one(reading, put, char)[0] == "malformed"


@pytest.mark.parametrize("value", ["null", "[]", '"x"', "1", "true", "[{}]"])
def test_what_is_no_object_is_a_letter(reading, put, value):
    row = _one(reading, put, value)
    assert row[1] == value
    assert "not an object" in row[2]
    assert not row[3]


@pytest.mark.parametrize("digits", [19, 20, 40, 4300])
def test_integers_are_exact(reading, put, digits):
    number = int("9" * digits)
    assert _one(reading, put, f'{{"a":{number}}}') == {"a": number}


@pytest.mark.parametrize("value", ["9" * 4301, "1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
def test_numbers_that_python_would_change_are_letters(reading, put, value):
    assert _one(reading, put, f'{{"a":{value}}}')[1] == f'{{"a":{value}}}'


def test_of_duplicate_keys_the_last_counts(reading, put):
    assert _one(reading, put, '{"a":1,"b":0,"a":2}') == {"a": 2, "b": 0}


@pytest.mark.parametrize("text", [r"\ud800", r"\udc00x", r"\ud800A", r"\ud800\ud800"])
def test_a_lone_surrogate_is_a_letter(reading, put, text):
    assert _one(reading, put, f'{{"a":"{text}"}}')[0] == "malformed"


def test_a_pair_of_surrogates_is_a_character(reading, put):
    assert _one(reading, put, r'{"a":"\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("line", [b'{"a":"\xe9"}', b'{"\xe9":1}', b'{"a":"\xed\xa0\x80"}', b"\xff"])
def test_a_line_that_is_not_utf8_is_a_letter_of_bytes(reading, put, line):
    assert _one(reading, put, line)[1] == line


def test_a_byte_order_mark_is_skipped_only_at_the_start_of_the_file(reading, put):
    first, second = reading.rows(JsonLinesSource(put('\ufeff{"a":1}\n\ufeff{"a":2}\n')))
    assert first == {"a": 1}
    assert second[1] == '\ufeff{"a":2}'


def test_512_levels_are_read_and_far_deeper_is_a_letter(reading, put):
    row = _one(reading, put, '{"a":' + "[" * 511 + "]" * 511 + "}")
    for _ in range(511):
        row = row["a"] if isinstance(row, dict) else row[0] if row else row
    assert row == []
    deep = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert _one(reading, put, deep)[1] == deep


def test_an_empty_file_is_no_records(reading, put):
    for content in ("", "\n", "\ufeff", " \n\t"):
        assert reading.rows(JsonLinesSource(put(content))) == []


def test_a_line_longer_than_many_blocks_is_one_record(reading, put):
    long = "x" * 1_000_000
    assert reading.rows(JsonLinesSource(put(f'{{"a":"{long}"}}\n{{"a":1}}\n'))) == [{"a": long}, {"a": 1}]


def test_types_convert_the_keys_that_are_there(reading, put):
    path = put('{"d":"2026-01-02","n":1,"x":0.1}\n{"n":1.5}\n{"n":"7"}\n{"d":null}\n{"n":true}\n')
    source = JsonLinesSource(path, types={"d": "date?", "n": int, "x": "decimal"})
    rows = reading.rows(source)
    assert rows[0] == {"d": datetime.date(2026, 1, 2), "n": 1, "x": Decimal("0.1")}
    reason = f"{path}, line 2, byte 33: column 'n': 1.5 is no integer"
    assert rows[1] == ("malformed", {"n": 1.5}, reason, True)
    assert rows[2:4] == [{"n": 7}, {"d": None}]
    assert rows[4][1] == {"n": True}
    assert source.convert({"d": ""}) == {"d": None}


def test_a_schema_makes_instances(reading, put):
    path = put('{"id":1,"at":"2026-01-02T03:04:05","tags":["x"]}\n{"id":1.5,"at":null,"tags":[]}\n')
    good, bad = reading.rows(JsonLinesSource(path, schema=Event))
    assert good == Event(1, datetime.datetime(2026, 1, 2, 3, 4, 5), ["x"])
    assert bad[1] == {"id": 1.5, "at": None, "tags": []}
    assert "Event.id" in bad[2]


def test_originals_are_made_again(reading, put):
    path = put('{"a":1}\n\n[]\n{"a":2}\n')
    (block,) = reading.blocks(JsonLinesSource(path))
    block.rows[0]["a"] = "changed"
    assert block.original(0) == {"a": 1}
    assert block.original(1).original == "[]"
    assert block.original(2) == {"a": 2}
    assert list(block.malformed) == [1]


@pytest.mark.parametrize("options", [{"types": {"a": "nt"}}, {"missing": "x"}, {"schema": int}, {"path": ""}])
def test_options_that_can_not_be_meant_are_refused_at_once(options):
    with pytest.raises(ConfigError):
        JsonLinesSource(**{"path": "x.jsonl", **options})


@settings(max_examples=examples(80, 2000), deadline=None)
@given(
    records=st.lists(st.dictionaries(st.text(), strategies.json_values(), max_size=4), max_size=6),
    ascii_=st.booleans(),
)
def test_what_json_writes_is_read_as_json_reads_it(reading, tmp_path_factory, records, ascii_):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    lines = [json.dumps(record, ensure_ascii=ascii_) for record in records]
    path.write_bytes("\n".join(lines).encode())
    assert reading.rows(JsonLinesSource(path)) == [json.loads(line) for line in lines]


_PIECES = st.lists(
    st.sampled_from(["{}", '{"a":1}', '{"a":{', "}", "\n", "\r\n", " ", "[{}]", ",", '"']), max_size=12
)
_TOLD_APART = {JsonTrouble.BOM, JsonTrouble.SURROGATE, JsonTrouble.BEYOND_DOUBLE, JsonTrouble.NAN}
"""Where `json` answers otherwise than FORMATS.md."""


def _reference(text: str) -> list:
    out = []
    for line in text.split("\n"):
        if not line.strip(" \t\r"):
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        out.append(value if isinstance(value, dict) else line.removesuffix("\r"))
    return out


@settings(max_examples=examples(120, 3000), deadline=None)
@given(
    text=_PIECES.map("".join) | strategies.json_lines(troubles=set(JsonTrouble) - _TOLD_APART),
    block=st.integers(1, 20),
)
def test_any_lines_in_any_blocks_are_read_line_by_line(reading, tmp_path_factory, text, block):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_bytes(text.encode())
    source = JsonLinesSource(path)
    for size in (block, 65536):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(textfile, "_BLOCK", size)
            taken = reading.rows_and_positions(source)
            assert [row[1] if isinstance(row, tuple) else row for row, _ in taken] == _reference(text)
            for index, (_, position) in enumerate(taken):
                assert reading.rows(source, position) == [row for row, _ in taken[index + 1 :]]


async def test_a_file_without_line_ends_is_refused_and_not_read_into_memory_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textfile, "_LONGEST", 1024 * 1024)
    (tmp_path / "blob").write_bytes(b'{"a":1}\n' + b"x" * 8 * 1024 * 1024)
    source = JsonLinesSource(tmp_path / "blob")
    await source.prepare_resume(None)

    async def read() -> list[object]:
        async with aclosing(source.stream()) as records:
            return [record async for record in records]

    async with aclosing(source.stream()) as records:
        assert await anext(records) == {"a": 1}
    source = JsonLinesSource(tmp_path / "blob")
    await source.prepare_resume(None)
    with pytest.raises(AgoraError, match=r"line 2 \(byte 8\): no end of the record within 1 MiB"):
        await read()
