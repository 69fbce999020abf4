"""The command as users call it, in this process or in one of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from agora.cli.app import main

COMMAND = [sys.executable, "-m", "agora"]

STEPS = """
import sys
import trio

def double(order):
    if order["id"] in ("3", "5"):
        raise ValueError(f"no {order['id']}")
    return {**order, "twice": 2 * order["amount"]}

def large(order):
    return order["amount"] > 4

def reached(record):
    if record == 3:
        print("reached", file=sys.stderr, flush=True)
    return {"n": record}

async def stuck(record):
    print("reached", file=sys.stderr, flush=True)
    await trio.sleep_forever()

async def endless():
    number = 0
    while True:
        yield number
        number += 1
        await trio.sleep(0.001)

def few():
    return [{"n": n} for n in range(3)]

def broken():
    yield {"n": 0}
    raise OSError("the disk is gone")
"""

ORDERS = """
format = "agora/1"

[pipelines.orders]
source = { type = "csv", path = "orders.csv", types = { amount = "float" } }
middlewares = [{ type = "filter", import = "steps:large" }, { import = "steps:double" }]
sinks = [{ type = "jsonl", path = "large.jsonl" }]
checkpoint = { every = 3 }
dlq = { type = "state" }
state = { type = "sqlite", path = ".agora/state.db" }
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Ten orders, and steps for them."""
    (tmp_path / "steps.py").write_text(STEPS)
    rows = "".join(f"{number},{number}.5\n" for number in range(10))
    (tmp_path / "orders.csv").write_text(f"id,amount\n{rows}")
    (tmp_path / "orders.toml").write_text(ORDERS)
    return tmp_path


@attrs.frozen
class Done:
    """What a command left."""

    returncode: int | str | None
    stdout: str
    stderr: str


@pytest.fixture
def agora(directory: Path, monkeypatch, capfd) -> Callable[..., Done]:
    """Call `agora` with these arguments, in the directory; in this process: starting one costs a second."""
    monkeypatch.chdir(directory)

    def agora(*arguments: str) -> Done:
        modules, path = set(sys.modules), list(sys.path)
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        for name in set(sys.modules) - modules:
            if str(directory) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]
        sys.path[:] = path
        out, err = capfd.readouterr()
        return Done(exit_.value.code, out, err)

    return agora


@pytest.fixture
def process(directory: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call `agora` with these arguments in a process of its own, in the directory, and wait."""

    def process(*arguments: str, cwd: Path | str = directory) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    return process


@pytest.fixture
def started(directory: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `agora` and go on; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def write(directory: Path) -> Callable[..., None]:
    """Write `p.toml` with one pipeline."""

    def write(text: str) -> None:
        (directory / "p.toml").write_text(f'format = "agora/1"\n[pipelines.p]\n{text}\n')

    return write
