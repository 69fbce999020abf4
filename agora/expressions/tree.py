"""The tree of an expression: what agora evaluates, free of the parser's classes and of Arrow.

sqlglot's tree has a class a function and changes from release to release; this one has five shapes, so that
everything behind the parser is small and stays as it is when the parser is upgraded.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs

__all__ = ["Call", "Case", "Cast", "Column", "Literal", "Node", "SqlType", "children", "columns_of", "walk"]


@attrs.frozen
class SqlType:
    """A type by its SQL name. `bits`: the range that integers are held to. `digits`, `scale`: of decimals."""

    name: str
    kind: str
    bits: int = 64
    digits: int = 38
    scale: int = 0


@attrs.frozen
class Column:
    """A column, or a field inside one (`path` longer than one)."""

    path: tuple[str, ...]
    sql: str


@attrs.frozen
class Literal:
    """A constant, as a Python value."""

    value: Any
    sql: str


@attrs.frozen
class Call:
    """An operator or a function, by its name in `agora.expressions.functions`."""

    name: str
    operands: "tuple[Node, ...]"
    sql: str


@attrs.frozen
class Cast:
    """`CAST(operand AS target)`; `trying`: NULL in place of an error."""

    operand: "Node"
    target: SqlType
    trying: bool
    sql: str


@attrs.frozen
class Case:
    """The value of the first branch whose condition is true."""

    branches: "tuple[tuple[Node, Node], ...]"
    default: "Node"
    sql: str


Node: TypeAlias = Column | Literal | Call | Cast | Case


def children(node: Node) -> "tuple[Node, ...]":
    """What stands directly below a node, from left to right."""
    match node:
        case Call():
            return node.operands
        case Cast():
            return (node.operand,)
        case Case():
            return (*(part for branch in node.branches for part in branch), node.default)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, from left to right."""
    yield node
    for child in children(node):
        yield from walk(child)


def columns_of(node: Node) -> tuple[tuple[str, ...], ...]:
    """The paths of all columns, each once, in the order in which they appear."""
    return tuple(dict.fromkeys(found.path for found in walk(node) if isinstance(found, Column)))
