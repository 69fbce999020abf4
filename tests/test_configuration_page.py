"""docs/configuration.md says what the declarations say."""

import runpy
from pathlib import Path

from agora import plugins

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/configuration.md"


def test_the_generated_half_is_what_the_declarations_say():
    reference = runpy.run_path(str(ROOT / "dev/reference.py"))
    expected = reference["page_with"](reference["render"]())
    assert PAGE.read_text() == expected, "run python dev/reference.py"


def test_every_option_of_every_part_is_documented():
    registries = (
        plugins.source_registry,
        plugins.middleware_registry,
        plugins.sink_registry,
        plugins.state_registry,
        plugins.tracer_registry,
    )
    parts = [(registry, name) for registry in registries for name in registry.names()]
    undocumented = [
        f"{registry.kind} {name}: {option.name}"
        for registry, name in parts
        for option in registry.describe(name)
        if not option.doc and registry.get(name).__module__.startswith("agora.")
    ]
    assert len(parts) >= 15
    assert undocumented == []
