"""The pytest plugin: inert until it is used, and what it gives, in runs of pytest of their own."""

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agora

pytest_plugins = ["pytester"]
BARE = ["-p", "no:cacheprovider", "-p", "no:randomly"]
_INI = "[pytest]\ntrio_mode = true\nfilterwarnings = error\n"


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs pytest over a file, in a process of its own."""
    return over_a_file(pytester, monkeypatch, pytester.runpytest_subprocess)


@pytest.fixture(scope="module")
def all_imported() -> None:
    """What is imported in a run by `here` is forgotten behind it: imported again, its classes were others."""
    for module in pkgutil.walk_packages(agora.__path__, "agora."):
        if module.name != "agora.__main__":
            importlib.import_module(module.name)


@pytest.fixture
def here(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, all_imported: None) -> Any:
    """The same in this process, which spares it the imports."""
    return over_a_file(pytester, monkeypatch, pytester.runpytest_inprocess)


def over_a_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, runpytest: Callable[..., pytest.RunResult]
) -> Callable[..., pytest.RunResult]:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makefile(".ini", pytest=_INI)

    def run(text: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(text)
        return runpytest(*options)

    return run


HEAVY = ["hypothesis", "trio", "pyarrow", "apsw", "msgspec", "attrs", "agora.seam", "agora.pipeline"]


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import pytest, sys; before = set(sys.modules); import agora.testing.plugin; import json; "
    code += f"print(json.dumps(sorted(set({HEAVY!r}) & (set(sys.modules) - before))))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []


def test_a_run_that_does_not_use_it_imports_no_more_and_says_nothing(inner: Any) -> None:
    done = inner(
        """
        import sys
        def test_it():
            found = {name for name in sys.modules if name.partition(".")[0] == "agora"}
            assert found == {"agora", "agora._version", "agora.lazily", "agora.testing", "agora.testing.plugin"}
        """
    )
    done.assert_outcomes(passed=1)
    assert "agora:" not in done.stdout.str()


FIXTURES = """
import pytest
from agora import Pipeline
from agora.sources import IterableSource, CsvSource
from agora.state import CheckpointStore

async def test_states(agora_memory_state, agora_sqlite_state, tmp_path):
    for state in (agora_memory_state, agora_sqlite_state):
        assert not state.is_open
        await state.open()
        await state.put("n", "k", b"v")
        assert await state.get("n", "k") == b"v"
        await state.close()
    assert agora_sqlite_state.path == tmp_path / "state.db"

async def test_a_run(agora_sink, agora_sqlite_state, agora_tracer, tmp_path):
    (tmp_path / "in.csv").write_text("a\\n1\\n2\\n3\\n")
    bound = Pipeline(CsvSource(tmp_path / "in.csv", types={"a": int}), name="p").map(
        lambda record: record["a"], name="a").to(agora_sink, name="out").build(
        checkpoint_store=CheckpointStore(agora_sqlite_state), checkpoint_every=2, tracer=agora_tracer)
    await bound.run()
    assert agora_sink.records == agora_sink.committed == [1, 2, 3]
    assert agora_sink.batches == [[1, 2], [3]]
    assert agora_sink.calls[-3:] == ["write", "prepare", "commit"]
    span = agora_tracer.assert_span("agora.sink.out", parent="agora.run")
    assert span in agora_tracer.spans
    agora_tracer.assert_no_span("agora.dlq")

async def test_without_checkpoints_nothing_is_committed(agora_sink):
    await Pipeline(IterableSource([1]), name="p").to(agora_sink).build().run()
    assert (agora_sink.records, agora_sink.committed) == ([1], [])

def test_fixtures_are_new(agora_sink, agora_tracer):
    assert agora_sink.records == agora_tracer.spans == []
"""


def test_its_fixtures_serve_a_run(here: Any) -> None:
    here(FIXTURES).assert_outcomes(passed=4)


def test_it_works_with_xdist_and_in_random_order(inner: Any) -> None:
    done = inner(FIXTURES, "-n", "2", "--agora-seed", "5")
    done.assert_outcomes(passed=4)
    assert "agora: --agora-seed 5" in done.stdout.str()


CLOCK = """
import trio
async def test_time_passes_at_once(agora_autojump_clock):
    await trio.sleep(10_000)
    assert trio.current_time() >= 10_000

async def test_its_own_works_too(autojump_clock):
    await trio.sleep(10_000)

def test_without_a_loop(agora_autojump_clock):
    trio.run(trio.sleep, 10_000, clock=agora_autojump_clock)
"""


def test_the_clock_jumps(here: Any) -> None:
    here(CLOCK).assert_outcomes(passed=3)


def test_without_pytest_trio_the_clock_says_what_is_missing(inner: Any) -> None:
    done = inner(
        "def test_it(agora_autojump_clock):\n    pass\n", "-p", "no:trio", "-o", "trio_mode=", "-W", "default"
    )
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*agora_autojump_clock needs pytest-trio*"])


SEEDS = """
import pytest
from agora.testing.seeding import current_seed

@pytest.mark.parametrize("n", range(4))
def test_it(n):
    print("seed", current_seed())
"""


def seeds(done: pytest.RunResult) -> list[str]:
    return [line for line in done.outlines if line.startswith("seed ")]


def test_the_seed_is_that_of_every_check_and_stands_in_the_header(here: Any) -> None:
    done = here(SEEDS, "-s", "-q", "--agora-seed", "71", "-p", "no:randomly", "-p", "no:xdist")
    assert set(seeds(done)) == {"seed 71"}
    assert "agora: --agora-seed 71" in here(SEEDS, "--agora-seed", "71").stdout.str()
    spread = here(SEEDS + "    assert current_seed() == 71\n", "-n", "2", "--agora-seed", "71")
    spread.assert_outcomes(passed=4)


def test_without_a_seed_randomly_makes_it_repeatable(here: Any) -> None:
    first, again, other = (
        seeds(here(SEEDS, "-s", "-q", "-p", "no:xdist", "--randomly-seed", number))
        for number in ("1", "1", "2")
    )
    assert first == again != other


def test_a_seed_is_a_number(here: Any) -> None:
    done = here(SEEDS, "--agora-seed", "many")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--agora-seed: invalid int value: 'many'*"])


LAW = """
from hypothesis import strategies as st
from agora.testing import check_middleware

class Counting:
    count = 0
    def process(self, record):
        Counting.count += 1
        return record | {"n": Counting.count}

def test_law():
    check_middleware(Counting, strategies_of())

def strategies_of():
    from agora.testing import strategies
    return strategies.records({"a": int})
"""


def test_a_broken_law_is_found_again_by_the_seed_that_it_prints(here: Any) -> None:
    first = here(LAW, "--agora-seed", "9")
    first.assert_outcomes(failed=1)
    assert "seed=9" in first.stdout.str()
    told = [line for line in first.outlines if "case=" in line or "records=" in line]
    assert told
    assert told == [
        line for line in here(LAW, "--agora-seed", "9").outlines if "case=" in line or "records=" in line
    ]


def test_the_seed_is_taken_back_at_the_end(pytester: pytest.Pytester) -> None:
    from agora.testing import seeding  # noqa: PLC0415  - its state is the test

    pytester.makepyfile(SEEDS)
    pytester.makefile(".ini", pytest="[pytest]\n")
    pytester.runpytest_inprocess("--agora-seed", "3", *BARE).assert_outcomes(passed=4)
    assert not seeding._chosen


def test_its_names_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/testing.md").read_text()
    for name in (
        "agora_memory_state",
        "agora_sqlite_state",
        "agora_sink",
        "agora_tracer",
        "agora_autojump_clock",
    ):
        assert f"`{name}`" in page
    assert "--agora-seed" in page
