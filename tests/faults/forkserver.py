"""A process that has imported everything, and forks a run whenever it is asked: imports cost forty times a fork.

It has no thread, no loop and no SQLite connection, so what it forks begins as a new process would. Each run is a
real process, with its own locks and its own death.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import IO, Any

import attrs
import pyarrow as pa

from .child import FAILED, Request, run

__all__ = ["ForkServer", "environment"]


# pyarrow's allocator and numpy's algebra start threads when they are loaded.
_THREADLESS = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "OPENBLAS_NUM_THREADS": "1"}


def environment() -> dict[str, str]:
    """For a process that imports what is in this folder."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **_THREADLESS}


@attrs.define(eq=False)
class ForkServer:
    """The server's client. Used by one thread at a time, as a context manager."""

    _process: subprocess.Popen[str] = attrs.field(init=False)

    def __enter__(self) -> "ForkServer":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.forkserver"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # at the end of its input it ends, and its runs with it

    def start(self, request: Request) -> int:
        """Begin a run; its process id. What it prints goes to `log` in its folder."""
        return int(self._ask({"start": request.to_json()}))

    def kill(self, pid: int) -> None:
        """`kill -9`. A run that has ended is there, as a zombie, until it is waited for."""
        os.kill(pid, signal.SIGKILL)

    def wait(self, pid: int) -> int:
        """Until the run has ended: its exit code, or minus the signal that ended it."""
        return int(self._ask({"wait": pid}))

    def wait_stopped(self, pid: int) -> bool:
        """Until the run has stopped itself by SIGSTOP, or has ended: then False, and `wait` tells how."""
        return bool(self._ask({"wait_stopped": pid}))

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the fork server has died"
        return json.loads(answer)


def _serve(questions: IO[str], answers: IO[str]) -> None:
    running: set[int] = set()
    for line in questions:
        question = json.loads(line)
        answer: Any
        if "start" in question:
            answer = _fork(Request.from_json(question["start"]))
            running.add(answer)
        elif "wait" in question:
            _, status = os.waitpid(question["wait"], 0)
            running.discard(question["wait"])
            answer = os.waitstatus_to_exitcode(status)
        else:
            found = os.waitid(os.P_PID, question["wait_stopped"], os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            answer = found is not None and found.si_code == os.CLD_STOPPED
        print(json.dumps(answer), file=answers, flush=True)
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _fork(request: Request) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        log = os.open(Path(request.folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((null, log, log)):
            os.dup2(descriptor, number)
        code = run(request)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    pa.array([0])  # which imports pandas where that is installed: a second
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing from what is forked"
    gc.collect()
    gc.freeze()  # a collection in a run would otherwise copy the server's memory
    _serve(sys.stdin, sys.stdout)
