"""Writes the generated half of docs/configuration.md from the declarations that the config reader itself uses.

`python dev/reference.py` rewrites the page; a test fails while it differs from what the declarations say.
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from agora import plugins
from agora.backpressure import Backpressure
from agora.config import CheckpointConfig, PipelineConfig, SinkConfig, SourceConfig, StepConfig
from agora.config.testing.model import ExpectedFailure, ExpectedLetter, PipelineTest
from agora.state import StateBackend

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
MARKER = "<!-- generated from the declarations by dev/reference.py: everything below -->\n"

PLACES: Sequence[tuple[str, str, type[Any]]] = (
    ("A pipeline", "`[pipelines.NAME]`", PipelineConfig),
    ("Beside any source", "`source = { …, KEY = … }`", SourceConfig),
    ("Beside any step", "`middlewares = [{ …, KEY = … }]`", StepConfig),
    ("Beside any sink", "`sinks = [{ …, KEY = … }]`", SinkConfig),
    ("Checkpoints", "`checkpoint = { KEY = … }`", CheckpointConfig),
    ("Tests", "`[[pipelines.NAME.tests]]`; see [testing pipelines](testing-pipelines.md)", PipelineTest),
    ("A dead letter that a test expects", "`dead_letters = [{ KEY = … }]`", ExpectedLetter),
    ("A failure that a test expects", "`fails = { KEY = … }`", ExpectedFailure),
)
REGISTRIES: Sequence[tuple[str, plugins.Registry]] = (
    ("Sources", plugins.source_registry),
    ("Middlewares", plugins.middleware_registry),
    ("Sinks", plugins.sink_registry),
    ("State", plugins.state_registry),
    ("Tracers", plugins.tracer_registry),
)
NOT_IN_FILES = {("source type", "iterable"), ("sink type", "memory"), ("tracer type", "memory")}
"""Parts that hold Python objects: a file can name them, and nobody gets at what they hold."""
_IN_A_FILE = [
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"Literal\[(.*?)\]", lambda found: found[1].replace("'", '"').replace(", ", " | ")),
        (r"list\[agora\.config\.(testing\.)?model\.\w+\]", "list of tables"),
        (r"\w+Config\b|ExpectedFailure\b", "table"),
        (r"list\[Any\]", "list"),
        (r"Mapping\[str, (Any|str|pathlib\.Path|list \| str|Mapping\[str, Any\])\]", "table"),
        (r"os\.PathLike\[str\]|pathlib\.Path|\bPath\b", "str"),
        (r"Sequence\[str( \| str)?\]", "list of str"),
        (r"Callable\[\.\.\., Any\]", '"module:name"'),
        (r" \| timedelta\b", ""),
        (r"\bAny\b", "table or text"),
    )
]


def render() -> str:
    """The generated half."""
    return "\n".join(_lines())


def page_with(generated: str) -> str:
    """The whole page, with this as its generated half."""
    by_hand, marker, _ = PAGE.read_text().partition(MARKER)
    return f"{by_hand}{marker}\n{generated}"


def _lines() -> Iterator[str]:
    yield "## Keys\n"
    for title, where, kind in PLACES:
        options = [option for option in plugins.options_of(kind) if option.name not in ("part", "type")]
        yield f"### {title}\n\n{where}\n"
        yield _table(options)
    for title, registry in REGISTRIES:
        known = [name for name in registry if (registry.kind, name) not in NOT_IN_FILES]
        if known:
            yield f"## {title}\n"
        for name in known:
            yield from _part(name, registry.get(name), registry.describe(name))
    yield "## Backpressure\n"
    for name, factory in (("fixed", Backpressure.fixed), ("adaptive", Backpressure.adaptive)):
        yield from _part(name, factory, plugins.options_of(factory))


def _part(name: str, part: Callable[..., Any], options: Sequence[plugins.Option]) -> Iterator[str]:
    paragraph = " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())
    yield f'### `type = "{name}"`\n\n{paragraph}\n'
    if options:
        yield _table(options)


def _table(options: Sequence[plugins.Option]) -> str:
    lines = ["| key | takes | default | |", "| --- | --- | --- | --- |"]
    for option in options:
        takes = _type(option.type).replace("|", "\\|")
        is_state = StateBackend in (option.annotation, *typing.get_args(option.annotation))
        default = "the pipeline's `state`" if is_state else _default(option.default)
        lines.append(f"| `{option.name}` | {takes} | {default} | {option.doc} |")
    return "\n".join(lines) + "\n"


def _type(text: str) -> str:
    """What a config file may say for it, of a Python annotation's text."""
    for pattern, plain in _IN_A_FILE:
        text = pattern.sub(plain, text)
    members = [member for member in text.split(" | ") if member != "None"]
    return f"`{' | '.join(dict.fromkeys(members))}`"


def _default(default: Any) -> str:
    if default is plugins.REQUIRED:
        return "required"
    if default is None:
        return ""
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class; attrs' stubs say a function
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(page_with(render()))
