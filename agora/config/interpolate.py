"""`${VAR}` in the texts of a config file.

A filled-in text remembers what the file says, so that messages can show that and never a value: values are
secrets more often than not.
"""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Filled", "Interpolation"]

_PLACE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<open>\{)(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?)")
_SHORTEST_SECRET = 4  # shorter values stay readable in messages: replacing every "1" would garble them


class Filled(str):
    """A text in which variables were filled in; `template` is what the file says."""

    __slots__ = ("template",)
    template: str

    @classmethod
    def of(cls, text: str, template: str) -> "Filled":
        """Make one."""
        filled = cls(text)
        filled.template = template
        return filled


class Interpolation:
    """Fills in one file's texts and remembers which variables it used."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.problems: list[tuple[tuple[str | int, ...], str]] = []
        """Key path and message of each place that can't be filled in."""
        self._used: dict[str, str] = {}

    def fill(self, value: Any, path: tuple[str | int, ...] = ()) -> Any:
        """The value with every text in it filled in; problems are collected."""
        if isinstance(value, dict):
            return {key: self.fill(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            return self._fill_text(value, path)
        return value

    def redact(self, message: str) -> str:
        """The message with every value that was filled in replaced by its `${VAR}`."""
        for name, value in sorted(self._used.items(), key=lambda used: -len(used[1])):
            if len(value) >= _SHORTEST_SECRET:
                message = message.replace(value, f"${{{name}}}")
        return message

    def _fill_text(self, template: str, path: tuple[str | int, ...]) -> str:
        def value_of(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "$"
            name = match["name"]
            if name is None:
                self.problems.append((path, f"expected ${{NAME}} after a $ with a brace, found {template!r}"))
                return ""
            if name not in self.environment:
                self.problems.append((path, f"the environment variable {name} is not set"))
                return ""
            self._used[name] = self.environment[name]
            return self.environment[name]

        text = _PLACE.sub(value_of, template)
        return Filled.of(text, template) if text != template else text
