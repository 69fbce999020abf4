"""The ledger of survivors is one that can be read, and names what there is."""

import importlib
from functools import reduce
from pathlib import Path

import pytest

from tests.mutation.ledger import Explained, read, unexplained


def test_every_entry_has_a_reason_and_names_code_that_is_there() -> None:
    for entry in read():
        for mutant in entry.mutants:
            module, *names = mutant.partition(": ")[0].split(".")
            reduce(getattr, names, importlib.import_module(f"agora.runtime.{module}"))


def test_what_no_entry_names_is_unexplained() -> None:
    entries = [Explained("text", "why", ("tally.Tally.add: a -> b", "pace.Pace._watch: *"))]
    survivors = ["tally.Tally.add: a -> b", "tally.Tally.add: a -> c", "pace.Pace._watch: x -> y"]
    assert unexplained(survivors, entries) == ["tally.Tally.add: a -> c"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('kind = "odd"\nwhy = "x"', "kind = 'odd'"),
        ('kind = "text"\nwhy = " "', "has no `why`"),
        ('kind = "text"\nwhy = "x"', "twice"),
    ],
)
def test_an_entry_that_says_nothing_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "survivors.toml"
    path.write_text(f"[[explained]]\n{text}\nmutants = ['a.b: c -> d', 'a.b: c -> d']\n")
    with pytest.raises(ValueError, match=says):
        read(path)
