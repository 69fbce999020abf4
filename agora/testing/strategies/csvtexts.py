"""CSV text that is hard to read, each difficulty by its name."""

import enum
from collections.abc import Collection, Sequence

import attrs
from hypothesis import strategies as st

__all__ = ["CsvTrouble", "csv_texts"]


class CsvTrouble(enum.Enum):
    """What makes CSV text hard to read."""

    QUOTE_INSIDE = 'a quote inside an unquoted field: 5" pipe'
    QUOTED = "delimiters, quotes and line ends inside quotes"
    BLANK_LINE = "an empty line between two records"
    BLANKS = "blanks around a field, or before a quote"
    BOM = "a byte order mark at the start"
    CR_LF = "a record ended by CR LF"
    CR = "a record ended by CR alone"
    NO_LAST_END = "no line end behind the last record"
    RAGGED = "a record with a field too few, or too many"
    NUL = "a NUL character"
    SEPARATORS = "U+2028, U+0085, VT and FF, which end no line"
    LONG = "a field longer than all others"
    AFTER_QUOTE = "text after a closing quote"
    UNCLOSED = "a quote that nothing closes"
    SURROGATE = "a byte that isn't UTF-8, as surrogateescape decodes it"


_SAID = tuple(trouble for trouble in CsvTrouble if trouble is not CsvTrouble.SURROGATE)


def csv_texts(
    width: int = 2,
    *,
    header: Sequence[str] | None = None,
    delimiter: str = ",",
    max_rows: int = 6,
    long: int = 40,
    troubles: Collection[CsvTrouble] = _SAID,
) -> st.SearchStrategy[str]:
    """Yields whole files of CSV, of `width` columns, with any of the named troubles, some rows without any.

    `header` stands in the first line, as it is. `long`: characters of a long field. The default is every trouble but
    lone surrogates, since text with them can be encoded only with `errors="surrogateescape"`: `troubles=CsvTrouble`
    takes those too. Shrinks towards `""`, and rows towards `0,0` ended by LF.
    """
    given = _Given(width, delimiter, long, frozenset(troubles))
    rows = st.lists(st.tuples(given.row(), given.end()), max_size=max_rows)
    if header is not None:
        first = delimiter.join(header)
        rows = st.builds(lambda end, rest: [(first, end), *rest], given.end(), rows)
    marks = st.sampled_from(["", "\ufeff"] if CsvTrouble.BOM in given.troubles else [""])
    unended = st.booleans() if CsvTrouble.NO_LAST_END in given.troubles else st.just(value=False)
    return st.builds(_whole, rows, marks, unended)


def _whole(rows: list[tuple[str, str]], mark: str, unended: bool) -> str:
    text = mark + "".join(row + end for row, end in rows)
    return text.removesuffix(rows[-1][1]) if unended and rows else text


@attrs.frozen
class _Given:
    width: int
    delimiter: str
    long: int
    troubles: frozenset[CsvTrouble]

    def row(self) -> st.SearchStrategy[str]:
        """A line without its end, or an empty one."""
        row = self._joined(self.width)
        if CsvTrouble.RAGGED in self.troubles:
            row |= st.sampled_from([max(self.width - 1, 1), self.width + 1]).flatmap(self._joined)
        if CsvTrouble.BLANK_LINE in self.troubles:
            row |= st.just("")
        return row

    def end(self) -> st.SearchStrategy[str]:
        ends = {CsvTrouble.CR_LF: "\r\n", CsvTrouble.CR: "\r"}
        return st.sampled_from(["\n", *[end for trouble, end in ends.items() if trouble in self.troubles]])

    def _joined(self, width: int) -> st.SearchStrategy[str]:
        return st.tuples(*[self._field()] * width).map(self.delimiter.join)

    def _field(self) -> st.SearchStrategy[str]:
        """A field as it stands in the text."""
        plain = st.sampled_from(["0", "", "a", "é", "10", "-0.5"])
        hard = [strategy for trouble, strategy in self._hard().items() if trouble in self.troubles]
        return st.one_of(plain, *hard)

    def _hard(self) -> dict[CsvTrouble, st.SearchStrategy[str]]:
        inner = st.text(f'a"\n\r{self.delimiter}é', max_size=4)
        quoted = inner.map(lambda text: '"' + text.replace('"', '""') + '"')
        between = st.builds("a{}b".format, st.sampled_from("\u2028\x85\x0b\x0c"))
        return {
            CsvTrouble.QUOTE_INSIDE: st.sampled_from(['5" pipe', 'a""', 'a"b"']),
            CsvTrouble.QUOTED: quoted,
            CsvTrouble.BLANKS: st.sampled_from([" a ", " ", ' "a"', "a\t"]),
            CsvTrouble.NUL: st.sampled_from(["\x00", "a\x00b"]),
            CsvTrouble.SEPARATORS: between,
            CsvTrouble.LONG: st.sampled_from([self.long, self.long - 1]).map(lambda size: "a" * size),
            CsvTrouble.AFTER_QUOTE: st.builds(
                '"{}"{}'.format, st.text("a", max_size=2), st.sampled_from(["x", " "])
            ),
            CsvTrouble.UNCLOSED: st.text(f"a\n{self.delimiter}", max_size=3).map('"{}'.format),
            CsvTrouble.SURROGATE: st.sampled_from(["\udcff", "a\udce9b"]),
        }
