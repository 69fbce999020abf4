"""Rows of CSV text: the quick ways give what the plain one gives, or nothing."""

import csv

import hypothesis.strategies as st
from hypothesis import example, given, settings

from agora.sources import csvtext
from agora.sources.csvtext import Text, entries_at_once, field_limit_lifted, rows_at_once, rows_one_by_one
from agora.testing import strategies
from agora.testing.strategies import CsvTrouble

ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\r\n"])
NASTY = st.text(alphabet='ab,;"\n\r \x00é\u2028\x85\x0b\udc80', max_size=30) | strategies.csv_texts(
    troubles=CsvTrouble
)
REGULAR = st.builds(
    lambda rows, end, last: end.join(",".join(row) for row in rows) + last,
    st.lists(st.lists(st.text('a "é\x00', max_size=3), min_size=1, max_size=4), max_size=6),
    ENDS,
    ENDS | st.just(""),
)


@settings(deadline=None)
@given(text=NASTY | REGULAR, delimiter=st.sampled_from(',; a"\x00') | st.just("é"))
@example(text="a,b\nc", delimiter=",")
@example(text='a,b\r\n"c\r\nd",e\r\n', delimiter=",")
@example(text="a\rb\n", delimiter=",")
def test_the_quick_rows_are_the_plain_ones_or_none(text: str, delimiter: str) -> None:
    if delimiter in ('"', "\x00"):
        delimiter = ","
    with field_limit_lifted():
        quick = entries_at_once(text, delimiter)
        plain = rows_one_by_one(text, delimiter, final=True)
    if quick is not None:
        assert quick.rows == plain.rows
        assert (list(quick.starts), list(quick.ends)) == (plain.starts, plain.ends)
        assert (quick.whole, quick.complete) == (plain.whole, plain.complete)


@settings(deadline=None)
@given(rows=st.lists(st.lists(st.text("ab\x00é\u2028 ", min_size=1), min_size=2, max_size=3)))
def test_lines_without_quotes_are_split_whatever_their_only_line_end(rows: list[list[str]]) -> None:
    for end in ("\n", "\r\n"):
        text = "".join(",".join(row) + end for row in rows)
        for part in (text, text.removesuffix(end)):
            found, lines = rows_at_once(part, ",")
            assert isinstance(found, map)
            assert (list(found), lines) == (rows, len(rows))


def test_a_field_beyond_the_limit_is_left_to_csv(monkeypatch) -> None:
    monkeypatch.setattr(csvtext, "_FIELD_LIMIT", 8)
    before = csv.field_size_limit()
    with field_limit_lifted():
        assert entries_at_once("a,123456789\n", ",") is None
        assert entries_at_once("a,12345678\n", ",") is not None
    assert csv.field_size_limit() == before


@settings(deadline=None)
@given(text=NASTY | REGULAR)
@example(text="a\n\nb")
@example(text="")
def test_one_end_of_a_line_is_where_the_list_of_all_has_it(text: str) -> None:
    ends = Text(text, "utf-8").line_ends
    assert [Text(text, "utf-8").after_lines(lines) for lines in range(len(ends) + 1)] == [0, *ends]
