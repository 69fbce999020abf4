"""The mutants: made by mutmut in `mutants/`, a copy of the project; what the type checker refuses needs no test.

Of what mutmut can change, these rules leave out what no test should pin down:

- a string with a space in it is a text for people (a message, a log line): it isn't changed;
- what mutmut itself can't change: the module's own level and decorated functions (properties, context managers);
- of the three changes of another string (`XXnameXX`, `name`, `NAME`) the first stands for all.
"""

import difflib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import libcst as cst
from mutmut.__main__ import create_mutants
from mutmut.mutation import file_mutation
from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.mutation.mutators import mutation_operators, operator_string
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, walk_mutatable_files

__all__ = ["COPY", "Mutant", "copy_tests", "make", "mutants"]

COPY = Path("mutants")
TYPED = COPY / "typed.json"
"""What the type checker says of the mutants that it refuses."""
NOT_SURE = "Need type annotation"
"""An error of mypy that may come from the mutant's being a copy: such mutants are tried."""


@attrs.frozen
class Mutant:
    """One change of one function."""

    name: str
    """mutmut's, with the module: `agora.runtime.tally.xǁTallyǁadd__mutmut_3`."""
    change: str
    """`the lines without -> the lines with`, which is its name in the ledger: numbers change with the code."""

    @property
    def module(self) -> str:
        return self.name.split(".")[2]

    @property
    def place(self) -> str:
        """As in `tally.Tally.add`."""
        mangled = self.name.partition("__mutmut_")[0].rpartition(".")[2]
        function = mangled[2:] if mangled.startswith("x_") else mangled[2:].replace("ǁ", ".")
        return f"{self.module}.{function}"

    @property
    def named(self) -> str:
        """As the ledger lists it."""
        return f"{self.place}: {self.change}"


def _names_only(node: cst.BaseString) -> Iterator[cst.BaseString]:
    if isinstance(node, cst.SimpleString) and " " not in node.value:
        yield from list(operator_string(node))[:1]


def make() -> None:
    """Copies the project to `mutants/`, with every mutant in it, and asks the type checker of each."""
    file_mutation.mutation_operators = [  # type: ignore[attr-defined]  # there is no other way
        (kind, _names_only if change is operator_string else change) for kind, change in mutation_operators
    ]
    COPY.mkdir(exist_ok=True)
    set_mutant_under_test("mutant_generation")
    copy_src_dir()
    copy_also_copy_files()
    create_mutants(1)
    refused = file_mutation.filter_mutants_with_type_checker()
    said = {name: found.error.error_description for name, found in refused.items()}
    TYPED.write_text(json.dumps(said, indent=0, ensure_ascii=False))


def copy_tests() -> None:
    """Copies the tests as they are now."""
    copy_also_copy_files()


def mutants() -> tuple[list[Mutant], list[Mutant]]:
    """Those that the type checker refuses, and those to try."""
    said: dict[str, str] = json.loads(TYPED.read_text())
    caught: list[Mutant] = []
    tried: list[Mutant] = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        spans = MutantLineSpans.load(path)
        lines = (COPY / path).read_text().splitlines()
        for name in data.exit_code_by_key:
            refused = name in said and not said[name].startswith(NOT_SURE)
            (caught if refused else tried).append(Mutant(name, _change(name, spans, lines)))
    return caught, tried


def _change(name: str, spans: Any, lines: list[str]) -> str:
    mangled = name.rpartition(".")[2]
    both: list[list[str]] = []
    for generated in (f"{mangled.partition('__mutmut_')[0]}__mutmut_orig", mangled):
        span = spans.span_by_function_name[generated]
        text = "\n".join(lines[span.start - 1 : span.end]).replace(f"{generated}(", "(")
        both.append([re.sub(r"\s+", " ", line).strip() for line in text.splitlines()])
    without, mutated = both
    found = list(difflib.unified_diff(without, mutated, n=0, lineterm=""))[3:]
    gone, new = (" ".join(line[1:] for line in found if line[0] == sign) for sign in "-+")
    return f"{gone} -> {new}"
