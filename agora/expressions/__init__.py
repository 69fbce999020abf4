"""SQL expressions over columns and rows. Importing this imports neither sqlglot nor pyarrow."""

from agora.expressions.expression import Evaluated, Expression, truth

__all__ = ["Evaluated", "Expression", "truth"]
