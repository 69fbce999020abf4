"""Public names: those that users rely on are there, are what `__all__` says, and cost nothing until used."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

PUBLIC = {
    "agora": [
        "AgoraError", "Backpressure", "BoundPipeline", "Checkpoint", "ConfigError", "DLQRecord",
        "MiddlewareChain", "Pipeline", "PipelineBusy", "Plan", "RecordsRejected", "RunContext", "RunHandle",
        "RunSummary", "SinkChanged", "SourceChanged", "StateError", "TooManyDeadLetters", "middleware",
    ],
    "agora.sources": ["CsvSource", "IterableSource", "JsonLinesSource", "ParquetSource", "Source"],
    "agora.sinks": [
        "CsvSink", "JsonLinesSink", "MemorySink", "NullSink", "ParquetSink", "SQLiteSink", "Sink", "StdoutSink",
    ],
    "agora.middlewares": ["BatchMiddleware", "Deduplicate", "Middleware"],
    "agora.state": ["CheckpointStore", "MemoryBackend", "SQLiteBackend", "StateBackend", "StateDLQSink"],
    "agora.tracing": ["InMemoryTracer", "NoopTracer", "OpenTelemetryTracer"],
    "agora.plugins": [
        "middleware_registry", "provider_registry", "sink_registry", "source_registry", "state_registry",
        "tracer_registry",
    ],
    "agora.errors": ["AgoraError", "ConfigError"],
}  # fmt: skip
PACKAGES = [
    *PUBLIC,
    "agora.config",
    "agora.cli",
    "agora.testing",
    "agora.testing.faults",
    "agora.testing.strategies",
]


@pytest.mark.parametrize("module", PUBLIC)
def test_the_promised_names_are_there(module):
    loaded = importlib.import_module(module)
    assert [name for name in PUBLIC[module] if not hasattr(loaded, name)] == []
    assert set(PUBLIC[module]) <= set(loaded.__all__)


@pytest.mark.parametrize("module", PACKAGES)
def test_all_is_what_there_is(module):
    loaded = importlib.import_module(module)
    assert len(set(loaded.__all__)) == len(loaded.__all__)
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None
    assert set(loaded.__all__) <= set(dir(loaded))
    with pytest.raises(AttributeError, match="no_such_name"):
        loaded.no_such_name  # noqa: B018  - the access is the test


@pytest.mark.parametrize("module", PACKAGES)
def test_a_name_is_not_that_of_a_module_that_holds_something_else(module):
    """Imported by somebody, the module would stand in the package under that name."""
    loaded = importlib.import_module(module)
    inside = {found.name for found in pkgutil.iter_modules(getattr(loaded, "__path__", ()))}
    for name in inside & set(loaded.__all__):
        assert not hasattr(importlib.import_module(f"{module}.{name}"), name)


def test_every_error_is_an_agora_error():
    errors = importlib.import_module("agora.errors")
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.AgoraError)


HEAVY = ["pyarrow", "apsw", "zstandard", "opentelemetry", "rich", "cyclopts", "msgspec", "cattrs"]


@pytest.mark.parametrize(
    ("code", "unused"),
    [
        ("import agora", [*HEAVY, "trio", "agora.pipeline"]),
        (
            "from agora import Pipeline, Backpressure, middleware",
            [name for name in HEAVY if name != "msgspec"],
        ),
        ("from agora.sinks import MemorySink; from agora.sources import IterableSource", HEAVY),
        ("from agora.state import MemoryBackend", ["pyarrow", "apsw", "zstandard", "opentelemetry", "rich"]),
        ("from agora.tracing import InMemoryTracer", HEAVY),
        ("import agora.cli", ["pyarrow", "apsw", "zstandard", "opentelemetry", "trio", "agora.pipeline"]),
    ],
)
def test_what_is_not_used_is_not_imported(code, unused):
    script = f"{code}\nimport sys\nprint([name for name in {unused!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == "[]"
