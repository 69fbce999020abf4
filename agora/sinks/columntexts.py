"""A column's values as the texts that msgspec writes for them, made by Arrow's kernels where they are the same.

Where they aren't (floats beyond 1e-4 … 1e10, texts that need escapes, types that nothing was proved for),
msgspec makes the texts of just those values, so that any schema is written and none is written differently.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from agora.sinks.encode import NanPolicy, refuse_non_finite

__all__ = ["Texts", "text_of", "texts_of"]

_encoder = msgspec.json.Encoder()
_ESCAPED = r'["\\\x00-\x1f]'
_ESCAPED_BYTES = b'"\\' + bytes(range(0x20))
_SMALL, _LARGE = 1e-4, 1e10
_STRINGS = {pa.string(), pa.large_string(), pa.string_view()}
_YEARS = (-719_162, 2_932_896)  # first and last day that Python has, from 1970
_TIMES: Mapping[pa.DataType, tuple[int, int]] = {
    pa.date32(): _YEARS,
    **{
        pa.timestamp(unit): (_YEARS[0] * 86_400 * parts, (_YEARS[1] + 1) * 86_400 * parts - 1)
        for unit, parts in (("s", 1), ("ms", 1_000), ("us", 1_000_000))
    },
}


@attrs.frozen
class Texts:
    """Of each value: null where the value is, and at `refused`."""

    array: pa.Array
    """Of type `string`."""
    quoted: bool = False
    """The texts stand between two quotes that are left out."""
    refused: pa.Array | None = None
    """True where a value has no JSON form; `None` for nowhere."""


def text_of(array: pa.Array) -> memoryview:
    """The bytes of all texts, one behind the other."""
    data = array.buffers()[2]
    if data is None or not len(array):
        return memoryview(b"")
    ends = memoryview(array.buffers()[1]).cast("i")
    return memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]]


def texts_of(column: pa.Array, nan: NanPolicy, *, escaped: bool) -> Texts:
    """JSON texts; those of strings without `escaped` as they are. `pa.ArrowException` beyond 2 GiB of text."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = column.type
    if kind in _STRINGS:
        return _strings(column, nan, escaped=escaped)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return Texts(column.cast(pa.string()))
    if pa.types.is_float64(kind) or pa.types.is_float32(kind):
        return _floats(column.cast(pa.float64()), nan)
    if kind in _TIMES and _in_python(column):
        return Texts(_dates(column) if kind == pa.date32() else _datetimes(column), quoted=True)
    return _by_value(column, nan, escaped=escaped)


def _strings(column: pa.Array, nan: NanPolicy, *, escaped: bool) -> Texts:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:  # not UTF-8
        return _by_value(column, nan, escaped=escaped)
    texts = column if column.type == pa.string() else column.cast(pa.string())
    if escaped:
        text = bytes(text_of(texts))
        if len(text.translate(None, _ESCAPED_BYTES)) != len(text):
            needs = pc.match_substring_regex(texts, _ESCAPED)
            made = [None if text is None else text[1:-1] for text in _json(texts.filter(needs).to_pylist())]
            texts = pc.replace_with_mask(texts, needs, pa.array(made, pa.string()))
    return Texts(texts, quoted=True)


def _floats(column: pa.Array, nan: NanPolicy) -> Texts:
    """Arrow leaves the `.0` of whole numbers away, and changes to exponents elsewhere than msgspec."""
    size = pc.abs(column)
    usual = pc.less(size, _LARGE)
    whole = pc.and_(pc.equal(pc.trunc(column), column), usual)
    texts = column.cast(pa.string())
    if pc.any(whole).as_py():
        texts = pc.replace_with_mask(
            texts,
            pc.fill_null(whole, fill_value=False),
            pc.binary_join_element_wise(texts.filter(whole), ".0", ""),
        )
    alike = pc.or_(whole, pc.and_(pc.greater_equal(size, _SMALL), usual))
    others = pc.fill_null(pc.invert(alike), fill_value=False)
    if not pc.any(others).as_py():
        return Texts(texts)
    made = [_null_as_none(text) for text in _json(column.filter(others).to_pylist())]
    texts = pc.replace_with_mask(texts, others, pa.array(made, pa.string()))
    refused = pc.fill_null(pc.invert(pc.is_finite(column)), fill_value=False)
    return Texts(texts, refused=refused if nan == "reject" and pc.any(refused).as_py() else None)


def _in_python(column: pa.Array) -> bool:
    """Whether all are of the years that Python has."""
    least, greatest = _TIMES[column.type]
    ends = pc.min_max(column.view(pa.int32() if column.type == pa.date32() else pa.int64())).as_py()
    return ends["min"] is None or (ends["min"] >= least and ends["max"] <= greatest)


def _dates(column: pa.Array) -> pa.Array:
    return column.cast(pa.string())


def _datetimes(column: pa.Array) -> pa.Array:
    """Six digits of the second's fraction, or none where it is 0."""
    times = column.cast(pa.timestamp("us"))
    texts = pc.binary_replace_slice(times.cast(pa.string()), 10, 11, "T")
    seconds = times.cast(pa.timestamp("s"), safe=False)
    is_whole = pc.equal(seconds.cast(pa.timestamp("us")), times)
    return pc.if_else(is_whole, pc.utf8_slice_codeunits(texts, 0, 19), texts)


def _by_value(column: pa.Array, nan: NanPolicy, *, escaped: bool) -> Texts:
    """Each value from Python, as `to_pylist` gives it."""
    texts: list[str | None] = []
    refused: list[bool] = []
    for value in column:
        try:
            texts.append(_text(value.as_py(), nan, escaped=escaped))
        except Exception:  # noqa: BLE001 - whatever it is, the record's own encoding raises it again
            texts.append(None)
            refused.append(True)
        else:
            refused.append(False)
    return Texts(pa.array(texts, pa.string()), refused=pa.array(refused) if any(refused) else None)


def _text(value: Any, nan: NanPolicy, *, escaped: bool) -> str | None:
    text = _encoder.encode(value)
    if nan == "reject" and b"null" in text:
        refuse_non_finite(msgspec.to_builtins(value))
    if not escaped and text.startswith(b'"'):
        return msgspec.json.decode(text, type=str)
    return _null_as_none(text.decode())


def _json(values: list[Any]) -> list[str]:
    return _encoder.encode_lines(values).decode().split("\n")[:-1]


def _null_as_none(text: str) -> str | None:
    return None if text == "null" else text
