"""Checks in environments of their own, on every Python that is there.

`sh dev/check` is the gate, in one environment. What no gate has the time for is a session here: `nox -s bench`.
"""

import tempfile

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = False

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)


def install(session: nox.Session, *groups: str) -> None:
    """agora and the packages of these dependency groups."""
    session.install("--editable", ".", *nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The everyday suite, with its files on the disk; further arguments go to pytest."""
    install(session, "test")
    session.env["TMPDIR"] = tempfile.gettempdir()  # else it prefers memory: see tests/conftest.py
    session.run("pytest", *(session.posargs or ["-n", "2"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, imports that point one way, trio's rules."""
    install(session, "lint")
    session.run("sh", "dev/lint", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Strict types."""
    install(session, "lint", "test", "bench")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """All benchmarks at their full size, against their targets; arguments name some of them."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["--check", "--full"]))


@nox.session
def guard(session: nox.Session) -> None:
    """W1 and W4 small: no ratio may fall by more than 15 % below benchmarks/reference.json."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", "--guard", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Lines and branches of agora/runtime that its own tests reach; fails below 98 %. Arguments go to pytest."""
    install(session, "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-n", "2", *(session.posargs or ["tests/runtime"]))
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def kill(session: nox.Session) -> None:
    """Runs ended by `kill -9` wherever that may be, and resumed; arguments say how many, and from which seed."""
    install(session, "test")
    session.run("python", "-m", "tests.faults.campaign", *(session.posargs or ["--kills", "2000"]))


@nox.session
def failpoints(session: nox.Session) -> None:
    """Every operation on the disk fails in every way, and power is lost at every moment; also while recovering."""
    install(session, "test")
    session.env["AGORA_EVERY_FAILPOINT"] = "1"
    tests = ["tests/faults/test_failpoints.py", "tests/faults/test_power_loss.py"]
    session.run("pytest", "-n", "2", *(session.posargs or tests))


@nox.session
def laws(session: nox.Session) -> None:
    """Whether each part that is broken on purpose is found by its law: by each of 20 seeds, within 10 s of CPU time."""
    install(session, "test")
    session.env["AGORA_LAW_SEEDS"] = "20"
    session.run("pytest", "-n", "2", *(session.posargs or ["tests/testing/laws"]))


@nox.session
def properties(session: nox.Session) -> None:
    """Properties of parts and of the engine, with ten times the examples and more."""
    install(session, "test")
    session.env["AGORA_MANY_EXAMPLES"] = "1"
    session.env["AGORA_BUSY_SEEDS"] = "200"
    for name in ("REPLAY", "EXPRESSION", "COLUMN"):
        session.env[f"AGORA_{name}_EXAMPLES"] = "1000"
    folders = ["expressions", "middlewares", "runtime", "sinks", "sources"]
    session.run("pytest", "-n", "2", *(session.posargs or [f"tests/{folder}" for folder in folders]))


@nox.session
def simulate(session: nox.Session) -> None:
    """10,000 seeds over the built-in parts in simulated worlds; arguments say how many, and from which seed."""
    install(session, "test")
    session.run(
        "python", "-m", "tests.testing.simulation.campaign", *(session.posargs or ["--seeds", "10000"])
    )


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutants of agora/runtime, in a copy; fails on a survivor that tests/mutation/survivors.toml doesn't explain.

    Arguments name modules (`nox -s mutation -- tally barrier`); what else there is: tests/mutation/__main__.py.
    """
    install(session, "mutation")
    session.run("python", "-m", "tests.mutation", *session.posargs)
