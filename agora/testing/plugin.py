"""The pytest plugin (entry point `agora`): fixtures for tests of pipelines, and `--agora-seed`.

Inert until it is used: nothing but pytest is imported with it, no fixture is automatic, and without `--agora-seed`
nothing is said. Works beside pytest-trio, pytest-xdist and pytest-randomly.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trio.testing import MockClock

    from agora.state import MemoryBackend, SQLiteBackend
    from agora.testing.recording import RecordingSink
    from agora.testing.spans import AssertingTracer

_NO_PYTEST_TRIO = (
    "agora_autojump_clock needs pytest-trio, which is not active here: pip install 'agora-trio[testing]'. A test that "
    "calls trio.run itself can do without: trio.run(..., clock=trio.testing.MockClock(autojump_threshold=0))"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--agora-seed`."""
    parser.getgroup("agora").addoption(
        "--agora-seed",
        type=int,
        default=None,
        metavar="N",
        help="the seed of agora.testing's laws and simulations that aren't given one, as their failures print it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take the seed, in each process of pytest-xdist."""
    seed = config.getoption("agora_seed")
    if seed is not None:
        _set_seed(seed)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put the seed back, for whoever runs pytest within a process."""
    if config.getoption("agora_seed") is not None:
        _set_seed(None)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which seed was given."""
    seed = config.getoption("agora_seed")
    return None if seed is None else f"agora: --agora-seed {seed}"


@pytest.fixture
def agora_memory_state() -> "MemoryBackend":
    """A new `MemoryBackend`. Nobody has opened it: a run does, and a test that looks into it calls `open` first."""
    from agora.state import MemoryBackend  # noqa: PLC0415  - inert until it is used

    return MemoryBackend()


@pytest.fixture
def agora_sqlite_state(tmp_path: Path) -> "SQLiteBackend":
    """A new `SQLiteBackend` on `state.db` in the test's `tmp_path`. Nobody has opened it, and there is no file yet."""
    from agora.state import SQLiteBackend  # noqa: PLC0415  - as above

    return SQLiteBackend(tmp_path / "state.db")


@pytest.fixture
def agora_sink() -> "RecordingSink":
    """A new `agora.testing.recording.RecordingSink`: what was written, in which batches, and what of it is
    committed."""
    from agora.testing.recording import RecordingSink  # noqa: PLC0415  - as above

    return RecordingSink()


@pytest.fixture
def agora_tracer() -> "AssertingTracer":
    """A new `agora.testing.spans.AssertingTracer`: an `InMemoryTracer` with `assert_span` and `assert_no_span`."""
    from agora.testing.spans import AssertingTracer  # noqa: PLC0415  - as above

    return AssertingTracer()


@pytest.fixture
def agora_autojump_clock(request: pytest.FixtureRequest) -> "MockClock":
    """pytest-trio's `autojump_clock`: in an async test, time jumps to the next thing that is waited for. The test has
    one clock, whichever name it asks for it by. Fails, and says what is missing, where pytest-trio isn't active."""
    if not request.config.pluginmanager.has_plugin("trio"):
        pytest.fail(_NO_PYTEST_TRIO, pytrace=False)
    clock: MockClock = request.getfixturevalue("autojump_clock")
    return clock


def _set_seed(seed: int | None) -> None:
    from agora.testing.seeding import set_seed  # noqa: PLC0415  - nothing is imported until it is used

    set_seed(seed)
