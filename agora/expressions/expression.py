"""An expression in SQL, compiled once, evaluated over columns or rows.

Both ways have one meaning, and a row's result depends on that row alone, never on where a batch begins. Whatever
fails is an error of that row: no value is lost, or becomes NULL or infinite, without a word. docs/expressions.md
is the reference of the language.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from agora.expressions.tree import Node, columns_of
from agora.records import Record

if TYPE_CHECKING:
    import pyarrow as pa

    from agora.expressions.evaluation import Evaluator

__all__ = ["Evaluated", "Expression", "truth"]


@attrs.frozen
class Evaluated:
    """`values`: one a row, a `pyarrow.Array` over columns, a list of Python values over rows; NULL (`None`) in
    rows that failed. `errors`: the reason of each of those by its index, always a data error (`ValueError`,
    `TypeError`, `LookupError`, `ArithmeticError`)."""

    values: Any
    errors: Mapping[int, Exception]


@attrs.frozen
class Expression:
    """Equal to others by their text. Nothing here is a trio checkpoint; no call does I/O."""

    text: str
    tree: Node = attrs.field(eq=False, repr=False)
    _evaluator: "Evaluator" = attrs.field(eq=False, repr=False)

    @classmethod
    def parse(cls, text: str, *, condition: bool = False) -> "Expression":
        """`ConfigError`, with the place in the text, for what isn't SQL, isn't supported, or fails whatever the
        row (`1 / 0`); with `condition` also for what can't be true or false.

        The first call imports sqlglot and pyarrow.
        """
        from agora.expressions.checking import checked  # noqa: PLC0415 - for who uses expressions only
        from agora.expressions.evaluation import Evaluator  # noqa: PLC0415 - as above
        from agora.expressions.parsing import parse  # noqa: PLC0415 - as above

        tree = parse(text)
        checked(text, tree, condition=condition)
        return cls(text, tree, Evaluator(tree))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs, in the order in which they appear."""
        return tuple(dict.fromkeys(path[0] for path in columns_of(self.tree)))

    def over_columns(self, batch: "pa.RecordBatch") -> Evaluated:
        """One value a row. A column that isn't there is a `LookupError` of every row."""
        return Evaluated(*self._evaluator.over_columns(batch))

    def over_rows(self, rows: Sequence[Record]) -> Evaluated:
        """The same over mappings or objects with attributes: each row as a batch of its own would have it."""
        return Evaluated(*self._evaluator.over_rows(rows))


def truth(evaluated: Evaluated) -> Evaluated:
    """Of the values of a condition, which are true: NULL isn't, nor is a row that failed.

    The values have no NULLs. A value that is neither true, false nor NULL is a `TypeError` of its row.
    """
    if isinstance(evaluated.values, list):
        return _truth_of_rows(evaluated)
    from agora.expressions.evaluation import truth_of_columns  # noqa: PLC0415 - who has columns has loaded pyarrow

    return Evaluated(*truth_of_columns(evaluated.values, evaluated.errors))


def _truth_of_rows(evaluated: Evaluated) -> Evaluated:
    values = evaluated.values
    if {bool}.issuperset(map(type, values)):
        return evaluated
    if not {bool, type(None)}.issuperset(map(type, values)):
        wrong = {
            index: TypeError(f"{value!r} is neither true nor false: a condition is needed")
            for index, value in enumerate(values)
            if value is not None and type(value) is not bool
        }
        evaluated = Evaluated(values, {**evaluated.errors, **wrong})
    return Evaluated([value is True for value in values], evaluated.errors)
