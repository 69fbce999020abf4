"""Sinks that a checkpoint knows and the pipeline doesn't have any more: which they are, and how they are called."""

from collections.abc import Iterable, Mapping, Sequence

from agora.records import Json

__all__ = ["DLQ_NAME", "RESTARTED_BY", "STARTING_OVER", "gone", "missing_sinks"]

DLQ_NAME = "(dlq)"
"""The dead-letter queue's name among the sinks, where it takes part in the barrier as one."""
RESTARTED_BY = "(restarted by)"
"""Where the id of the run that started the pipeline over is kept, among the base tokens of the sinks."""

STARTING_OVER = "(starting over)"
"""Where the tokens are kept, among the base tokens, that a restart is about to undo: a run that finds them
completes it, whatever it was told, since nobody knows how much is undone."""


def missing_sinks(known: Mapping[str, Json], names: Iterable[str]) -> frozenset[str]:
    """Names that have a token (one without has nothing to commit) and aren't among `names`."""
    return frozenset(name for name, token in known.items() if token is not None) - {
        *names,
        RESTARTED_BY,
        STARTING_OVER,
    }


def gone(names: Sequence[str]) -> str:
    """What is said of them, the beginning of a sentence."""
    sinks = [repr(name) for name in names if name != DLQ_NAME]
    parts = [f"sink{'s' if len(sinks) > 1 else ''} {', '.join(sinks)}"] if sinks else []
    if DLQ_NAME in names:
        parts.append("the dead-letter queue")
    verb = "isn't" if len(names) == 1 else "aren't"
    return f"{' and '.join(parts)} {verb} in the pipeline any more"
