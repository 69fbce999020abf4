"""Parts of every kind of option, registered for the length of a test."""

import sys
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from agora.config import ConfigFile, load
from agora.errors import ConfigError
from agora.plugins import middleware_registry, sink_registry, source_registry, state_registry
from agora.state.base import StateBackend


@attrs.frozen
class Retry:
    attempts: int = 3
    wait: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))


@attrs.frozen
class Everything:
    """One option of each kind that a declaration may ask for."""

    path: str | PathLike[str] | Sequence[str | PathLike[str]] = attrs.field(metadata={"doc": "what to read"})
    count: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    share: float = 0.5
    flag: bool = False
    mode: Literal["fast", "safe"] = "fast"
    types: Mapping[str, type | str] = attrs.field(factory=dict)
    names: list[str] = attrs.field(factory=list)
    key: Callable[[Any], Any] | None = None
    retry: Retry = attrs.field(factory=Retry)
    home: Path | None = None
    anything: Any = None

    async def stream(self):
        yield {}


@attrs.frozen
class StateSink:
    state: StateBackend
    prefix: str = ""

    async def write(self, records):
        """Take nothing."""


@attrs.frozen
class FakeState:
    path: Path | None = None


@attrs.frozen
class Where:
    expression: str

    def process(self, record):
        return record


@pytest.fixture
def _parts():
    registered = [
        (source_registry, "everything", Everything),
        (sink_registry, "in-state", StateSink),
        (state_registry, "fake", FakeState),
    ]
    if "where" not in middleware_registry:
        registered.append((middleware_registry, "where", Where))
    for registry, name, part in registered:
        registry.register(name, part)
    yield
    for registry, name, _ in registered:
        registry.unregister(name)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory for the config file and its modules, which are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in sys.modules[name].__file__:
            del sys.modules[name]


@pytest.fixture
def write(directory, _parts) -> Callable[..., Path]:
    """Write a config file; without `raw`, below the format line."""

    def write(text: str, *, raw: bool = False) -> Path:
        path = directory / "pipeline.toml"
        path.write_text(text if raw else f'format = "agora/1"\n{text}')
        return path

    return write


@pytest.fixture
def loaded(write) -> Callable[..., ConfigFile]:
    """Load a text as a config file."""

    def loaded(text: str, *, environment: Mapping[str, str] | None = None) -> ConfigFile:
        return load(write(text), environment=environment or {})

    return loaded


@pytest.fixture
def problems(write) -> Callable[..., list[str]]:
    """The problems of a text as a config file, without the file's name before each."""

    def problems(text: str, *, raw: bool = False, environment: Mapping[str, str] | None = None) -> list[str]:
        path = write(text, raw=raw)
        with pytest.raises(ConfigError) as caught:
            load(path, environment=environment or {})
        for problem in caught.value.problems:
            assert problem.startswith(f"{path}: ")
        assert str(caught.value) == "\n".join(caught.value.problems)
        return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]

    return problems
