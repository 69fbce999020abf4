"""What is known to be wrong before any row is seen: told when a pipeline is built."""

from agora.errors import ConfigError
from agora.expressions.compiling import compile_constant, known_kind
from agora.expressions.kinds import NAMES
from agora.expressions.plan import FAILURES, Columns, Failing
from agora.expressions.tree import Node, children, columns_of

__all__ = ["checked"]


def checked(text: str, tree: Node, *, condition: bool) -> None:
    """`ConfigError` for a constant part that always fails, and for what is no condition where one is needed."""
    for part in _constant_parts(tree):
        problem = _failure(part)
        if problem is not None:
            raise ConfigError(f"expression {text!r}: {problem}")
    found = known_kind(tree)
    if condition and found not in {None, "boolean"}:
        what = f"this gives {NAMES[found]}" if found in NAMES else "this gives none"
        raise ConfigError(f"expression {text!r}: a condition (true or false) is needed, {what}")


def _constant_parts(node: Node) -> list[Node]:
    """The largest parts without columns."""
    if not columns_of(node):
        return [node]
    return [part for child in children(node) for part in _constant_parts(child)]


def _failure(node: Node) -> str | None:
    try:
        plan = compile_constant(node)
        if isinstance(plan, Failing):
            return plan.message
        _, errors = plan.careful(Columns((), 1), None)
    except FAILURES as error:
        text = str(error)
        return text if text.startswith(node.sql) else f"{node.sql}: {text}"
    return str(errors[0]) if errors else None
