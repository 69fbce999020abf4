"""Which files a source reads: paths and globs, in order, and whether some path would be among them.

A path that exists is a path, whatever characters it has; only then is it looked at as a glob.
"""

import fnmatch
import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import attrs

from agora import seam
from agora.errors import AgoraError, ConfigError

__all__ = [
    "InputFile", "PathOption", "above", "below", "covers", "expand", "match", "patterns_of", "split",
]  # fmt: skip

PathOption: TypeAlias = str | Path | Sequence[str | Path]
"""A path, a glob, or several of them."""


@attrs.frozen
class InputFile:
    """One file to read. Files are read in the order of `key`: by pattern as listed, then by name."""

    item: int
    """Index of the path or glob that gave it."""
    name: str

    @property
    def path(self) -> Path:
        return Path(self.name)

    @property
    def key(self) -> tuple[int, str]:
        return self.item, self.name


def patterns_of(option: PathOption) -> list[str]:
    """The paths and globs as normalized text; `ConfigError` where there is none."""
    items = [option] if isinstance(option, str | os.PathLike) else list(option)
    if not items or not all(isinstance(item, str | os.PathLike) and os.fspath(item) for item in items):
        raise ConfigError(f"path must be a path, a glob or a list of them, not {option!r}")
    return [os.path.normpath(os.fspath(item)) for item in items]


def below(base: Path | None, name: str) -> str:
    """The name relative to `base`, where it is below it."""
    start = "" if base is None else os.path.join(os.path.normpath(base), "")
    return name.removeprefix(start)


def above(base: Path | None, name: str) -> str:
    """What `below` was given."""
    return name if base is None else os.path.normpath(os.path.join(base, name))


def expand(patterns: Sequence[str], *, missing_ok: bool, empty_ok: bool = False) -> list[InputFile]:
    """The files that there are now, each once, in order.

    Raises `AgoraError` for a path that doesn't exist (unless `missing_ok`) and a glob that matches nothing
    (unless `missing_ok` or `empty_ok`: files that were read may have been moved away).
    """
    found: dict[str, InputFile] = {}
    for item, pattern in enumerate(patterns):
        for name in _matches(pattern, missing_ok=missing_ok, empty_ok=missing_ok or empty_ok):
            found.setdefault(name, InputFile(item, name))
    return sorted(found.values(), key=lambda file: file.key)


def _matches(pattern: str, *, missing_ok: bool, empty_ok: bool) -> list[str]:
    files = seam.current().files
    path = Path(pattern)
    if files.is_directory(path):
        raise AgoraError(
            f"{pattern} is a directory; name the files in it, such as {os.path.join(pattern, '*')}"
        )
    if files.is_taken(path):
        return [pattern]
    if not glob.has_magic(pattern):
        if missing_ok:
            return []
        raise AgoraError(f"{pattern} doesn't exist")
    names = files.matches(pattern)
    if not names and not empty_ok:
        raise AgoraError(f'{pattern} matches no file; missing="ok" takes that for an empty source')
    return names


def covers(patterns: Sequence[str], path: Path) -> bool:
    """Whether `path` (existing or not) is read by a source of these patterns, links resolved."""
    files = seam.current().files
    target = files.real(path)
    for pattern in patterns:
        if files.real(Path(pattern)) == target:
            return True
        if files.is_taken(Path(pattern)) or not glob.has_magic(pattern):
            continue
        fixed, magic = split(os.path.abspath(pattern))
        real = files.real(fixed)
        if target.is_relative_to(real) and match(target.relative_to(real).parts, magic):
            return True
    return False


def split(pattern: str) -> tuple[Path, tuple[str, ...]]:
    """A glob's directory and what is magic behind it."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first]), parts[first:]


def match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path of these parts matches the glob of those."""
    if not pattern or not parts:
        return not parts and not pattern
    if list(pattern) == ["**"]:
        return not any(part.startswith(".") for part in parts)
    first = pattern[0]
    hidden = parts[0].startswith(".")
    if first == "**":
        return match(parts, pattern[1:]) or (not hidden and match(parts[1:], pattern))
    if hidden and not first.startswith("."):
        return False
    return fnmatch.fnmatchcase(parts[0], first) and match(parts[1:], pattern[1:])
