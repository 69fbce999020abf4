"""What commands print: JSON lines for programs, plain columns for people."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

__all__ = ["ReaderGone", "confirmed", "print_columns", "print_json", "print_text"]


class ReaderGone(Exception):  # noqa: N818  - nothing is wrong
    """Whoever read our stdout has gone (`agora dlq list | head`): there is nobody to tell more."""


def print_text(text: object) -> None:
    """Print on stdout, at once. Raises `ReaderGone`, and lets the interpreter's end be silent about it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReaderGone from None


def print_json(value: Any) -> None:
    """One object on one line of stdout, at once; what JSON can't hold, as its `repr`."""
    print_text(msgspec.json.encode(value, enc_hook=repr).decode())


def print_columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table of text on stdout; the last column isn't padded."""
    table = [list(header), *([" ".join(str(cell).split()) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print_text("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def confirmed(question: str, *, yes: bool) -> bool | None:
    """Whether the user wants it: asked on a terminal, `None` where there is none to ask and `--yes` isn't
    given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        return None
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
