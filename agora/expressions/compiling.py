"""A tree and the types of its columns to a plan. Types that don't fit make a plan that fails in every row that
needs it: in a stream, the next batch may have others.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from agora.expressions.casts import cast_kernel
from agora.expressions.coercion import fold, unified
from agora.expressions.comparison import as_condition
from agora.expressions.functions import FUNCTIONS, OPERATORS
from agora.expressions.lazy import Choose, Coalesce, Junction
from agora.expressions.plan import FAILURES, Apply, Constant, Failing, Input, Plan
from agora.expressions.tree import Call, Case, Cast, Column, Literal, Node

__all__ = ["compile_constant", "compile_node", "known_kind"]


def compile_node(node: Node, inputs: Mapping[tuple[str, ...], Input]) -> Plan:
    """The plan of a node; `inputs` are the columns, with their canonical types."""
    try:
        return _compiled(node, inputs)
    except FAILURES as error:
        text = str(error)
        return Failing(text if text.startswith(node.sql) else f"{node.sql}: {text}")


def compile_constant(node: Node) -> Plan:
    """As `compile_node` for a node without columns; raises what its evaluation raises."""
    return _compiled(node, {})


def _compiled(node: Node, inputs: Mapping[tuple[str, ...], Input]) -> Plan:
    match node:
        case Literal():
            return _constant(node)
        case Column():
            return inputs[node.path]
        case Cast():
            return _cast(node, compile_node(node.operand, inputs))
        case Case():
            return _case(node, inputs)
        case Call(name="and" | "or"):
            return _junction(node, inputs)
        case Call():
            return _called(node, [compile_node(operand, inputs) for operand in node.operands])


def _called(node: Call, operands: list[Plan]) -> Plan:
    if node.name == "coalesce":
        plans = tuple(unified(operands, node.sql))
        return Coalesce(plans[0].type, plans) if len(plans) > 1 else plans[0]
    failing = next((one for one in operands if isinstance(one, Failing)), None)
    if failing is not None:
        return failing
    rule = (OPERATORS.get(node.name) or FUNCTIONS[node.name]).rule
    plan = rule(operands, node.sql)
    return fold(plan) if isinstance(plan, Apply) else plan


def _constant(node: Literal) -> Constant:
    return Constant(pa.scalar(node.value))


def _cast(node: Cast, operand: Plan) -> Plan:
    kernel = cast_kernel(operand.type, node.target)
    return operand if kernel is None else fold(Apply(kernel, (operand,), node.sql, node.trying))


def _junction(node: Call, inputs: Mapping[tuple[str, ...], Input]) -> Plan:
    user = node.name.upper()
    operands = [_condition(operand, inputs, node.sql, user) for operand in node.operands]
    return Junction(node.name == "or", tuple(operands))


def _condition(node: Node, inputs: Mapping[tuple[str, ...], Input], sql: str, user: str) -> Plan:
    plan = compile_node(node, inputs)
    if isinstance(plan, Failing):
        return Failing(plan.message, pa.bool_())
    return as_condition(plan, sql, user)


def _case(node: Case, inputs: Mapping[tuple[str, ...], Input]) -> Plan:
    conditions = [_condition(condition, inputs, node.sql, "CASE") for condition, _ in node.branches]
    values = [compile_node(value, inputs) for _, value in node.branches]
    *values, default = unified([*values, compile_node(node.default, inputs)], node.sql)
    return Choose(default.type, tuple(conditions), tuple(values), default)


_KIND_OF_VALUE = {bool: "boolean", int: "integer", float: "double", str: "text"}
_LIKE_OPERANDS = frozenset({"coalesce", "nullif", "greatest", "least"})


def known_kind(node: Node) -> str | None:
    """The kind of a node's values, where it doesn't depend on the columns."""
    match node:
        case Literal():
            return _KIND_OF_VALUE.get(type(node.value))
        case Cast():
            return node.target.kind
        case Case():
            return _known_of([value for _, value in node.branches] + [node.default])
        case Call():
            return _kind_of_call(node)
        case Column():
            return None


def _known_of(nodes: Sequence[Node]) -> str | None:
    return next(filter(None, map(known_kind, nodes)), None)


def _kind_of_call(node: Call) -> str | None:
    if node.name in {"and", "or"}:
        return "boolean"
    if node.name in _LIKE_OPERANDS:
        return _known_of(node.operands)
    return (OPERATORS.get(node.name) or FUNCTIONS[node.name]).gives
