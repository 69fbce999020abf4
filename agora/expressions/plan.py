"""A plan: an expression compiled for the types of its columns.

Every plan can be evaluated in two ways. `run` works on whole columns and raises when any row fails, without
looking for it: that is what good data costs. Then `careful` does it again with a mask of the rows whose value
is needed: it finds the failing rows and goes on without them, and a branch of a CASE is asked only for its own.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import attrs
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "FAILURES",
    "Apply",
    "Columns",
    "Constant",
    "Errors",
    "Failing",
    "Input",
    "Kernel",
    "Mask",
    "Plan",
    "Values",
    "both",
    "by_value",
    "except_for",
    "python_values",
    "whole",
]

Values: TypeAlias = Any
"""A `pyarrow.Array`, or a `pyarrow.Scalar` where every row has the same value."""

Mask: TypeAlias = Any
"""A boolean array without nulls, a value a row; `None` means all rows."""

Errors: TypeAlias = dict[int, Exception]

FAILURES = (pa.ArrowException, ValueError, TypeError, ArithmeticError, LookupError)
_DATA_ERRORS = (ZeroDivisionError, OverflowError, LookupError, TypeError)
_SHOWN_CHARACTERS = 80


@attrs.frozen
class Columns:
    """The columns that a plan needs, in its order, and the number of rows."""

    arrays: Sequence[Values]
    length: int


class Plan(Protocol):
    @property
    def type(self) -> pa.DataType: ...

    def run(self, columns: Columns) -> Values:
        """Raises one of `FAILURES` if any row fails."""

    def careful(self, columns: Columns, needed: Mask) -> tuple[Values, Errors]:
        """Values (of rows that fail or aren't needed: anything) and the errors of needed rows."""


@attrs.frozen
class Kernel:
    """What an operator or function does with columns of certain types; NULL in, NULL out.

    `run` raises one of `FAILURES` if any row fails. `problem` says of the Python values of one row why it does
    (`None`: it doesn't). `suspects`: a mask of rows among which the failing ones are, found without Python.
    """

    type: pa.DataType
    run: Callable[..., Values]
    problem: Callable[..., Exception | None] | None = None
    suspects: Callable[..., Any] | None = None


@attrs.frozen
class Constant:
    scalar: Any

    @property
    def type(self) -> pa.DataType:
        return self.scalar.type

    def run(self, _columns: Columns) -> Values:
        return self.scalar

    def careful(self, _columns: Columns, _needed: Mask) -> tuple[Values, Errors]:
        return self.scalar, {}


@attrs.frozen
class Input:
    """The column at `index`."""

    type: pa.DataType
    index: int

    def run(self, columns: Columns) -> Values:
        return columns.arrays[self.index]

    def careful(self, columns: Columns, _needed: Mask) -> tuple[Values, Errors]:
        return columns.arrays[self.index], {}


@attrs.frozen
class Failing:
    """Stands where types don't fit: every row that needs it fails."""

    message: str
    type: pa.DataType = attrs.field(factory=pa.null)

    def run(self, _columns: Columns) -> Values:
        raise TypeError(self.message)

    def careful(self, columns: Columns, needed: Mask) -> tuple[Values, Errors]:
        rows = range(columns.length) if needed is None else _indices(needed)
        return pa.nulls(columns.length), {row: TypeError(self.message) for row in rows}


@attrs.frozen
class Apply:
    """A kernel applied to operands; `trying`: a row on which the kernel itself fails is NULL."""

    kernel: Kernel
    operands: tuple[Plan, ...]
    sql: str
    trying: bool = False

    @property
    def type(self) -> pa.DataType:
        return self.kernel.type

    def run(self, columns: Columns) -> Values:
        values = [operand.run(columns) for operand in self.operands]
        if not self.trying:
            return self.kernel.run(*values)
        try:
            return self.kernel.run(*values)
        except FAILURES:
            return self._without_failing(values, columns.length)[0]

    def careful(self, columns: Columns, needed: Mask) -> tuple[Values, Errors]:
        values: list[Values] = []
        errors: Errors = {}
        for operand in self.operands:
            value, found = operand.careful(columns, needed)
            values.append(value)
            errors |= found
            needed = except_for(needed, found, columns.length)  # of two errors the left one is told
        values = _nulled(values, needed)
        try:
            return self.kernel.run(*values), errors
        except FAILURES:
            result, failing = self._without_failing(values, columns.length)
            return result, errors if self.trying else errors | failing

    def _without_failing(self, values: list[Values], length: int) -> tuple[Values, Errors]:
        """The kernel's result without the rows on which it fails, and those."""
        errors: Errors = {}
        for candidates in self._candidates(values):
            errors |= self._problems(values, candidates)
            values = _nulled(values, except_for(None, errors, length))
            try:
                return self.kernel.run(*values), errors
            except FAILURES:  # the next candidates
                continue
        # What Python's rules don't see, but Arrow's do: halved until the culprits are alone.
        pieces: list[Values] = [pa.nulls(0, self.type)]
        pending = [(0, length)] if length else []
        while pending:
            start, stop = pending.pop()
            try:
                pieces.append(whole(self.kernel.run(*_sliced(values, start, stop)), stop - start))
            except FAILURES as error:
                if stop - start == 1:
                    errors[start] = self._said(error, _row(values, start))
                    pieces.append(pa.nulls(1, self.type))
                else:
                    middle = (start + stop) // 2
                    pending += [(middle, stop), (start, middle)]
        return pa.concat_arrays(pieces), errors

    def _candidates(self, values: list[Values]) -> Iterator[list[int] | None]:
        """Rows to look at, from the likely ones to all (`None`)."""
        if self.kernel.problem is not None:
            if self.kernel.suspects is not None:
                yield _indices(pc.fill_null(self.kernel.suspects(*values), False))
            yield None

    def _problems(self, values: list[Values], rows: list[int] | None) -> Errors:
        problem = self.kernel.problem
        if problem is None:
            return {}
        if rows is not None:
            places = pa.array(rows, pa.int64())
            values = [value if isinstance(value, pa.Scalar) else value.take(places) for value in values]
        found: Errors = {}
        for index, row in enumerate(zip(*python_values(values), strict=True)):
            if None not in row:
                error = problem(*row)
                if error is not None:
                    found[index if rows is None else rows[index]] = self._said(error, row)
        return found

    def _said(self, error: Exception, row: Sequence[Any]) -> Exception:
        """As one of Python's own exceptions, with the expression and its values."""
        shown = ", ".join(map(_shown, row))
        kind = next((one for one in _DATA_ERRORS if isinstance(error, one)), ValueError)
        return kind(f"{self.sql}: {error}: {shown}")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _row(values: Sequence[Values], index: int) -> list[Any]:
    return [(value if isinstance(value, pa.Scalar) else value[index]).as_py() for value in values]


def _indices(mask: Mask) -> list[int]:
    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found


def _sliced(values: Sequence[Values], start: int, stop: int) -> list[Values]:
    return [v if isinstance(v, pa.Scalar) else v.slice(start, stop - start) for v in values]


def _nulled(values: list[Values], needed: Mask) -> list[Values]:
    """One operand NULL in the rows that aren't needed, so that no kernel fails on them."""
    if needed is None:
        return values
    place = next((i for i, value in enumerate(values) if not isinstance(value, pa.Scalar)), 0)
    value = values[place]
    masked = whole(value, len(needed)) if isinstance(value, pa.Scalar) else value
    nothing = pa.scalar(None, masked.type)
    return [*values[:place], pc.if_else(needed, masked, nothing), *values[place + 1 :]]


def whole(values: Values, length: int) -> Any:
    """As an array."""
    return pa.repeat(values, length) if isinstance(values, pa.Scalar) else values


def both(one: Mask, other: Mask) -> Mask:
    if one is None or other is None:
        return other if one is None else one
    return pc.and_(one, other)


def except_for(needed: Mask, errors: Errors, length: int) -> Mask:
    """The rows that are needed and haven't failed."""
    if not errors:
        return needed
    flags = bytearray(b"\x01") * length
    for row in errors:
        flags[row] = 0
    good = pa.Array.from_buffers(pa.uint8(), length, [None, pa.py_buffer(flags)]).cast(pa.bool_())
    return both(needed, good)


def python_values(values: Sequence[Values]) -> list[list[Any]]:
    """A list of Python values each, all of the same length."""
    length = next((len(value) for value in values if not isinstance(value, pa.Scalar)), 1)
    return [
        [value.as_py()] * length if isinstance(value, pa.Scalar) else value.to_pylist() for value in values
    ]


def by_value(of: pa.DataType, fn: Callable[..., Any]) -> Kernel:
    """A kernel that computes each row in Python, for what Arrow has no function for."""

    def run(*values: Values) -> Values:
        rows = zip(*python_values(values), strict=True)
        return pa.array([None if None in row else fn(*row) for row in rows], of)

    def problem(*row: Any) -> Exception | None:
        try:
            pa.array([fn(*row)], of)
        except FAILURES as error:
            return error
        return None

    return Kernel(of, run, problem)
