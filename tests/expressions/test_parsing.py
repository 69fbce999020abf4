"""What can't be evaluated is refused when the expression is parsed, with its place."""

import subprocess
import sys

import pytest

from agora.errors import ConfigError
from agora.expressions import Expression


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no SQL expression"),
        ("a +", "an operand is missing"),
        ("a b", "unexpected 'b'"),
        ("a > 1 )", "unexpected"),
        ("a; b", "one expression is needed"),
        ("'open", "can't be parsed"),
        ("lowr(a)", "the function lowr isn't known; did you mean lower?"),
        ("ifnull(a, 1)", "did you mean coalesce?"),
        ("foo(a)", "the function foo isn't known"),
        ("lower(a, b)", "lower takes 1 argument(s), not 2"),
        ("sum(a) > 1", "sum is an aggregate"),
        ("max(a, b)", "did you mean greatest?"),
        ("row_number()", "row_number is a window function"),
        ("sum(a) OVER (ORDER BY b)", "window functions aren't supported"),
        ("(SELECT 1)", "queries aren't supported"),
        ("a IN (SELECT 1)", "subqueries aren't supported"),
        ("EXISTS (SELECT 1)", "queries aren't supported"),
        ("SELECT a", "queries aren't supported"),
        ("now()", "gives the same for the same row"),
        ("current_date", "isn't supported"),
        ("*", "isn't supported"),
        ("a.*", "name the columns"),
        ("a[1]", "isn't supported"),
        ("0x10", "unexpected 'x10'"),
        ("9223372036854775808", "doesn't fit in 64 bits"),
        ("CAST(a AS foo)", "the type foo isn't known"),
        ("CAST(a AS INT[])", "isn't known"),
        ("CAST(a AS DECIMAL(40, 2))", "1 to 38 digits"),
        ("a + INTERVAL '1 month'", "a month has no fixed length"),
        ("1 / 0", "1 / 0: division by zero"),
        ("a > 1 / 0", "1 / 0: division by zero"),
        ("'a' + 1", "use CAST"),
        ("DATE '2026-02-30'", "no date"),
        ("(" * 300 + "a" + ")" * 300, "expression"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(text, said):
    with pytest.raises(ConfigError) as caught:
        Expression.parse(text)
    assert said in str(caught.value)
    assert repr(text) in str(caught.value)


def test_the_place_is_shown_below_the_text():
    with pytest.raises(ConfigError) as caught:
        Expression.parse("amount > 1 AND lowr(name) = 'x'")
    _, text, caret = str(caught.value).splitlines()
    assert text[caret.index("^") :].startswith("lowr")


@pytest.mark.parametrize(
    "text", ["a + 1", "length(a)", "'x'", "coalesce(a, 1)", "CASE WHEN a THEN 1 END", "a::INT"]
)
def test_what_is_no_condition_is_refused_where_one_is_needed(text):
    Expression.parse(text)
    with pytest.raises(ConfigError, match="a condition"):
        Expression.parse(text, condition=True)


@pytest.mark.parametrize("text", ["a > 1", "a", "NULL", "NOT a", "a AND b", "contains(a, 'x')", "a::BOOLEAN"])
def test_what_may_be_a_condition_is_taken(text):
    assert Expression.parse(text, condition=True) == Expression.parse(text)


def test_columns_are_named_in_the_order_in_which_they_appear():
    expression = Expression.parse('"two words" > b.c AND Amount < b.d OR "two words" = 1')
    assert expression.columns == ("two words", "b", "Amount")
    assert Expression.parse("1 + 1").columns == ()


def test_expressions_are_equal_by_their_text():
    assert Expression.parse("a > 1") == Expression.parse("a > 1")
    assert Expression.parse("a > 1") != Expression.parse("a >  1")
    assert len({Expression.parse("a"), Expression.parse("a")}) == 1


def test_importing_expressions_imports_neither_sqlglot_nor_pyarrow():
    code = "import sys, agora.expressions; print({'sqlglot', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_long_chain_is_no_deep_tree():
    text = " AND ".join(f"a <> {number}" for number in range(300))
    assert Expression.parse(text).over_rows([{"a": 1}, {"a": -1}]).values == [False, True]
