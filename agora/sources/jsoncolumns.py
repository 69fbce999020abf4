"""A block of JSON lines as a `RecordBatch`, equal row by row to what `JsonLinesParser` makes of it, or nothing.

Lines of flat objects with the same keys differ only in their values, so cut at the quotes they are a table: its
columns are the strings, the numbers with what is around them, and texts that are the same in every line. That all
of it is so is checked, which proves the rest; pyarrow's own JSON reader takes longer and shows neither missing
keys nor what it changed.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from agora.sources.casts import Cast
from agora.sources.csvcolumns import ParsedColumns
from agora.sources.fieldcolumns import cut, text_of

__all__ = ["Layout", "columns_of_json", "layout_of"]

_LINES = 100  # that are looked at for one without null
_BLANK = " \t"
_NUMBER = re.compile(rf"([{_BLANK}]*:[{_BLANK}]*)([^{_BLANK},}}]+)([{_BLANK}]*[,}}][{_BLANK}]*)")
_INTEGER = r"-?(?:0|[1-9][0-9]*)"
_FLOAT = rf"{_INTEGER}(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)"
_KINDS: Sequence[tuple[str, pa.DataType]] = (
    (_INTEGER, pa.int64()),
    (_FLOAT, pa.float64()),
    ("true|false", pa.bool_()),
)
_DIGITS = b"0123456789"
_REFUSED = b"\\" + bytes(range(0x20))
_NULL = "\x01\x01"  # as long with its quotes as `null`; no string of a JSON text has such a character


@attrs.frozen
class _Column:
    name: str
    type: pa.DataType
    at: int
    """The index of the field with its value."""
    before: str
    """What stands between the key and the value."""
    after: str
    """What stands behind it; of a string empty."""


@attrs.frozen
class Layout:
    """What is the same in every line."""

    columns: Sequence[_Column]
    constants: Mapping[int, str]
    """Fields that have the same text in every line."""
    width: int

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def layout_of(data: bytes) -> Layout | None:
    """The layout of the first line without null, of which there is one among the first hundred; or `None`."""
    for line in data.split(b"\n", _LINES)[:_LINES]:
        try:
            found = _layout(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            return None
        if found is not None:
            return found
    return None


def columns_of_json(data: bytes, layout: Layout, casts: Mapping[str, Cast]) -> ParsedColumns | None:
    """The records of whole lines; the last line may lack its end. `None`: the plain path must read it.

    The types are the layout's but for columns with a cast, so a layout serves the whole of a file. No state, no
    trio: for any thread.
    """
    marked = False
    fields = cut(data, '"', layout.width, quoting=False)
    if fields is None and b"null" in data and _NULL[:1].encode() not in data:
        marked = True
        fields = cut(_without_null(data, layout), '"', layout.width, quoting=False)
    if fields is None or not all(_is_all(fields.columns[at], text) for at, text in layout.constants.items()):
        return None
    arrays: list[pa.Array] = []
    for column in layout.columns:
        texts = fields.columns[column.at]
        array = _string(texts, marked=marked) if column.type == pa.string() else _literal(texts, column)
        if array is not None and column.name in casts:
            array = _converted(array, casts[column.name])
        if array is None:
            return None
        arrays.append(array)
    return ParsedColumns(pa.RecordBatch.from_arrays(arrays, names=layout.names), fields.place)


def _layout(line: str) -> Layout | None:
    fields = line.split('"')
    if "\\" in line or fields[0].strip(_BLANK) != "{":
        return None
    columns: list[_Column] = []
    constants = {0: fields[0]}
    at, behind = 1, ","
    while behind == "," and at + 1 < len(fields):
        constants[at] = name = fields[at]
        between = fields[at + 1]
        if between.strip(_BLANK) == ":" and at + 3 < len(fields):
            columns.append(_Column(name, pa.string(), at + 2, between, ""))
            constants |= {at + 1: between, at + 3: fields[at + 3]}
            at, behind = at + 4, fields[at + 3].strip(_BLANK)
        elif (number := _NUMBER.fullmatch(between)) and (kind := _kind(number[2])) is not None:
            columns.append(_Column(name, kind, at + 1, number[1], number[3]))
            at, behind = at + 2, number[3].strip(_BLANK)
        else:
            return None
    if behind != "}" or at != len(fields) or len({column.name for column in columns}) < len(columns):
        return None
    return Layout(columns, constants, len(fields))


def _kind(token: str) -> pa.DataType | None:
    return next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, token)), None)


def _without_null(data: bytes, layout: Layout) -> bytes:
    """Null in place of a string, which would cut the line otherwise, made a string that is none."""
    for column in layout.columns:
        if column.type == pa.string():
            start = f'"{column.name}"{column.before}'
            data = data.replace(f"{start}null".encode(), f'{start}"{_NULL}"'.encode())
    return data


def _is_all(column: pa.Array, text: str) -> bool:
    """Whether the whole column is this text."""
    if text_of(column) != text.encode() * len(column):
        return False
    lengths = pc.min_max(pc.binary_length(column)).as_py()
    return bool(lengths["min"] == lengths["max"])


def _string(column: pa.Array, *, marked: bool) -> pa.Array | None:
    """`marked`: null stands in it as `_NULL`."""
    text = text_of(column)
    refused = len(text) - len(text.translate(None, _REFUSED))
    if not refused:
        return column
    if not marked:
        return None
    column = _null_where(column, _NULL)
    return column if refused == len(_NULL) * column.null_count else None


def _literal(column: pa.Array, layout: _Column) -> pa.Array | None:
    """A number, true or false."""
    around = (pc.starts_with(column, layout.before), pc.ends_with(column, layout.after))
    if not all(pc.all(mask).as_py() for mask in around):
        return None
    tokens = pc.binary_slice(column.cast(pa.binary()), len(layout.before), -len(layout.after)).cast(
        pa.string()
    )
    if b"n" in text_of(tokens):
        tokens = _null_where(tokens, "null")
    return _READ[layout.type](tokens)


def _null_where(column: pa.Array, text: str) -> pa.Array:
    return pc.if_else(pc.equal(column, text), pa.scalar(None, pa.string()), column)


def _integers(tokens: pa.Array) -> pa.Array | None:
    """Those that JSON has: `007`, `-0` and `0x7`, which Arrow reads, are not among them."""
    numbers = _cast(tokens, pa.int64())
    if numbers is None:
        return None
    if text_of(tokens).translate(
        None, _DIGITS
    ):  # else nothing but digits: only zeros in front are to be feared
        return numbers if numbers.cast(pa.string()).equals(tokens) else None
    return numbers if _count(pc.starts_with(tokens, "0")) == _count(pc.equal(tokens, "0")) else None


def _floats(tokens: pa.Array) -> pa.Array | None:
    """None that are integers to Python, nor beyond its range."""
    numbers = _cast(tokens, pa.float64())
    if numbers is None or pc.all(pc.is_finite(numbers)).as_py() is False:
        return None
    simple = _are_fractions(tokens) or pc.all(pc.match_substring_regex(tokens, f"^(?:{_FLOAT})$")).as_py()
    return None if simple is False else numbers


def _are_fractions(tokens: pa.Array) -> bool:
    """Whether all of these, which are numbers to Arrow, are digits, a point and digits: then none has two points."""
    text = text_of(tokens)
    return (
        text.count(b".") == len(text.translate(None, _DIGITS)) == len(tokens) - tokens.null_count
        and not _count(pc.starts_with(tokens, "."))
        and not _count(pc.ends_with(tokens, "."))
        and _count(pc.starts_with(tokens, "0")) == _count(pc.starts_with(tokens, "0."))
    )


def _count(mask: pa.BooleanArray) -> int:
    return int(mask.true_count)


def _booleans(tokens: pa.Array) -> pa.Array | None:
    true = pc.equal(tokens, "true")
    return true if pc.all(pc.or_(true, pc.equal(tokens, "false"))).as_py() is not False else None


def _cast(tokens: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return tokens.cast(kind)
    except pa.ArrowInvalid:
        return None


def _converted(array: pa.Array, cast: Cast) -> pa.Array | None:
    """As `agora.sources.convert` does, where that is sure."""
    if array.null_count:
        return None
    if array.type == pa.string():
        return cast(array)
    return array if array.type == cast.type else None


_READ: Mapping[pa.DataType, Callable[[pa.Array], pa.Array | None]] = {
    pa.int64(): _integers,
    pa.float64(): _floats,
    pa.bool_(): _booleans,
}
