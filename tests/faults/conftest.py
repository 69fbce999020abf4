"""What the tests of known failures share: a folder with a source, and the server of runs that die."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .changing import RECORDS
from .dying import Mortals
from .forkserver import ForkServer


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with Mortals() as server:
        yield server


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """Forks runs of the campaigns' pipelines; one for all tests, since its imports cost a second or two."""
    with ForkServer() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = "".join(f"{number},text {number}\n" for number in range(RECORDS))
    (tmp_path / "in.csv").write_text("n,text\n" + rows)
    return tmp_path
