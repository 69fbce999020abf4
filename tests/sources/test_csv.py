"""CsvSource: every row of the format table, and that it is csv.reader with that table added."""

import csv
import datetime
import io
from decimal import Decimal
from uuid import UUID

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from properties import examples

from agora.errors import AgoraError, ConfigError
from agora.sources import CsvSource, Malformed, textfile
from agora.testing import strategies


@attrs.frozen
class Order:
    id: int
    amount: float
    day: datetime.date
    paid: bool
    note: str | None = None


def test_values_are_text_as_it_stands(reading, put):
    path = put('id,name,x\n007, NA ,\n1,"",""\n')
    assert reading.rows(CsvSource(path)) == [
        {"id": "007", "name": " NA ", "x": ""},
        {"id": "1", "name": "", "x": ""},
    ]


@pytest.mark.parametrize("row", ["1", "1,2,3"])
def test_a_ragged_row_is_a_letter_with_its_place_and_the_next_record_goes_on(reading, put, row):
    path = put(f"a,b\n0,0\n{row}\n8,9\n")
    first, bad, last = reading.rows(CsvSource(path))
    assert (first, last) == ({"a": "0", "b": "0"}, {"a": "8", "b": "9"})
    fields = row.count(",") + 1
    assert bad == (
        "malformed",
        row,
        f"{path}, line 3, byte 8: {fields} fields where there are 2 columns",
        False,
    )


def test_ragged_pad_fills_short_rows_and_still_refuses_long_ones(reading, put):
    rows = reading.rows(CsvSource(put("a,b\n1\n1,2,3\n"), ragged="pad"))
    assert rows[0] == {"a": "1", "b": ""}
    assert rows[1][1] == "1,2,3"


def test_blank_lines_are_no_records_but_lines_of_delimiters_or_blanks_are(reading, put):
    rows = reading.rows(CsvSource(put('\n\na\n\n1\n\r\n  \n""\n\n')))
    assert rows == [{"a": "1"}, {"a": "  "}, {"a": ""}]
    assert reading.rows(CsvSource(put("a,b\n,\n"))) == [{"a": "", "b": ""}]


def test_names_twice_in_the_header_end_the_run_before_the_first_record(reading, put):
    path = put("a,b,a\n1,2,3\n")
    rows, error = reading.until_error(CsvSource(path))
    assert rows == []
    assert isinstance(error, AgoraError)
    assert str(path) in str(error)
    assert "'a'" in str(error)


def test_one_empty_name_is_a_name(reading, put):
    assert reading.rows(CsvSource(put("a,\n1,2\n"))) == [{"a": "1", "": "2"}]


@pytest.mark.parametrize("content", ["", "\n", "a,b", "a,b\n", "a,b\r\n\r\n", "\ufeff", "\ufeffa,b"])
def test_an_empty_file_and_a_header_alone_are_no_records(reading, put, content):
    assert reading.rows(CsvSource(put(content))) == []


def test_headerless_files_take_their_names_from_columns(reading, put):
    source = CsvSource(put("\ufeff1,2\n3,4"), header=False, columns=["x", "y"])
    assert reading.rows(source) == [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_outside_quotes_end_records_and_inside_are_kept(reading, put, end):
    path = put(end.join(["a,b", f'1,"x{end}y"', "2,z", ""]))
    assert reading.rows(CsvSource(path)) == [{"a": "1", "b": f"x{end}y"}, {"a": "2", "b": "z"}]


@pytest.mark.parametrize("char", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\x00"])
def test_no_other_character_ends_a_line(reading, put, char):
    assert reading.rows(CsvSource(put(f"a,b\n1{char}2,3\n"))) == [{"a": f"1{char}2", "b": "3"}]


def test_a_quote_inside_an_unquoted_field_is_data(reading, put):
    rows = reading.rows(CsvSource(put('a,b\n5" pipe,1\n6" pipe,"2"\n')))
    assert [row["a"] for row in rows] == ['5" pipe', '6" pipe']


def test_text_after_a_closing_quote_is_a_letter_and_reading_goes_on_behind_that_line(reading, put):
    path = put('a,b\n1,"x\ny"z\n2,w\n')
    bad, good = reading.rows(CsvSource(path))
    assert bad[1] == '1,"x\ny"z'
    assert bad[2].startswith(f"{path}, line 2, byte 4: ")
    assert good == {"a": "2", "b": "w"}


def test_a_quote_that_is_never_closed_is_a_letter_with_the_rest_of_the_file(reading, put):
    good, bad = reading.rows(CsvSource(put('a,b\n1,2\n3,"x\n4,5\n')))
    assert good == {"a": "1", "b": "2"}
    assert bad[1] == '3,"x\n4,5'
    assert "a quoted field isn't closed" in bad[2]


@pytest.mark.parametrize("header", ['"a,b', '"a"x,b\n'])
def test_a_header_with_such_a_fault_ends_the_run(reading, put, header):
    path = put(header)
    with pytest.raises(AgoraError, match="line 1: the header can't be read"):
        reading.rows(CsvSource(path))


def test_a_record_that_is_not_utf8_is_a_letter_of_bytes(reading, put):
    path = put(b"a,b\n1,ok\n2,caf\xe9\n3,\xc3\xa9\n")
    first, bad, last = reading.rows(CsvSource(path))
    assert first == {"a": "1", "b": "ok"}
    assert bad == ("malformed", b"2,caf\xe9\n", f"{path}, line 3, byte 9: not valid utf-8", False)
    assert last == {"a": "3", "b": "é"}


def test_a_header_that_is_not_utf8_ends_the_run(reading, put):
    with pytest.raises(AgoraError, match="header is not valid utf-8"):
        reading.rows(CsvSource(put(b"a,caf\xe9\n1,2\n")))


def test_one_byte_order_mark_is_dropped(reading, put):
    assert reading.rows(CsvSource(put("\ufeffa\n\ufeff1\n"))) == [{"a": "\ufeff1"}]
    assert reading.rows(CsvSource(put("\ufeff\ufeffa\n1\n"))) == [{"\ufeffa": "1"}]


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gbk", "utf-8-sig"]
)
def test_other_encodings_are_read_and_resumed_at_their_byte_offsets(reading, put, encoding):
    text = 'a,b\r\n1,ü\r\n2,"x\r\ny"\r\n3,z'
    source = CsvSource(put(text.encode(encoding)), encoding=encoding)
    taken = reading.rows_and_positions(source)
    assert [row for row, _ in taken] == [
        {"a": "1", "b": "ü"},
        {"a": "2", "b": "x\r\ny"},
        {"a": "3", "b": "z"},
    ]
    for index, (_, position) in enumerate(taken):
        assert reading.rows(source, position) == [row for row, _ in taken[index + 1 :]]


def test_a_broken_unit_of_utf16_is_a_letter(reading, put):
    data = "a\n1\n".encode("utf-16-le") + b"\x00\xd8" + "\n2\n".encode("utf-16-le")
    rows = reading.rows(CsvSource(put(data), encoding="utf-16-le"))
    assert [rows[0], rows[2]] == [{"a": "1"}, {"a": "2"}]
    assert rows[1][1] == b"\x00\xd8\n\x00"


def test_fields_longer_than_the_limit_of_csv_are_read_and_the_limit_is_put_back(reading, put):
    before = csv.field_size_limit()
    long = "x" * 1_000_000
    assert reading.rows(CsvSource(put(f'a,b\n1,{long}\n2,"{long}"\n'))) == [
        {"a": "1", "b": long},
        {"a": "2", "b": long},
    ]
    assert csv.field_size_limit() == before


def test_a_field_beyond_16_mib_is_a_letter_and_reading_goes_on(reading, put):
    row = '1,"' + ("x" * 1023 + "\n") * (16 * 1024 + 1)
    bad, *rest = reading.rows(CsvSource(put(f"a,b\n{row}\n2,3\n")))
    assert bad[0] == "malformed"
    assert "limit" in bad[2]
    assert rest[-1] == {"a": "2", "b": "3"}


def test_types_convert_and_a_value_that_does_not_fit_is_a_replayable_letter_of_text(reading, put):
    path = put("a,b,c\n1,2.5,\n1,x,2026-01-02\n")
    source = CsvSource(path, types={"a": "int", "b": float, "c": "date?"})
    good, bad = reading.rows(source)
    assert good == {"a": 1, "b": 2.5, "c": None}
    assert bad == (
        "malformed",
        {"a": "1", "b": "x", "c": "2026-01-02"},
        f"{path}, line 3, byte 13: column 'b': could not convert string to float: 'x'",
        True,
    )
    assert source.convert({"a": "1", "b": "2", "c": "2026-01-02"}) == {
        "a": 1,
        "b": 2.0,
        "c": datetime.date(2026, 1, 2),
    }


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("int", "1.5", "invalid literal"),
        ("int", 1.5, "1.5 is no integer"),
        ("int", True, "True is no integer"),
        ("int?", 1.5, "1.5 is no integer"),
        (float, True, "True is no number"),
        ("str", 5, "5 is no text"),
    ],
)
def test_a_record_that_was_never_text_is_converted_without_losing_anything(kind, value, message):
    source = CsvSource("x.csv", types={"a": kind})
    with pytest.raises(AgoraError, match=f"column 'a': {message}"):
        source.convert({"a": value})


def test_every_named_type_converts(reading, put):
    path = put(
        "i,f,b,d,t,n,u,s\n1,1.5,yes,2026-01-02,2026-01-02T03:04:05,0.10,"
        "12345678-1234-5678-1234-567812345678,x\n"
    )
    types = {"i": "int", "f": "float", "b": "bool", "d": "date", "t": "datetime", "n": "decimal", "u": "uuid"}
    (row,) = reading.rows(CsvSource(path, types={**types, "s": "str"}))
    assert row == {
        "i": 1,
        "f": 1.5,
        "b": True,
        "d": datetime.date(2026, 1, 2),
        "t": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "n": Decimal("0.10"),
        "u": UUID("12345678-1234-5678-1234-567812345678"),
        "s": "x",
    }


def test_false_is_false_and_what_is_neither_is_a_letter(reading, put):
    rows = reading.rows(CsvSource(put("b\nfalse\nmaybe\n"), types={"b": bool}))
    assert rows[0] == {"b": False}
    assert rows[1][0] == "malformed"


def test_any_exception_of_a_function_of_the_users_is_that_records_failure(reading, put):
    def picky(text: str) -> str:
        if text == "2":
            raise RuntimeError("two")
        return text

    rows = reading.rows(CsvSource(put("a\n1\n2\n3\n"), types={"a": picky}))
    assert [row if isinstance(row, dict) else row[1] for row in rows] == [{"a": "1"}, {"a": "2"}, {"a": "3"}]
    assert "column 'a': two" in rows[1][2]


def test_a_schema_makes_instances_and_names_every_problem(reading, put):
    path = put("id,amount,day,paid,note\n1,2.5,2026-01-02,true,\nx,y,2026-01-02,no,n\n")
    source = CsvSource(path, schema=Order)
    good, bad = reading.rows(source)
    assert good == Order(1, 2.5, datetime.date(2026, 1, 2), True, None)
    assert bad[1] == {"id": "x", "amount": "y", "day": "2026-01-02", "paid": "no", "note": "n"}
    assert "Order.id" in bad[2]
    assert "Order.amount" in bad[2]
    assert bad[3]
    assert source.convert({**bad[1], "id": "7", "amount": "1"}) == Order(
        7, 1.0, datetime.date(2026, 1, 2), False, "n"
    )


def test_types_of_a_column_that_the_header_has_not_end_the_run(reading, put):
    with pytest.raises(AgoraError, match="'zip'"):
        reading.rows(CsvSource(put("a\n1\n"), types={"zip": "int"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": {"a": "flaot"}}, "did you mean 'float'"),
        ({"types": {"a": 7}}, "unknown type 7"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": "\n"}, "delimiter"),
        ({"columns": ["a"]}, "header=False"),
        ({"header": False}, "columns="),
        ({"header": False, "columns": ["a", "a"]}, "each once"),
        ({"ragged": "no"}, "ragged"),
        ({"missing": "no"}, "missing"),
        ({"encoding": "klingon"}, "klingon"),
        ({"encoding": "utf-7"}, "convert the file"),
        ({"encoding": "base64"}, "base64"),
        ({"schema": dict}, "no attrs class"),
        ({"schema": "nowhere:Order"}, "can't be imported"),
        ({"path": []}, "path must be"),
    ],
)
def test_options_that_can_not_be_meant_are_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        CsvSource(**{"path": "x.csv", **options})


def test_originals_are_made_again_from_the_text_whatever_became_of_the_record(reading, put):
    path = put('a,b\n1,"x\ny"\n2,é\n3\n4,5\n')
    (block,) = reading.blocks(CsvSource(path, types={"a": "int"}))
    before = [dict(row) if isinstance(row, dict) else row for row in block.rows]
    for row in block.rows:
        if isinstance(row, dict):
            row.clear()
    for index, row in enumerate(before):
        assert reading.plain(block.original(index)) == reading.plain(row)
    assert list(block.malformed) == [2]


def test_quick_and_slow_pieces_of_one_file_give_the_same_records(reading, put):
    rows = [(str(n), "x\ny" if 3000 <= n < 3100 else "plain") for n in range(10_000)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("n", "s"), *rows])
    assert reading.rows(CsvSource(put(text.getvalue()))) == [{"n": n, "s": s} for n, s in rows]


_nasty = st.text(alphabet='ab,"\n\r \x00é\u2028', max_size=40) | strategies.csv_texts()


def _reference(text: str, count: int) -> list:
    """The format table on top of csv.reader, said in the plainest way, one line list at a time."""
    lines = list(io.StringIO(text, newline=""))
    out, at = [], 0
    while at < len(lines):
        for stop in range(at + 1, len(lines) + 1):
            reader = csv.reader(lines[at:stop], strict=True)
            try:
                row = next(reader)
            except csv.Error as error:
                if "unexpected end" in str(error) and stop < len(lines):
                    continue
                row = None
            break
        raw = "".join(lines[at:stop])
        raw = raw[:-2] if raw.endswith("\r\n") else raw[:-1] if raw.endswith(("\r", "\n")) else raw
        at = stop
        if row is None or (row and len(row) != count):
            out.append(raw)
        elif row:
            out.append(row)
    return out


@settings(max_examples=examples(120, 3000), deadline=None)
@given(text=_nasty, block=st.integers(1, 12))
def test_any_text_in_any_blocks_is_read_as_csv_reads_it(reading, tmp_path_factory, text, block):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.encode())
    source = CsvSource(path, header=False, columns=["x", "y"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textfile, "_BLOCK", block)
        taken = reading.rows_and_positions(source)
        got = [row[1] if isinstance(row, tuple) else list(row.values()) for row, _ in taken]
        assert got == _reference(text.removeprefix("\ufeff"), 2)
        for index, (_, position) in enumerate(taken):
            rest = [row for row, _ in taken[index + 1 :]]
            assert reading.rows(source, position) == rest


def test_malformed_is_the_one_of_the_contract(reading, put):
    (block,) = reading.blocks(CsvSource(put("a,b\n1\n")))
    assert isinstance(block.rows[0], Malformed)
    assert isinstance(block.rows[0].error, AgoraError)
