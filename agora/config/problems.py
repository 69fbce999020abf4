"""What is wrong with a config file, each problem with the path of its key.

Structuring doesn't stop at the first problem: what fails raises `Problems`, and whoever structures a whole
collects those of its members, so that all errors of a file come at once.
"""

import re
from collections.abc import Iterable, Iterator

import attrs
from cattrs.errors import IterableValidationError

from agora.config.interpolate import Filled
from agora.errors import ConfigError

__all__ = ["Problem", "Problems", "found", "key_path", "problems_of"]

Key = str | int
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_LONGEST_SHOWN = 60


@attrs.frozen
class Problem:
    """One problem, and the keys and indexes that lead to it."""

    path: tuple[Key, ...]
    message: str

    def __str__(self) -> str:
        return f"{key_path(self.path)}: {self.message}" if self.path else self.message


class Problems(Exception):  # noqa: N818  - it carries problems, any number of them
    """One or more problems of one value."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    @classmethod
    def one(cls, message: str, *path: Key) -> "Problems":
        """A single problem."""
        return cls(Problem(path, message))


def key_path(path: Iterable[Key]) -> str:
    """The path as one would write it in TOML: `pipelines.orders.sinks[0].path`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            bare = key if _BARE.match(key) else '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
            text += f".{bare}" if text else bare
    return text


def found(value: object) -> str:
    """A value of the file for a message; of an interpolated text, what the file says and not what it
    became.
    """
    if isinstance(value, Filled):
        value = value.template
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = repr(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 1] + "…"


def problems_of(error: Exception, path: tuple[Key, ...] = ()) -> Iterator[Problem]:
    """The problems that an error of structuring, or of a part's constructor, stands for, under `path`."""
    if isinstance(error, Problems):
        for problem in error.problems:
            yield Problem(path + problem.path, problem.message)
    elif isinstance(error, IterableValidationError):
        with_index, others = error.group_exceptions()
        for inner, note in with_index:
            yield from problems_of(inner, (*path, note.index))
        for inner in others:
            yield from problems_of(inner, path)
    elif isinstance(error, ConfigError):
        for text in error.problems:
            yield Problem(path, text)
    else:
        yield Problem(path, _constructor_message(error))


def _constructor_message(error: Exception) -> str:
    # The validators of attrs put the attribute and the value behind their message.
    text = error.args[0] if len(error.args) > 1 and isinstance(error.args[0], str) else str(error)
    return text if isinstance(error, ValueError | TypeError) and text else f"{type(error).__name__}: {text}"
