"""The engine knows contracts only; `lint-imports` holds the order of the layers, this the list of contracts."""

import ast
from pathlib import Path

RUNTIME = Path(__file__).parent.parent / "agora/runtime"
PARTS = ("agora.sources", "agora.sinks", "agora.middlewares", "agora.state", "agora.tracing")
CONTRACTS = {
    "agora.middlewares.chain",
    "agora.middlewares.columnar",
    "agora.middlewares.remote",
    "agora.middlewares.step",
    "agora.sinks.base",
    "agora.sources.base",
    "agora.state.base",
    "agora.state.lease",
    "agora.state.steplog",
    "agora.tracing.base",
}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, also those of its functions and of type checking."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_the_runtime_imports_no_concrete_part():
    files = sorted(RUNTIME.glob("*.py"))
    found = {name for file in files for name in imported(file) if name.startswith(PARTS)}
    assert len(files) > 10
    assert found <= CONTRACTS
    assert {"agora.sinks.base", "agora.sources.base"} <= found
