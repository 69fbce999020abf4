"""How a command ends: exit codes, and errors as one clear message instead of a traceback."""

import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated

import attrs
from cyclopts import Parameter

from agora.cli import collect_garbage
from agora.cli.output import ReaderGone, print_json
from agora.errors import AgoraError, ConfigError, PipelineBusy

__all__ = ["Exit", "Output", "UsageError", "ending"]


class Exit(IntEnum):
    """What scripts may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DEAD_LETTERS = 3
    BUSY = 4
    INTERRUPTED = 130
    TERMINATED = 143


class UsageError(ConfigError):
    """The command can't mean what was typed."""


@Parameter(name="*")
@attrs.frozen
class Output:
    """How a command tells its results."""

    json: Annotated[bool, Parameter(help="Print one JSON object a line on stdout.")] = False
    traceback: Annotated[bool, Parameter(help="Show the whole traceback of an error.")] = False


def ending(output: Output, command: Callable[[], int]) -> int:
    """Call the command and answer its exit code; an error is told on stderr, and as an object with
    `--json`.
    """
    collect_garbage()
    try:
        try:
            return command()
        except ReaderGone:
            raise
        except Exception as error:  # noqa: BLE001  - the outermost frame of the program
            return tell(output, error)
    except ReaderGone:
        return Exit.FAILED


def tell(output: Output, error: Exception) -> int:
    """Tell of an error, and answer its exit code."""
    code = _code_of(error)
    if output.traceback:
        traceback.print_exception(error)
    else:
        for line in _lines(error):
            print(line, file=sys.stderr)
    if output.json:
        print_json({"error": _described(error), "exit_code": int(code)})
    return code


def _code_of(error: Exception) -> Exit:
    if isinstance(error, PipelineBusy):
        return Exit.BUSY
    return Exit.USAGE if isinstance(error, ConfigError) else Exit.FAILED


def _described(error: Exception) -> dict[str, object]:
    described: dict[str, object] = {
        "type": type(error).__name__,
        "message": str(error),
        "notes": list(getattr(error, "__notes__", [])),
    }
    if isinstance(error, ConfigError):
        described["problems"] = list(error.problems)
    return described


def _lines(error: BaseException, indent: str = "") -> list[str]:
    """The message, its notes, what caused it and, of a group, what is in it."""
    text = str(error)
    if not isinstance(error, AgoraError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    lines = [f"agora: {line}" for line in text.splitlines()] if not indent else [indent + text]
    lines += [f"{indent}  {line}" for note in getattr(error, "__notes__", []) for line in note.splitlines()]
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            lines += _lines(inner, indent + "  ")
    if error.__cause__ is not None:
        lines += [f"{indent}  caused by {type(error.__cause__).__name__}: {error.__cause__}"]
    return lines
