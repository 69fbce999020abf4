"""A plugin of pytest that tries mutants: all tests are collected once, and each mutant runs in a fork of its own.

The fork is made before any test ran, so nothing of another mutant is in it, and no thread is lost. Tests that killed
others of the same function come first, then those that did so in the same module, then the module's own, the fast
before the slow, until one fails or the mutant's seconds are used up. Seconds are those of an undisturbed run.
"""

import contextlib
import functools
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Never, TextIO

import attrs
import hypothesis
import pytest
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

EXAMPLES = 15
"""Of Hypothesis' in a test, always the same ones."""
PATIENCE = 3.0
"""Seconds that a test may take longer than undisturbed, and `SLOWER` times as long."""
SLOWER = 6.0
SLOW = 0.5
"""Seconds from which a test of the module's own waits for its turn among the others."""
MEMORY = 6 << 30
CLOCKED = ("test_pace.py", "leaves_other_tasks_their_turn")
"""Tests on the real clock: beside other work they'd fail without a mutant's doing."""
BY_OTHERS = "test_processes.py"
"""What no test calls in its own process is code of workers."""


@attrs.define
class Task:
    """What the session asks for, in the file that `AGORA_MUTATION` names."""

    names: list[str]
    seconds: float
    results: Path
    also: list[str]
    """Parts of names of tests on the real clock that are tried all the same."""

    @classmethod
    def read(cls) -> "Task":
        said = json.loads(Path(os.environ["AGORA_MUTATION"]).read_text())
        return cls(said["names"], said["seconds"], Path(said["results"]), said["also"])


@attrs.define
class Known:
    """What an undisturbed run tells of the tests, and mutants of each other."""

    seconds: dict[str, float]
    tests: dict[str, list[str]]
    """By function as mutmut names it."""
    kills: dict[str, Counter[str]] = attrs.field(factory=dict)
    """Tests that killed, by function and by module."""

    def chosen(self, mutant: str, limit: float) -> list[str]:
        function = mutant.partition("__mutmut_")[0]
        module = function.rpartition(".")[0]
        own = _own(module)
        here, near = self.kills.get(function, Counter()), self.kills.get(module, Counter())

        def late(test: str) -> tuple[float, bool, float]:
            took = self.seconds[test]
            return (
                -(here[test] * 4 + near[test]) / (took + 0.05),
                test.partition("::")[0] not in own or took > SLOW,
                took,
            )

        tests = self.tests.get(function) or [test for test in self.seconds if BY_OTHERS in test]
        chosen: list[str] = []
        for test in sorted(tests, key=late):
            limit -= self.seconds[test]
            if limit < 0 and chosen:
                break
            chosen.append(test)
        return chosen

    def learn(self, mutant: str, killer: str) -> None:
        function = mutant.partition("__mutmut_")[0]
        for key in (function, function.rpartition(".")[0]):
            self.kills.setdefault(key, Counter())[killer] += 1


@functools.cache
def _own(module: str) -> frozenset[str]:
    """The files of tests that are a module's own: by their name, or because they name it."""
    name = f"test_{module.rpartition('.')[2]}"
    files = Path("tests/runtime").glob("test_*.py")
    return frozenset(
        path.as_posix() for path in files if path.name.startswith(name) or module in path.read_text()
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    also = Task.read().also
    items[:] = [
        item
        for item in items
        if not any(clock in item.nodeid for clock in CLOCKED) or any(one in item.nodeid for one in also)
    ]
    for item in items:
        test = getattr(item, "obj", None)
        given = getattr(test, "_hypothesis_internal_use_settings", None)
        if given is not None:
            test.__dict__["_hypothesis_internal_use_settings"] = _few(given)
    hypothesis.settings.register_profile("mutation", _few(hypothesis.settings()))
    hypothesis.settings.load_profile("mutation")


def _few(given: hypothesis.settings) -> hypothesis.settings:
    """Few examples, always the same, and the first that fails is enough."""
    return hypothesis.settings(
        given,
        max_examples=min(given.max_examples, EXAMPLES),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    task = Task.read()
    known = _look(session)
    with task.results.open("a") as results:
        for number, name in enumerate(task.names):
            began = time.monotonic()
            said = _in_fork(session, known, name, known.chosen(name, task.seconds))
            said["seconds"] = round(time.monotonic() - began, 2)
            if said["end"] == "killed":
                known.learn(name, said["test"])
            results.write(json.dumps({"name": name, **said}, ensure_ascii=False) + "\n")
            results.flush()
            sys.stderr.write(f"{number + 1}/{len(task.names)} {name} {said['end']} {said['seconds']}\n")
    return True


def _look(session: pytest.Session) -> Known:
    """Which tests call which function, and how long each takes; what an earlier run saw of them is kept."""
    kept = Path("known.json")
    seen = json.loads(kept.read_text()) if kept.exists() else {"seconds": {}, "tests": {}, "failed": []}
    new = [item for item in session.items if item.nodeid not in seen["seconds"]]
    with tempfile.NamedTemporaryFile("r") as told:
        child = os.fork()
        if child == 0:
            _observe(session, new, Path(told.name))
        os.waitpid(child, 0)
        more = json.loads(told.read())
    seen["seconds"] |= more["seconds"]
    seen["failed"] += more["failed"]
    for function, tests in more["tests"].items():
        seen["tests"].setdefault(function, []).extend(tests)
    kept.write_text(json.dumps(seen, indent=0))
    sys.stderr.write("\n".join(["", "Not used, for they fail without a mutant:", *seen["failed"], ""]))
    usable = {item.nodeid for item in session.items} - set(seen["failed"])
    tests = {
        function: [test for test in tests if test in usable] for function, tests in seen["tests"].items()
    }
    return Known({test: seen["seconds"][test] for test in usable}, tests)


def _observe(session: pytest.Session, items: list[pytest.Item], into: Path) -> Never:
    set_mutant_under_test("stats")
    os.environ["MUTMUT_DEPENDENCY_DEPTH"] = "-1"
    seconds: dict[str, float] = {}
    tests: dict[str, list[str]] = {}
    failed: list[str] = []
    session.config.pluginmanager.register(Watching(failed))
    for item in items:
        state()._stats.clear()
        began = _busy()
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        seconds[item.nodeid] = round(_busy() - began, 4)
        for function in state()._stats:
            tests.setdefault(function, []).append(item.nodeid)
    into.write_text(json.dumps({"seconds": seconds, "tests": tests, "failed": failed}))
    os._exit(0)


@attrs.define(eq=False)
class Watching:
    """Notes the tests that fail."""

    failed: list[str]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


@attrs.define(eq=False)
class Telling:
    """Ends the fork at the first failure or at a test that takes too long, and tells the parent."""

    to: TextIO
    seconds: dict[str, float]
    running: str = ""
    until: float = 0

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running = nodeid
        self.until = _busy() + PATIENCE + SLOWER * self.seconds[nodeid]
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.end("killed")

    def too_long(self, *_: Any) -> None:
        left = self.until - _busy()
        if left <= 0:
            self.end("too long")
        signal.setitimer(signal.ITIMER_REAL, left + 0.05)

    def end(self, how: str) -> Never:
        self.to.write(json.dumps({"end": how, "test": self.running}))
        self.to.flush()
        os._exit(0)


def _busy() -> float:
    """Seconds on the clock without those in which others had the processor."""
    try:
        waited = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        waited = 0.0
    return time.monotonic() - waited


def _in_fork(session: pytest.Session, known: Known, name: str, tests: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, tempfile.NamedTemporaryFile("r") as told:
        child = os.fork()
        if child == 0:
            try:
                _try(session, known, name, tests, Path(directory), Path(told.name))
            finally:
                os._exit(1)  # nothing of the parent's is left or cleaned up here
        _wait(child, limit=60 + 20 * sum(known.seconds[test] for test in tests))
        said = told.read()
        shutil.rmtree(directory, ignore_errors=True)
        Path(directory).mkdir(exist_ok=True)
    return json.loads(said) if said else {"end": "died", "test": ""}


def _wait(child: int, limit: float) -> None:
    """Until the fork ended, and all that it started with it."""
    end = time.monotonic() + limit
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def _try(
    session: pytest.Session, known: Known, name: str, tests: list[str], directory: Path, told: Path
) -> Never:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    tempfile.tempdir = str(directory)
    session.config._tmp_path_factory._given_basetemp = directory / "pytest"  # type: ignore[attr-defined]  # a fork has its own
    telling = Telling(told.open("w"), known.seconds)
    signal.signal(signal.SIGALRM, telling.too_long)
    session.config.pluginmanager.register(telling)
    set_mutant_under_test(name)
    items = {item.nodeid: item for item in session.items}
    for test in tests:
        session.config.hook.pytest_runtest_protocol(item=items[test], nextitem=None)
    telling.end("survived")
