"""`"module:attribute"` in a config file.

Modules beside the file are found first, as `python FILE.py` finds those beside a script: the file's directory
stays on `sys.path`, since functions may import more when they run.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from agora.config.problems import Problems, found
from agora.plugins import nearest

__all__ = ["import_object", "importable", "names_object"]


def import_object(spec: object, directory: Path) -> Any:
    """The attribute that `"package.module:attribute"` names; dots in the attribute go deeper.

    Raises `Problems` that say which half is wrong.
    """
    if not isinstance(spec, str):
        raise Problems.one(f'expected "module:attribute", found {found(spec)}')
    if not names_object(spec):
        raise Problems.one(f'expected "module:attribute", found {found(spec)}')
    module_name, _, attribute = spec.partition(":")
    value: Any = _module(module_name, directory)
    for name in attribute.split("."):
        if not hasattr(value, name):
            names = [known for known in dir(value) if not known.startswith("_")]
            raise Problems.one(f"{module_name!r} has no {attribute!r}; {nearest(attribute, names)}")
        value = getattr(value, name)
    return value


def names_object(text: str) -> bool:
    """Whether the text has the form of `"package.module:attribute"`."""
    module_name, _, attribute = text.partition(":")
    return all(word.isidentifier() for word in (*module_name.split("."), *attribute.split(".")))


def importable(directory: Path) -> None:
    """Let modules in this directory be found, before all others."""
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
        importlib.invalidate_caches()


def _module(name: str, directory: Path) -> ModuleType:
    importable(directory)
    _refuse_another(name.partition(".")[0], directory)
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise Problems.one(f"there is no module {error.name!r} beside the file or installed") from error
        raise Problems.one(f"importing {name!r} failed: {type(error).__name__}: {error}") from error


def _refuse_another(top: str, directory: Path) -> None:
    """A module of the same name that was imported from elsewhere must not be taken for the one beside the
    file.
    """
    beside = next(
        (path for path in (directory / f"{top}.py", directory / top / "__init__.py") if path.exists()), None
    )
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if beside is not None and loaded is not None and not beside.samefile(loaded):
        raise Problems.one(
            f"module {top!r} is already imported from {loaded}, so {beside} can't be: rename one"
        )
