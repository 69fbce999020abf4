"""Text: Arrow's kernels where the arguments beside the text are constants, else Python a row at a time.

Lengths and places count characters (code points) from 1. Patterns of `regexp_…` are RE2's and constants, so
that they are checked when the pipeline is built and no row can make them slow.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.coercion import nothing
from agora.expressions.kinds import kind, named
from agora.expressions.plan import Apply, Constant, Kernel, Plan, Values, by_value

__all__ = [
    "concat",
    "glue",
    "like",
    "of_text",
    "pad",
    "regexp_matches",
    "regexp_replace",
    "side",
    "substring",
]
__all__ += ["find", "replace", "split_part", "test", "trim"]

_TEXT = pa.string()
_WHOLE = pa.int64()
_BOOLEAN = pa.bool_()


def _typed(operands: Sequence[Plan], sql: str, kinds: str) -> Plan | None:
    """Checks that operands are text (`t`) or whole numbers (`i`); NULL where one is always NULL."""
    for operand, wanted in zip(operands, kinds, strict=False):
        expected = "text" if wanted == "t" else "integer"
        if kind(operand.type) not in {expected, "null"}:
            what = "text" if wanted == "t" else "a whole number"
            raise TypeError(f"{sql}: takes {what}, not {named(operand.type)}; use CAST")
    return nothing(operands, sql)


def _constants(operands: Sequence[Plan]) -> list[Any] | None:
    """Python values, where all operands are constants."""
    if all(isinstance(operand, Constant) for operand in operands):
        return [operand.scalar.as_py() for operand in operands if isinstance(operand, Constant)]
    return None


def of_text(
    run: Callable[[Values], Values], of: pa.DataType = _TEXT
) -> Callable[[Sequence[Plan], str], Plan]:
    """A function of one text."""

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        return _typed(operands, sql, "t") or Apply(
            Kernel(of, lambda v: run(v).cast(of)), tuple(operands), sql
        )

    return rule


def _general(
    kinds: str,
    of: pa.DataType,
    fast: Callable[..., Callable[[Values], Values] | None],
    slow: Callable[..., Any],
) -> Callable[[Sequence[Plan], str], Plan]:
    """A function of a text and arguments: `fast(*arguments)` gives a kernel's function for constant ones, or
    `None`; `slow(text, *arguments)` is the value of one row."""

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        null = _typed(operands, sql, kinds)
        if null is not None:
            return null
        arguments = _constants(operands[1:])
        if arguments is not None and None not in arguments:
            try:
                run = fast(*arguments)
            except ValueError:
                run = None  # arguments that have no meaning are an error of the rows, in which the text isn't NULL
            if run is not None:
                return Apply(Kernel(of, run), (operands[0],), sql)
        return Apply(by_value(of, slow), tuple(operands), sql)

    return rule


def _never(*_arguments: Any) -> None:
    return None


def test(
    run: Callable[..., Values], slow: Callable[[str, str], bool]
) -> Callable[[Sequence[Plan], str], Plan]:
    """`starts_with`, `ends_with`, `contains`."""
    return _general("tt", _BOOLEAN, lambda part: lambda text: run(text, part), slow)


def _cut(start: int, stop: int | None) -> Callable[[Values], Values]:
    options = pc.SliceOptions(start, stop)
    return lambda text: pc.call_function("utf8_slice_codeunits", [text], options)


def _bounds(start: int, length: int | None = None) -> tuple[int, int | None]:
    if length is not None and length < 0:
        raise ValueError("a negative length")
    stop = None if length is None else max(start - 1 + length, 0)
    return max(start - 1, 0), stop


def _substring(text: str, start: int, length: int | None = None) -> str:
    first, stop = _bounds(start, length)
    return text[first:stop]


def _cut_out(start: int, length: int | None = None) -> Callable[[Values], Values]:
    return _cut(*_bounds(start, length))


substring = _general("tii", _TEXT, _cut_out, _substring)


def side(name: str) -> Callable[[Sequence[Plan], str], Plan]:
    """`left(text, n)` or `right(text, n)`; with a negative n all but that many of the other side."""

    def bounds(n: int) -> tuple[int, int | None]:
        if name == "left":
            return 0, n
        return (0, 0) if n == 0 else (-n, None)

    def slow(text: str, n: int) -> str:
        start, stop = bounds(n)
        return text[start:stop]

    return _general("ti", _TEXT, lambda n: _cut(*bounds(n)), slow)


def _replaced(old: str, new: str) -> Callable[[Values], Values] | None:
    return (lambda text: pc.replace_substring(text, old, new)) if old else None


replace = _general("ttt", _TEXT, _replaced, lambda text, old, new: text.replace(old, new) if old else text)
find = _general("tt", _WHOLE, _never, lambda text, part: text.find(part) + 1)


def _part(text: str, by: str, place: int) -> str:
    if place == 0:
        raise ValueError("parts are counted from 1, or from -1 at the end")
    parts = text.split(by) if by else [text]
    index = place - 1 if place > 0 else len(parts) + place
    return parts[index] if 0 <= index < len(parts) else ""


split_part = _general("tti", _TEXT, _never, _part)


def pad(name: str) -> Callable[[Sequence[Plan], str], Plan]:
    """`lpad` or `rpad`: to exactly so many characters, so longer text is cut."""

    def slow(text: str, length: int, fill: str = " ") -> str:
        missing = length - len(text)
        if missing <= 0:
            return text[: max(length, 0)]
        if not fill:
            raise ValueError("nothing to fill with")
        if length > _LONGEST:
            raise ValueError(f"longer than {_LONGEST:,} characters")
        filling = (fill * (missing // len(fill) + 1))[:missing]
        return filling + text if name == "lpad" else text + filling

    return _general("tit", _TEXT, _never, slow)


_LONGEST = 1_000_000


def trim(name: str) -> Callable[[Sequence[Plan], str], Plan]:
    """`trim`, `ltrim`, `rtrim`: of blanks, or of the characters in a second argument."""
    plain = {"trim": pc.utf8_trim, "ltrim": pc.utf8_ltrim, "rtrim": pc.utf8_rtrim}[name]
    slow = {"trim": str.strip, "ltrim": str.lstrip, "rtrim": str.rstrip}[name]

    def fast(characters: str = " ") -> Callable[[Values], Values] | None:
        return (lambda text: plain(text, characters)) if characters else None

    return _general("tt", _TEXT, fast, slow)


def glue(operands: Sequence[Plan], sql: str) -> Plan:
    """`||`: NULL if one of them is."""
    null = _typed(operands, sql, "t" * len(operands))
    if null is not None:
        return null
    return Apply(
        Kernel(_TEXT, lambda *texts: pc.binary_join_element_wise(*texts, pa.scalar(""))), tuple(operands), sql
    )


def concat(operands: Sequence[Plan], sql: str) -> Plan:
    """`concat`: without those that are NULL."""
    for operand in operands:
        if kind(operand.type) not in {"text", "null"}:
            raise TypeError(f"{sql}: concat takes text, not {named(operand.type)}; use CAST")

    def run(*texts: Values) -> Values:
        # Not null_handling="skip": it answers columns of NULLs alone with no rows.
        filled = [pc.fill_null(text.cast(_TEXT), "") for text in texts]
        return pc.binary_join_element_wise(*filled, pa.scalar(""))

    return Apply(Kernel(_TEXT, run), tuple(operands), sql)


def _like_pattern(pattern: str, escape: str) -> str:
    """The regular expression of a LIKE pattern, in what RE2 and Python understand alike."""
    result = []
    characters = iter(pattern)
    for character in characters:
        if escape and character == escape:
            following = next(characters, None)
            if following is None:
                raise ValueError(f"{pattern!r} ends with the escape character")
            result.append(re.escape(following))
        else:
            result.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    return "".join(result)


def like(*, any_case: bool) -> Callable[[Sequence[Plan], str], Plan]:
    """`text LIKE pattern`, with an escape character as the third operand. Without one there is no escaping."""

    def fast(pattern: str, escape: str = "") -> Callable[[Values], Values]:
        if len(escape) > 1:
            raise TypeError("ESCAPE takes one character")
        inner = pattern.strip("%")
        if not any_case and not escape and not set(inner) & {"%", "_"}:
            found = _simple(pattern, inner)
            if found is not None:
                return found
        options = pc.MatchSubstringOptions(rf"(?s)\A{_like_pattern(pattern, escape)}\z", ignore_case=any_case)
        return lambda text: pc.call_function("match_substring_regex", [text], options)

    def slow(text: str, pattern: str, escape: str = "") -> bool:
        match: bool = fast(pattern, escape)(pa.array([text]))[0].as_py()
        return match

    return _general("ttt", _BOOLEAN, fast, slow)


def _simple(pattern: str, inner: str) -> Callable[[Values], Values] | None:
    """For patterns with % at their ends only."""
    head, tail = pattern[: len(pattern) - len(pattern.lstrip("%"))], pattern[len(pattern.rstrip("%")) :]
    if not inner:
        return None
    if head and tail:
        return lambda text: pc.match_substring(text, inner)
    if head or tail:
        return lambda text: (pc.ends_with if head else pc.starts_with)(text, inner)
    return lambda text: pc.equal(text, inner)


def _flags(flags: str, known: str) -> None:
    if set(flags) - set(known):
        raise TypeError(f"the flags {flags!r} aren't known; known are {', '.join(known)}")


def regexp_matches(operands: Sequence[Plan], sql: str) -> Plan:
    """Whether the pattern is found anywhere in the text; the flag `i` ignores case."""
    arguments = _constants(operands[1:])
    null = _typed(operands, sql, "ttt")
    if null is not None:
        return null
    if arguments is None or None in arguments:
        raise TypeError(f"{sql}: the pattern must be a constant")
    pattern, *rest = arguments
    flags = rest[0] if rest else ""
    _flags(flags, "i")
    options = pc.MatchSubstringOptions(pattern, ignore_case="i" in flags)
    kernel = Kernel(_BOOLEAN, lambda text: pc.call_function("match_substring_regex", [text], options))
    kernel.run(pa.array([], _TEXT))  # a broken pattern is told when the expression is compiled
    return Apply(kernel, (operands[0],), sql)


def regexp_replace(operands: Sequence[Plan], sql: str) -> Plan:
    r"""The first match replaced (`\1` stands for a group), with the flag `g` every one; `i` ignores case."""
    arguments = _constants(operands[1:])
    null = _typed(operands, sql, "tttt")
    if null is not None:
        return null
    if arguments is None or None in arguments:
        raise TypeError(f"{sql}: pattern and replacement must be constants")
    pattern, new, *rest = arguments
    flags = rest[0] if rest else ""
    _flags(flags, "gi")
    count = -1 if "g" in flags else 1
    found = f"(?i){pattern}" if "i" in flags else pattern
    options = pc.ReplaceSubstringOptions(found, new, max_replacements=count)
    kernel = Kernel(_TEXT, lambda text: pc.call_function("replace_substring_regex", [text], options))
    kernel.run(pa.array([], _TEXT))
    return Apply(kernel, (operands[0],), sql)
