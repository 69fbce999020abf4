"""A sink's class is its declaration of options: structured from TOML, each documented."""

from pathlib import Path
from typing import Any

import attrs
import cattrs
import pytest

from agora.errors import ConfigError
from agora.sinks import CsvSink, JsonLinesSink, MemorySink, NullSink, ParquetSink, SQLiteSink, StdoutSink

CONVERTER = cattrs.Converter(use_alias=True, forbid_extra_keys=True)

DECLARED: list[tuple[Any, dict[str, Any]]] = [
    (
        JsonLinesSink,
        {"path": "o", "if_exists": "append", "compression": "zstd", "nan": "null", "publish": "live"},
    ),
    (
        CsvSink,
        {"path": "o", "columns": ["a", "b"], "header": False, "delimiter": ";", "if_exists": "replace"},
    ),
    (ParquetSink, {"path": "o", "schema": {"a": "int64"}, "part_rows": 10, "compression": "snappy"}),
    (SQLiteSink, {"path": "o", "table": "t", "columns": ["a", "b"], "if_exists": "append"}),
    (StdoutSink, {"nan": "null"}),
    (MemorySink, {}),
    (NullSink, {}),
]


@pytest.mark.parametrize(("kind", "options"), DECLARED)
def test_options_are_structured_from_a_table_and_a_wrong_one_is_an_error(kind: Any, options: Any) -> None:
    sink = CONVERTER.structure(options, kind)
    for name, value in options.items():
        field = next(field for field in attrs.fields(kind) if field.alias == name)
        found = getattr(sink, field.name)
        if name not in {"schema"}:
            assert found == {"path": Path("o"), "columns": ("a", "b")}.get(name, value)
    with pytest.raises((cattrs.ClassValidationError, ConfigError)):
        CONVERTER.structure({**options, "unknown": 1}, kind)
    if "compression" in options:
        with pytest.raises(cattrs.ClassValidationError):
            CONVERTER.structure({**options, "compression": "lzw"}, kind)


@pytest.mark.parametrize(("kind", "options"), DECLARED)
def test_every_option_is_documented_and_state_is_private(kind: Any, options: Any) -> None:
    for field in attrs.fields(kind):
        if field.init:
            assert field.metadata["doc"].endswith(".")
        else:
            assert field.name.startswith("_") or field.name == "records"
    assert kind(**options).target
