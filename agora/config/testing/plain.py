"""Records in the forms that TOML has, so that they can be compared with those of a file, and written into one.

What TOML has no form for is the text that JSON lines have for it: a Decimal, UUID or bytes. `None` is a field that
isn't there, since TOML can't say it.
"""

import datetime
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

__all__ = ["ABSENT", "plain", "toml"]


@attrs.frozen
class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""In place of a value that isn't there."""

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_SAME = (bool, int, float, str, datetime.datetime, datetime.date, datetime.time)


def plain(value: object) -> Any:
    """Dicts, lists, texts, numbers, dates; never fails."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    kind: type = type(value)
    if attrs.has(kind):
        return plain({field.name: getattr(value, field.name) for field in attrs.fields(kind)})
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or kind in _SAME:
        return value
    try:
        found = msgspec.to_builtins(value, builtin_types=_SAME[4:])
    except Exception:  # noqa: BLE001  - any object may be in a record
        return repr(value)
    return plain(found) if type(found) is not kind else repr(value)


def toml(value: object) -> str:
    """A plain value as one would write it in a config file, on one line."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return _quoted(value) if isinstance(value, str) else _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return "null" if value is None else repr(value)


def _key(key: str) -> str:
    return key if _BARE.match(key) else _quoted(key)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
