"""Values of the types that records are made of: the usual ones, and at the borders of what parts can hold."""

import datetime
import decimal
import math
import uuid
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from agora.records import Json

__all__ = ["floats", "integers", "json_values", "rows_of", "scalars", "texts"]

_SIXTY_FOUR_BITS = (-(2**63), 2**63 - 1)
_AWKWARD = [
    "", " ", " a ", "a,b", "a;b", '"', '5" pipe', '""', "'", "a\nb", "a\rb", "a\r\nb", "\n", "\t", "\x00", "\x1f",
    "\x7f", "\\", "\\n", "/", "\u2028", "\x85", "\x0b", "\ufeffx", "é", "e\u0301", "𝄞", "007", "1e16", "NA", "null",
    "true", "-", "=1+1", "{}", "[", ":",
]  # fmt: skip
_NUMBERS = [1e16, 1e10, 1e-4, 1e-5, 1e-7, 0.5, 0.1, -0.0, 5e-324, 1.7976931348623157e308]
_INTEGERS = [2**31 - 1, 2**31, 2**53 + 1, *_SIXTY_FOUR_BITS]
_BEYOND = [2**63, 2**64, -(2**63) - 1, 10**30]


def texts(*, max_size: int = 6, surrogates: bool = False) -> st.SearchStrategy[str]:
    """Yields text, some of which is hard to keep: quotes, delimiters, line ends, blanks, NUL, a BOM, other alphabets,
    `007`, `NA`. `surrogates`: also lone surrogates, which no file can hold. Shrinks towards `""`."""
    plain = st.text(st.characters(codec="utf-8"), max_size=max_size)
    awkward = st.sampled_from([text for text in _AWKWARD if len(text) <= max_size])
    found = plain | awkward
    if surrogates and max_size:
        found |= st.sampled_from(["\ud800", "\udfff", "\udcff"]) | st.text(
            st.characters(codec=None), max_size=max_size
        )
    return found


def floats(*, extreme: bool = False) -> st.SearchStrategy[float]:
    """Yields floats, near the places where their text changes its form, too; with `extreme` also NaN and infinities.
    Shrinks towards 0.0."""
    finite = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(_NUMBERS)
    finite |= st.integers(-(2**60), 2**60).map(float)
    return finite | st.sampled_from([math.nan, math.inf, -math.inf]) if extreme else finite


def integers(*, extreme: bool = False) -> st.SearchStrategy[int]:
    """Yields integers of 64 bits, the borders too; with `extreme` also longer ones. Shrinks towards 0."""
    within = st.integers(-9, 9) | st.integers(*_SIXTY_FOUR_BITS) | st.sampled_from(_INTEGERS)
    return within | st.integers() | st.sampled_from(_BEYOND) if extreme else within


def decimals(*, extreme: bool = False) -> st.SearchStrategy[decimal.Decimal]:
    """Yields decimal numbers, trailing zeros too; with `extreme` also NaN and infinities. Shrinks towards 0."""
    digits = st.builds(
        lambda number, places: decimal.Decimal(number).scaleb(-places),
        st.integers(-(10**12), 10**12),
        st.integers(0, 4),
    )
    if not extreme:
        return digits
    return digits | st.decimals() | st.just(decimal.Decimal("NaN"))


def scalars(*, extreme: bool = False) -> Mapping[type, st.SearchStrategy[Any]]:
    """Values by type. Without `extreme` those that every part that knows the type gives back as they were."""
    zoned = st.datetimes() | st.datetimes(timezones=st.just(datetime.UTC))
    times = st.datetimes().map(lambda time: time.replace(fold=0)) | st.datetimes().map(
        lambda time: time.replace(microsecond=0, fold=0)
    )
    return {
        type(None): st.none(),
        bool: st.booleans(),
        int: integers(extreme=extreme),
        float: floats(extreme=extreme),
        str: texts(surrogates=extreme),
        bytes: st.binary(max_size=6) | st.sampled_from([b"\x00", b"\xff", b"a\n"]),
        decimal.Decimal: decimals(extreme=extreme),
        datetime.date: st.dates(),
        datetime.datetime: zoned if extreme else times,
        datetime.time: st.times() if extreme else st.times().map(lambda time: time.replace(fold=0)),
        datetime.timedelta: st.timedeltas(),
        uuid.UUID: st.uuids(),
    }


def json_values(*, max_leaves: int = 6, extreme: bool = False) -> st.SearchStrategy[Json]:
    """Yields JSON data, nested: what `json.loads` gives. With `extreme` also NaN, infinities, longer integers and lone
    surrogates, which not all parts can hold. Shrinks towards `None`."""
    leaf: st.SearchStrategy[Json] = (
        st.none()
        | st.booleans()
        | integers(extreme=extreme)
        | floats(extreme=extreme)
        | texts(surrogates=extreme)
    )
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(max_size=3), inner, max_size=3),
        max_leaves=max_leaves,
    )


def rows_of(fields: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Yields dicts with these fields, in this order, as the records of one source have it (`fixed_dictionaries` has
    any). Shrinks as the values do."""
    names = list(fields)
    return st.tuples(*fields.values()).map(lambda values: dict(zip(names, values, strict=True)))
