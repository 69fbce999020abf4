"""Registries: parts are found by entry points, imported on demand, and a broken one harms only itself."""

import importlib.metadata
import subprocess
import sys
import typing
from pathlib import Path

import attrs
import pytest

from agora import plugins
from agora.errors import ConfigError
from agora.plugins import Registry, options_of


def install(directory: Path, distribution: str, group: str, **entries: str) -> None:
    """Lay out an installed distribution as pip would."""
    info = directory / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def registry():
    return Registry("agora_tests.parts", "part type")


def test_a_plugin_is_found_by_its_entry_point_and_imported_only_when_asked_for(site, registry):
    (site / "plugin_on_demand.py").write_text("class Part: pass\n")
    install(site, "demo-plugin", registry.group, demo="plugin_on_demand:Part")
    assert registry.names() == ("demo",)
    assert "demo" in registry
    assert list(registry) == ["demo"]
    assert len(registry) == 1
    assert "plugin_on_demand" not in sys.modules
    assert registry.get("demo").__name__ == "Part"
    del sys.modules["plugin_on_demand"]


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names(site, registry):
    install(site, "demo-plugin", registry.group, postgres="x:y", redis="x:z")
    with pytest.raises(ConfigError) as caught:
        registry.get("postgrs")
    assert str(caught.value) == (
        "unknown part type 'postgrs'; did you mean 'postgres'? known: postgres, redis"
    )


def test_an_unknown_name_of_an_empty_registry_says_that_there_is_none(registry):
    with pytest.raises(ConfigError, match="unknown part type 'a'; there is none"):
        registry.get("a")


def test_a_plugin_that_fails_to_import_is_named_and_harms_no_other(site, registry):
    (site / "plugin_broken.py").write_text("import a_module_that_is_nowhere\n")
    (site / "plugin_healthy.py").write_text("Part = 'healthy'\n")
    install(site, "broken-plugin", registry.group, broken="plugin_broken:Part")
    install(site, "healthy-plugin", registry.group, healthy="plugin_healthy:Part")
    with pytest.raises(ConfigError) as caught:
        registry.get("broken")
    assert str(caught.value) == (
        "part type 'broken' of distribution 'broken-plugin' (plugin_broken:Part) can't be imported: "
        "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert registry.get("healthy") == "healthy"
    assert registry.names() == ("broken", "healthy")
    del sys.modules["plugin_healthy"]


def test_a_plugin_without_the_attribute_it_promises_is_named(site, registry):
    (site / "plugin_empty.py").write_text("")
    install(site, "empty-plugin", registry.group, empty="plugin_empty:Part")
    with pytest.raises(
        ConfigError, match=r"part type 'empty' of distribution 'empty-plugin' .*AttributeError"
    ):
        registry.get("empty")
    del sys.modules["plugin_empty"]


def test_two_distributions_with_one_name_are_both_named(site, registry):
    install(site, "one", registry.group, demo="x:One", other="json:loads")
    install(site, "two", registry.group, demo="y:Two")
    with pytest.raises(ConfigError) as caught:
        registry.get("demo")
    message = str(caught.value)
    assert message.startswith("part type 'demo' is offered by distribution ")
    assert "distribution 'one' (x:One)" in message
    assert "distribution 'two' (y:Two)" in message
    assert registry.names() == ("demo", "other")
    assert callable(registry.get("other"))


def test_a_registered_part_is_found_until_it_is_taken_back(registry):
    part = object()
    registry.register("mine", part)
    registry.register("mine", part)
    assert registry.get("mine") is part
    assert registry.names() == ("mine",)
    with pytest.raises(ConfigError, match="part type 'mine' is registered already"):
        registry.register("mine", object())
    registry.unregister("mine")
    assert registry.names() == ()
    with pytest.raises(ConfigError, match="'mine' was not registered"):
        registry.unregister("mine")


def test_a_name_of_an_entry_point_cannot_be_registered_over(site, registry):
    install(site, "demo-plugin", registry.group, demo="x:y")
    with pytest.raises(ConfigError, match="registered already"):
        registry.register("demo", object())


def test_what_is_installed_is_read_once_for_all_kinds_and_anew_with_another_path(site, registry, monkeypatch):
    reads = []

    def entry_points():
        reads.append(tuple(sys.path))
        return importlib.metadata.entry_points()

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    other = Registry("agora_tests.other_parts", "part type")
    assert [*registry.names(), *other.names(), *registry.names()] == []
    monkeypatch.syspath_prepend(str(site / "more"))
    assert [*registry.names(), *other.names()] == []
    assert len(reads) == 2


def _split(text: str | list[str]) -> list[str]:
    return text.split() if isinstance(text, str) else text


@attrs.frozen(kw_only=True)
class Declared:
    path: Path = attrs.field(metadata={"doc": "where to read"}, converter=Path)
    size: "int | None" = None
    words: list[str] = attrs.field(factory=list, converter=_split)
    _private: bool = False
    hidden: int = attrs.field(default=0, init=False)


def test_the_options_of_a_part_come_from_its_attrs_declaration(registry):
    registry.register("declared", Declared)
    options = registry.describe("declared")
    assert [(option.name, option.type, option.required, option.doc) for option in options] == [
        ("path", "Path", True, "where to read"),
        ("size", "int | None", False, ""),
        ("words", "str | list[str]", False, ""),
        ("private", "bool", False, ""),
    ]
    assert options[1].default is None
    assert options[3].default is False


def test_the_options_of_a_factory_are_its_named_parameters():
    def factory(url: str, /, *rest: str, retries: int = 3, anything=None, **more: str) -> object:
        raise NotImplementedError

    assert [(option.name, option.type, option.default) for option in options_of(factory)] == [
        ("retries", "int", 3),
        ("anything", "Any", None),
    ]


ALL = [
    (registry, name)
    for registry in (
        plugins.source_registry,
        plugins.sink_registry,
        plugins.middleware_registry,
        plugins.state_registry,
        plugins.tracer_registry,
        plugins.provider_registry,
    )
    for name in registry.names()
]


@pytest.mark.parametrize(("registry", "name"), ALL, ids=[f"{r.group}:{name}" for r, name in ALL])
def test_every_built_in_is_one_attrs_declaration_with_types_that_resolve(registry, name):
    part = registry.get(name)
    assert attrs.has(part)
    typing.get_type_hints(part)
    assert all(isinstance(option.type, str) for option in registry.describe(name))


def test_naming_the_built_ins_imports_none_of_them():
    code = (
        "import sys; from agora.plugins import source_registry, sink_registry;"
        "print(*source_registry.names(), *sink_registry.names());"
        "print([m for m in sys.modules if m.startswith(('agora.sources', 'agora.sinks', 'pyarrow'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    names, loaded = done.stdout.splitlines()
    assert {"csv", "jsonl", "parquet", "iterable", "stdout", "memory", "null", "state"} <= set(names.split())
    assert loaded == "[]"
