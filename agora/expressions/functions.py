"""Every operator and function by name: how many operands, what kind it gives, and the rule that compiles it."""

from collections.abc import Mapping

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions import arithmetic, comparison, moments, texts
from agora.expressions.arithmetic import Rule

__all__ = ["FUNCTIONS", "OPERATORS", "Function"]


@attrs.frozen
class Function:
    """`gives`: the kind of its values, `None` where the operands decide. `most`: `None` is any number."""

    rule: Rule
    least: int
    most: int | None
    gives: str | None = None


def _ln_problem(value: float) -> str | None:
    return "a number above 0 is needed" if value <= 0 else None


def _root_problem(value: float) -> str | None:
    return "the square root of a negative number" if value < 0 else None


OPERATORS: Mapping[str, Function] = {
    "+": Function(arithmetic.add, 2, 2, "sum"),
    "-": Function(arithmetic.subtract, 2, 2, "sum"),
    "*": Function(arithmetic.multiply, 2, 2, "number"),
    "/": Function(arithmetic.divide, 2, 2, "double"),
    "%": Function(arithmetic.modulo, 2, 2, "number"),
    "negate": Function(arithmetic.negate, 1, 1, "number"),
    "||": Function(texts.glue, 2, 2, "text"),
    "not": Function(comparison.negated, 1, 1, "boolean"),
    "=": Function(comparison.compare(pc.equal), 2, 2, "boolean"),
    "<>": Function(comparison.compare(pc.not_equal), 2, 2, "boolean"),
    "<": Function(comparison.compare(pc.less), 2, 2, "boolean"),
    "<=": Function(comparison.compare(pc.less_equal), 2, 2, "boolean"),
    ">": Function(comparison.compare(pc.greater), 2, 2, "boolean"),
    ">=": Function(comparison.compare(pc.greater_equal), 2, 2, "boolean"),
    "is null": Function(comparison.is_null, 1, 1, "boolean"),
    "is true": Function(comparison.is_truth(True), 1, 1, "boolean"),
    "is false": Function(comparison.is_truth(False), 1, 1, "boolean"),
    "is distinct": Function(comparison.distinct, 2, 2, "boolean"),
    "in": Function(comparison.is_in, 2, None, "boolean"),
    "like": Function(texts.like(any_case=False), 2, 3, "boolean"),
    "ilike": Function(texts.like(any_case=True), 2, 3, "boolean"),
}
"""What has a syntax of its own."""

_PARTS = {name: Function(moments.part(name), 1, 1, "integer") for name in moments.PARTS}

FUNCTIONS: Mapping[str, Function] = {
    "nullif": Function(comparison.null_if, 2, 2),
    "greatest": Function(comparison.extreme("greatest", pc.greater), 1, None),
    "least": Function(comparison.extreme("least", pc.less), 1, None),
    "abs": Function(arithmetic.absolute, 1, 1, "number"),
    "round": Function(arithmetic.rounded, 1, 2, "number"),
    "floor": Function(arithmetic.to_whole("floor"), 1, 1, "number"),
    "ceil": Function(arithmetic.to_whole("ceil"), 1, 1, "number"),
    "ceiling": Function(arithmetic.to_whole("ceil"), 1, 1, "number"),
    "sqrt": Function(arithmetic.double_function("sqrt", pc.sqrt_checked, _root_problem), 1, 1, "double"),
    "power": Function(arithmetic.power, 2, 2, "double"),
    "pow": Function(arithmetic.power, 2, 2, "double"),
    "ln": Function(arithmetic.double_function("ln", pc.ln_checked, _ln_problem), 1, 1, "double"),
    "exp": Function(arithmetic.double_function("exp", pc.exp, lambda _: None), 1, 1, "double"),
    "mod": Function(arithmetic.modulo, 2, 2, "number"),
    "sign": Function(arithmetic.sign, 1, 1, "number"),
    "lower": Function(texts.of_text(pc.utf8_lower), 1, 1, "text"),
    "upper": Function(texts.of_text(pc.utf8_upper), 1, 1, "text"),
    "trim": Function(texts.trim("trim"), 1, 2, "text"),
    "ltrim": Function(texts.trim("ltrim"), 1, 2, "text"),
    "rtrim": Function(texts.trim("rtrim"), 1, 2, "text"),
    "length": Function(texts.of_text(pc.utf8_length, pa.int64()), 1, 1, "integer"),
    "substring": Function(texts.substring, 2, 3, "text"),
    "substr": Function(texts.substring, 2, 3, "text"),
    "replace": Function(texts.replace, 3, 3, "text"),
    "left": Function(texts.side("left"), 2, 2, "text"),
    "right": Function(texts.side("right"), 2, 2, "text"),
    "concat": Function(texts.concat, 1, None, "text"),
    "starts_with": Function(texts.test(pc.starts_with, str.startswith), 2, 2, "boolean"),
    "ends_with": Function(texts.test(pc.ends_with, str.endswith), 2, 2, "boolean"),
    "contains": Function(texts.test(pc.match_substring, str.__contains__), 2, 2, "boolean"),
    "strpos": Function(texts.find, 2, 2, "integer"),
    "split_part": Function(texts.split_part, 3, 3, "text"),
    "regexp_matches": Function(texts.regexp_matches, 2, 3, "boolean"),
    "regexp_replace": Function(texts.regexp_replace, 3, 4, "text"),
    "lpad": Function(texts.pad("lpad"), 2, 3, "text"),
    "rpad": Function(texts.pad("rpad"), 2, 3, "text"),
    "reverse": Function(texts.of_text(pc.utf8_reverse), 1, 1, "text"),
    "date_trunc": Function(moments.truncated, 2, 2, "timestamp"),
    "date_diff": Function(moments.difference, 3, 3, "integer"),
    "datediff": Function(moments.difference, 3, 3, "integer"),
    **_PARTS,
}
"""What is written `name(operand, …)`. COALESCE, IF and CASE are apart: they don't evaluate all operands."""
