"""docs/guarantees.md promises nothing without a proof: each line names a test, and each of those is there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/guarantees.md").read_text()
TEST = re.compile(
    r"^(?:async )?def (test_\w+)\(", re.MULTILINE
)  # Python 3.11's parser fails now and then here
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def names_in(path: Path) -> set[str]:
    return set(TEST.findall(path.read_text()))


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))))
def test_each_test_that_is_named_is_there(file: str, name: str) -> None:
    found = names_in(TESTS / file)
    assert name in found if name else found


def test_each_row_of_a_table_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    bodies = [row for row in rows if not row.startswith("| ---") and not row.endswith("proved by |")]
    assert len(bodies) > 30
    assert [row for row in bodies if not NAMED.search(row)] == []
