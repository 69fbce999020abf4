"""SQL text to a tree, by sqlglot's parser of DuckDB's dialect.

The dialect here knows no functions by name, so each one arrives as it was written: what sqlglot makes of a
function (another name, another order of arguments) differs between its releases, its syntax doesn't.
"""

import datetime
import difflib
import re
from collections.abc import Callable
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from agora.errors import ConfigError
from agora.expressions.functions import FUNCTIONS
from agora.expressions.tree import Call, Case, Cast, Column, Literal, Node, SqlType

__all__ = ["parse"]

_DEEPEST = 100
_AGGREGATES = frozenset(
    [
        "sum", "avg", "mean", "min", "max", "count", "any_value", "first", "last", "stddev", "variance", "median",
        "mode", "string_agg", "listagg", "group_concat", "array_agg", "list", "bool_and", "bool_or", "quantile",
    ]
)  # fmt: skip
_WINDOWS = frozenset({"row_number", "rank", "dense_rank", "ntile", "lag", "lead", "nth_value"})
_CHANGING = frozenset({"now", "current_date", "current_timestamp", "today", "random", "uuid"})
_OTHER_NAMES = {
    "ifnull": "coalesce", "nvl": "coalesce", "len": "length", "char_length": "length", "instr": "strpos",
    "startswith": "starts_with", "endswith": "ends_with", "lcase": "lower", "ucase": "upper",
    "regexp_like": "regexp_matches", "max": "greatest", "min": "least",
}  # fmt: skip
_SYNTAX = ("CAST", "TRY_CAST", "EXTRACT", "TRIM", "SUBSTRING", "POSITION")


class _Dialect(DuckDB):
    class Parser(DuckDB.Parser):  # type: ignore[valid-type,misc]  # sqlglot makes it a variable
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: DuckDB.Parser.FUNCTION_PARSERS[name] for name in _SYNTAX
        }


_BINARY: dict[type[exp.Expr], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%", exp.EQ: "=", exp.NEQ: "<>",
    exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=", exp.NullSafeNEQ: "is distinct",
}  # fmt: skip
_TYPES = {
    "TINYINT": SqlType("TINYINT", "integer", bits=8),
    "SMALLINT": SqlType("SMALLINT", "integer", bits=16),
    "INT": SqlType("INT", "integer", bits=32),
    "BIGINT": SqlType("BIGINT", "integer"),
    "DOUBLE": SqlType("DOUBLE", "double"),
    "FLOAT": SqlType("DOUBLE", "double"),
    "TEXT": SqlType("TEXT", "text"),
    "VARCHAR": SqlType("TEXT", "text"),
    "BOOLEAN": SqlType("BOOLEAN", "boolean"),
    "DATE": SqlType("DATE", "date"),
    "TIME": SqlType("TIME", "time"),
    "TIMESTAMP": SqlType("TIMESTAMP", "timestamp"),
    "TIMESTAMPNTZ": SqlType("TIMESTAMP", "timestamp"),
    "TIMESTAMPTZ": SqlType("TIMESTAMPTZ", "timestamp"),
    "VARBINARY": SqlType("BLOB", "blob"),
    "BLOB": SqlType("BLOB", "blob"),
}
_LENGTHS = {
    "WEEK": "weeks",
    "DAY": "days",
    "HOUR": "hours",
    "MINUTE": "minutes",
    "SECOND": "seconds",
    "MILLISECOND": "milliseconds",
    "MICROSECOND": "microseconds",
}


class _RefusedError(Exception):
    """With the node of sqlglot's tree where it is."""

    def __init__(self, message: str, node: exp.Expr) -> None:
        super().__init__(message)
        self.node = node


def parse(text: str) -> Node:
    """`ConfigError` that shows the place in the text, for what isn't SQL or isn't supported."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"expression: {text!r} is no SQL expression")
    try:
        statements = sqlglot.parse(text, dialect=_Dialect)
    except sqlglot.ParseError as error:
        found = error.errors[0] if error.errors else {}
        offset = len(found.get("start_context") or "") if (found.get("line") == 1) else None
        raise ConfigError(_told(text, _plainly(found, error), offset)) from None
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise ConfigError(_told(text, f"can't be parsed: {str(error).splitlines()[0]}", None)) from None
    if len(statements) != 1 or statements[0] is None:
        raise ConfigError(_told(text, "one expression is needed", None))
    try:
        return _Builder().node(statements[0])
    except _RefusedError as refused:
        raise ConfigError(_told(text, str(refused), _offset(refused.node))) from None


def _plainly(found: Any, error: Exception) -> str:
    description = str(found.get("description") or error).splitlines()[0]
    if description.startswith("Required keyword"):
        return "an operand is missing"
    highlight = found.get("highlight")
    return (
        f"unexpected {highlight!r}"
        if description.startswith("Invalid expression") and highlight
        else description
    )


def _offset(node: exp.Expr) -> int | None:
    """Where a node begins: the first place that anything in it has."""
    places = [found.meta["start"] for found in node.walk() if "start" in found.meta]
    return min(places, default=None)


def _told(text: str, problem: str, offset: int | None) -> str:
    shown = f"expression {text!r}: {problem}"
    if offset is None or "\n" in text:
        return shown
    return f"{shown}\n    {text}\n    {' ' * offset}^"


def _sql(node: exp.Expr) -> str:
    return node.sql(dialect=_Dialect, normalize_functions=False, comments=False)


class _Builder:
    def __init__(self) -> None:
        self._depth = 0

    def node(self, node: exp.Expr) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(f"nested deeper than {_DEEPEST} levels", node)
        try:
            return self._build(node)
        finally:
            self._depth -= 1

    def _build(self, node: exp.Expr) -> Node:
        build = _BUILDERS.get(type(node))
        if build is not None:
            return build(self, node)
        name = _BINARY.get(type(node))
        if name is not None:
            return Call(name, (self.node(node.this), self.node(node.expression)), _sql(node))
        raise _RefusedError(_unsupported(node), node)

    def paren(self, node: exp.Expr) -> Node:
        return self.node(node.this)

    def column(self, node: exp.Column) -> Node:
        parts = node.parts
        if any(not isinstance(part, exp.Identifier) for part in parts):
            raise _RefusedError("* isn't supported: name the columns", node)
        return Column(tuple(part.name for part in parts), _sql(node))

    def dot(self, node: exp.Dot) -> Node:
        parts = [part for part in node.parts if isinstance(part, exp.Identifier)]
        if len(parts) != len(node.parts):
            raise _RefusedError("only fields of columns can be taken", node)
        return Column(tuple(part.name for part in parts), _sql(node))

    def literal(self, node: exp.Expr) -> Node:
        return Literal(node.this if node.is_string else _number(node.this, node), _sql(node))

    def boolean(self, node: exp.Expr) -> Node:
        return Literal(node.this, _sql(node))

    def null(self, node: exp.Expr) -> Node:
        return Literal(None, _sql(node))

    def negate(self, node: exp.Expr) -> Node:
        if isinstance(node.this, exp.Literal) and not node.this.is_string:
            return Literal(_number(f"-{node.this.this}", node), _sql(node))
        return Call("negate", (self.node(node.this),), _sql(node))

    def junction(self, node: exp.Expr) -> Node:
        """Chains of one kind become one node, however long."""
        parts = [self.node(part) for part in node.flatten(unnest=False)]
        return Call("and" if isinstance(node, exp.And) else "or", tuple(parts), _sql(node))

    def negation(self, node: exp.Expr) -> Node:
        return Call("not", (self.node(node.this),), _sql(node))

    def is_(self, node: exp.Expr) -> Node:
        tested = node.expression
        if isinstance(tested, exp.Null):
            return Call("is null", (self.node(node.this),), _sql(node))
        if isinstance(tested, exp.Boolean):
            return Call("is true" if tested.this else "is false", (self.node(node.this),), _sql(node))
        raise _RefusedError("IS takes NULL, TRUE, FALSE or DISTINCT FROM", node)

    def same(self, node: exp.Expr) -> Node:
        distinct = Call("is distinct", (self.node(node.this), self.node(node.expression)), _sql(node))
        return Call("not", (distinct,), _sql(node))

    def among(self, node: exp.Expr) -> Node:
        if not node.expressions:
            raise _RefusedError("IN takes a list of values; subqueries aren't supported", node)
        operands = (self.node(node.this), *(self.node(part) for part in node.expressions))
        return Call("in", operands, _sql(node))

    def between(self, node: exp.Expr) -> Node:
        if node.args.get("symmetric"):
            raise _RefusedError("BETWEEN SYMMETRIC isn't supported", node)
        operand, sql = self.node(node.this), _sql(node)
        low, high = self.node(node.args["low"]), self.node(node.args["high"])
        return Call("and", (Call(">=", (operand, low), sql), Call("<=", (operand, high), sql)), sql)

    def like(self, node: exp.Expr, escape: exp.Expr | None = None) -> Node:
        operands = [node.this, node.expression] + ([] if escape is None else [escape])
        name = "ilike" if isinstance(node, exp.ILike) else "like"
        found = Call(name, tuple(self.node(operand) for operand in operands), _sql(node))
        return Call("not", (found,), found.sql) if node.args.get("negate") else found

    def escape(self, node: exp.Expr) -> Node:
        if not isinstance(node.this, exp.Like | exp.ILike):
            raise _RefusedError("ESCAPE goes with LIKE", node)
        return self.like(node.this, node.expression)

    def glue(self, node: exp.Expr) -> Node:
        return Call("||", (self.node(node.this), self.node(node.expression)), _sql(node))

    def case(self, node: exp.Expr) -> Node:
        sql = _sql(node)
        operand = None if node.this is None else self.node(node.this)
        branches = []
        for branch in node.args["ifs"]:
            condition = self.node(branch.this)
            if operand is not None:
                condition = Call("=", (operand, condition), f"{operand.sql} = {condition.sql}")
            branches.append((condition, self.node(branch.args["true"])))
        return Case(tuple(branches), self._default(node.args.get("default")), sql)

    def if_(self, node: exp.Expr) -> Node:
        branch = (self.node(node.this), self.node(node.args["true"]))
        return Case((branch,), self._default(node.args.get("false")), _sql(node))

    def _default(self, node: exp.Expr | None) -> Node:
        return Literal(None, "NULL") if node is None else self.node(node)

    def cast(self, node: exp.Expr) -> Node:
        if node.args.get("format") or node.args.get("default"):
            raise _RefusedError("CAST takes no FORMAT or DEFAULT", node)
        operand = self.node(node.this)
        return Cast(operand, _type(node.args["to"], node), isinstance(node, exp.TryCast), _sql(node))

    def interval(self, node: exp.Expr) -> Node:
        unit = node.args.get("unit")
        name = str(unit.name if unit is not None else "").upper().removesuffix("S")
        if name not in _LENGTHS:
            known = ", ".join(_LENGTHS)
            raise _RefusedError(
                f"INTERVAL takes one number and one of {known} (a month has no fixed length)", node
            )
        try:
            length = datetime.timedelta(**{_LENGTHS[name]: float(node.this.name)})
        except (ValueError, OverflowError, AttributeError):
            raise _RefusedError("INTERVAL takes a number as a constant", node) from None
        return Literal(length, _sql(node))

    def extract(self, node: exp.Expr) -> Node:
        return self._function(node.this.name, (self.node(node.expression),), node)

    def trim(self, node: exp.Expr) -> Node:
        name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position")), "trim")
        characters = node.args.get("expression")
        operands = [node.this] + ([] if characters is None else [characters])
        return self._function(name, tuple(map(self.node, operands)), node)

    def substring(self, node: exp.Expr) -> Node:
        operands = [node.this, node.args.get("start"), node.args.get("length")]
        given = [operand for operand in operands if operand is not None]
        return self._function("substring", tuple(map(self.node, given)), node)

    def position(self, node: exp.Expr) -> Node:
        return self._function("strpos", (self.node(node.this), self.node(node.args["substr"])), node)

    def function(self, node: exp.Expr) -> Node:
        return self._function(str(node.this), tuple(map(self.node, node.expressions)), node)

    def _function(self, written: str, operands: tuple[Node, ...], node: exp.Expr) -> Node:
        name, sql = written.lower(), _sql(node)
        if name == "if" and len(operands) == 3:
            return Case(((operands[0], operands[1]),), operands[2], sql)
        if name == "coalesce":
            least, most = 1, None
        elif name in FUNCTIONS:
            least, most = FUNCTIONS[name].least, FUNCTIONS[name].most
        else:
            raise _RefusedError(_unknown(written), node)
        if len(operands) < least or (most is not None and len(operands) > most):
            wanted = f"{least}" if least == most else f"{least} to {most}" if most else f"at least {least}"
            raise _RefusedError(f"{written} takes {wanted} argument(s), not {len(operands)}", node)
        if name in {"ltrim", "rtrim", "trim"} and len(operands) == 1:
            operands = (*operands, Literal(" ", "' '"))
        return Call(name, operands, sql)


_BUILDERS: dict[type[exp.Expr], Callable[[_Builder, Any], Node]] = {
    exp.Paren: _Builder.paren,
    exp.Column: _Builder.column,
    exp.Dot: _Builder.dot,
    exp.Literal: _Builder.literal,
    exp.Boolean: _Builder.boolean,
    exp.Null: _Builder.null,
    exp.Neg: _Builder.negate,
    exp.And: _Builder.junction,
    exp.Or: _Builder.junction,
    exp.Not: _Builder.negation,
    exp.Is: _Builder.is_,
    exp.NullSafeEQ: _Builder.same,
    exp.In: _Builder.among,
    exp.Between: _Builder.between,
    exp.Like: _Builder.like,
    exp.ILike: _Builder.like,
    exp.Escape: _Builder.escape,
    exp.DPipe: _Builder.glue,
    exp.Case: _Builder.case,
    exp.If: _Builder.if_,
    exp.Cast: _Builder.cast,
    exp.TryCast: _Builder.cast,
    exp.Interval: _Builder.interval,
    exp.Extract: _Builder.extract,
    exp.Trim: _Builder.trim,
    exp.Substring: _Builder.substring,
    exp.StrPosition: _Builder.position,
    exp.Anonymous: _Builder.function,
}


def _number(text: str, node: exp.Expr) -> int | float:
    if re.fullmatch(r"-?[0-9]+", text):
        value = int(text)
        if not -(2**63) <= value < 2**63:
            raise _RefusedError(f"{text} doesn't fit in 64 bits", node)
        return value
    try:
        return float(text)
    except ValueError:
        raise _RefusedError(f"{text} is no number", node) from None


def _type(of: exp.Expr, node: exp.Expr) -> SqlType:
    name = str(getattr(of.this, "value", of.this)).upper()
    if name == "DECIMAL":
        given = [int(part.name) for part in of.expressions]
        digits, scale = (*given, 0)[:2] if given else (18, 3)
        if not (1 <= digits <= 38 and 0 <= scale <= digits):
            raise _RefusedError(
                "DECIMAL(digits, scale) takes 1 to 38 digits and no more after the point", node
            )
        return SqlType(f"DECIMAL({digits}, {scale})", "decimal", digits=digits, scale=scale)
    if name not in _TYPES or (of.expressions and _TYPES[name].kind != "text"):
        raise _RefusedError(f"the type {_sql(of)} isn't known; known are {', '.join(_KNOWN_TYPES)}", node)
    return _TYPES[name]


_KNOWN_TYPES = sorted({one.name for one in _TYPES.values()} | {"DECIMAL"})


def _unknown(written: str) -> str:
    name = written.lower()
    if name in _WINDOWS:
        return f"{written} is a window function; an expression sees one row"
    if name in _AGGREGATES:
        return f"{written} is an aggregate; an expression sees one row{_meant(name)}"
    if name in _CHANGING:
        return f"{written} isn't supported: an expression gives the same for the same row, at any time"
    return f"the function {written} isn't known{_meant(name)}"


def _meant(name: str) -> str:
    known = [*FUNCTIONS, "coalesce"]
    near = [_OTHER_NAMES[name]] if name in _OTHER_NAMES else difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _unsupported(node: exp.Expr) -> str:
    if isinstance(node, exp.Window):
        return "window functions aren't supported: an expression sees one row"
    if isinstance(node, exp.Query | exp.Subquery | exp.Exists):
        return "queries aren't supported: write an expression over the columns of one row"
    if isinstance(node, exp.Alias):
        return f"unexpected {node.alias!r}"
    return f"{_sql(node)!r} isn't supported"
