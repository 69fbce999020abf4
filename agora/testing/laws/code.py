"""Values as the code that makes them, with the imports that it needs: what a counterexample is printed with."""

import datetime
import decimal
import enum
import importlib
import math
import uuid
from collections.abc import Callable, Mapping
from pathlib import PosixPath, PurePath, WindowsPath
from typing import Any

import attrs

__all__ = ["Code", "script"]

_WIDTH = 100


@attrs.define
class Code:
    """Renders values, and gathers the imports."""

    imports: set[str] = attrs.field(factory=set)
    names: dict[str, set[str]] = attrs.field(factory=dict)
    """What is imported from which module."""
    unnamed: set[str] = attrs.field(factory=set)
    """What stands for something that can't be imported."""
    _inside: set[int] = attrs.field(factory=set)
    """Objects that are being rendered: one may hold itself."""

    def of(self, value: object) -> str:
        """The code of `value`. What has none that is known is written as its `repr`."""
        render = _RENDERERS.get(type(value))
        if render is not None:
            return render(self, value)
        if attrs.has(type(value)):
            return self.call(type(value), _fields(value))
        if isinstance(value, type) or callable(value):
            return self.name(value)
        if isinstance(value, enum.Enum):
            return f"{self.name(type(value))}.{value.name}"
        if type(value).__module__.partition(".")[0] == "pyarrow":
            return self._arrow(value)
        return self._object(value) if type(value).__repr__ is object.__repr__ else repr(value)

    def _object(self, value: object) -> str:
        """By what it holds: its own repr tells where it is, and nothing of what it is."""
        if id(value) in self._inside:
            return "..."
        self._inside.add(id(value))
        held: dict[str, object] = {}
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in [slots] if isinstance(slots, str) else slots:
                if name != "__dict__" and hasattr(value, name):
                    held[name] = getattr(value, name)
        try:
            return self.call(type(value), {**held, **getattr(value, "__dict__", {})})
        finally:
            self._inside.discard(id(value))

    def name(self, target: Any) -> str:
        """The name of a class or function, imported; what can't be imported is taken to stand where this is pasted."""
        module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
        if name is None:
            return self._unnamed("factory")
        if module in {None, "builtins"}:
            return str(name)
        if "<" in name:  # made in a function, or a lambda
            return self._unnamed(
                "factory" if name.endswith("<lambda>") else name.rpartition(".")[2].strip("<>")
            )
        self.names.setdefault(_public(module, name, target), set()).add(name.partition(".")[0])
        return str(name)

    def _unnamed(self, name: str) -> str:
        self.unnamed.add(name)
        return name

    def call(self, target: Any, arguments: Mapping[str, object]) -> str:
        """The call of `target` with these keyword arguments, on lines of their own where one gets too long. Those
        whose name is `""` go first, by position."""
        parts = [f"{key}={self.of(value)}" if key else self.of(value) for key, value in arguments.items()]
        return _folded(f"{self.name(target)}(", parts, ")")

    def _arrow(self, value: Any) -> str:
        if hasattr(value, "to_pylist") and hasattr(value, "schema"):
            self.imports.add("import pyarrow as pa")
            fields = ", ".join(f'("{field.name}", pa.{_arrow_type(field.type)})' for field in value.schema)
            return (
                f"pa.{type(value).__name__}.from_pylist({self.of(value.to_pylist())}, pa.schema([{fields}]))"
            )
        return repr(value)


def script(test: str, code: Code, body: str) -> str:
    """A test of this name with this body, the imports above it."""
    indented = "\n".join(f"    {line}" if line else "" for line in body.splitlines())
    froms = [
        f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(code.names.items())
    ]
    missing = [
        f"# {name}: what the check was given under this name; it has none to be imported by"
        for name in sorted(code.unnamed)
    ]
    imports = "\n".join([*sorted(code.imports), *froms, *missing])
    return f"{imports}\n\n\ndef {test}() -> None:\n{indented}\n"


def _public(module: str, name: str, target: object) -> str:
    """The outermost package of agora that has this name for it; else the module."""
    parts = module.split(".")
    for end in range(1, len(parts) if parts[0] == "agora" else 0):
        package = ".".join(parts[:end])
        if getattr(importlib.import_module(package), name, None) is target:
            return package
    return module


def _fields(value: Any) -> dict[str, object]:
    """What an attrs object was made of, without what is as it is by default."""
    given: dict[str, object] = {}
    for field in attrs.fields(type(value)):
        held = getattr(value, field.name)
        if field.init and not _is_default(field, held):
            given[field.alias] = held
    return given


def _is_default(field: "attrs.Attribute[Any]", held: object) -> bool:
    default: Any = field.default
    if hasattr(default, "takes_self"):  # attrs.Factory
        default = None if default.takes_self else default.factory()
    return default is not attrs.NOTHING and type(default) is type(held) and repr(default) == repr(held)


def _folded(opening: str, parts: list[str], closing: str) -> str:
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    inner = "".join("    " + part.replace("\n", "\n    ") + ",\n" for part in parts)
    return f"{opening}\n{inner}{closing}"


def _text(code: Code, value: str) -> str:
    plain = repr(value)
    return plain if '"' in value or "'" in value else f'"{plain[1:-1]}"'


def _float(code: Code, value: float) -> str:
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def _dict(code: Code, value: dict[Any, Any]) -> str:
    return _folded("{", [f"{code.of(key)}: {code.of(each)}" for key, each in value.items()], "}")


def _list(code: Code, value: list[Any]) -> str:
    return _folded("[", [code.of(each) for each in value], "]")


def _tuple(code: Code, value: tuple[Any, ...]) -> str:
    if len(value) == 1:
        return f"({code.of(value[0])},)"
    return _folded("(", [code.of(each) for each in value], ")")


def _set(code: Code, value: set[Any]) -> str:
    return _folded("{", sorted(code.of(each) for each in value), "}") if value else "set()"


def _module(statement: str) -> Callable[[Code, object], str]:
    def render(code: Code, value: object) -> str:
        code.imports.add(statement)
        return repr(value)

    return render


def _named(statement: str, prefix: str) -> Callable[[Code, object], str]:
    def render(code: Code, value: object) -> str:
        code.imports.add(statement)
        return f"{prefix}{value!r}"

    return render


def _arrow_type(kind: Any) -> str:
    names = {"double": "float64", "float": "float32", "bool": "bool_", "halffloat": "float16"}
    text = str(kind)
    return f"{names.get(text, text)}()" if "[" not in text else repr(kind)


def _path(code: Code, value: PurePath) -> str:
    code.names.setdefault("pathlib", set()).add("Path")
    return f"Path({str(value)!r})"


_RENDERERS: dict[type, Callable[[Code, Any], str]] = {
    str: _text,
    float: _float,
    dict: _dict,
    list: _list,
    tuple: _tuple,
    set: _set,
    datetime.date: _module("import datetime"),
    datetime.datetime: _module("import datetime"),
    datetime.time: _module("import datetime"),
    datetime.timedelta: _module("import datetime"),
    decimal.Decimal: _named("import decimal", "decimal."),
    PosixPath: _path,
    WindowsPath: _path,
    uuid.UUID: _named("import uuid", "uuid."),
}
