"""Functions and middlewares that worker processes import."""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

from agora import middleware


def double(record: Any) -> Any:
    return {**record, "twice": record["id"] * 2}


def where_it_runs(record: Any) -> Any:
    return {**record, "pid": os.getpid()}


def odd(record: Any) -> int:
    return int(record["id"] % 2)


def copies(record: Any) -> Any:
    """As many as its number says; a generator that fails behind the third."""
    for number in range(record["id"] % 5):
        if number == 3:
            raise ValueError(record["id"])
        yield {**record, "copy": number}


@middleware
def decorated(record: Any) -> Any:
    return {**record, "decorated": True}


def mixed(record: Any) -> Any:
    """Something of everything that a function can do with a record."""
    match record["id"] % 7:
        case 0:
            return None
        case 3:
            raise LookupError(record["id"])
        case 5:
            record["changed"] = "in place"
            raise LookupError(record["id"])
    return {**record, "seen": True}


def by_what_it_says(record: Any) -> Any:
    """Does to its process what the record says."""
    match record.get("do"):
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(4)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            time.sleep(1_000)
        case "spin":
            while True:
                pass
        case "raise":
            raise KeyError("no such thing")
        case "raise strangely":
            raise Strange("one", "two")
        case "lock":
            return threading.Lock()
        case "coroutine":
            return later()
        case "nap":
            time.sleep(0.03)
        case "noise":
            print("noise", flush=True)
            os.write(1, b"more noise\n")
    return record


async def later() -> None:
    """For a plain function that gives a coroutine."""


class Strange(Exception):
    """Can be pickled, and not be read again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def begin_and_hang(record: Any) -> Any:
    """Says in a file that it runs, and goes on for ever."""
    with open(record["path"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(1_000)


class Unreadable:
    """Can be pickled, and not be read again."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("can't be read")


class Scaled:
    """Gets what it needs from `on_start`, which runs in the parent."""

    def __init__(self) -> None:
        self.factor = 0
        self.ended = False

    def on_start(self, context: Any) -> None:
        self.factor = 10

    def on_end(self) -> None:
        self.ended = True

    def process(self, record: Any) -> Any:
        return {**record, "scaled": record["id"] * self.factor}


class Keeps(Scaled):
    """Holds something that can't be sent."""

    def on_start(self, context: Any) -> None:
        self.lock = threading.Lock()


class Remembers(Scaled):
    """Uses the state of its context."""

    def on_start(self, context: Any) -> None:
        self.state = context.state

    def process(self, record: Any) -> Any:
        self.state["n"] = 1
        return record


class InBatches:
    def process_batch(self, records: Any) -> Any:
        for record in records:
            if record.get("do"):
                by_what_it_says(record)
        return [
            None if record["id"] % 3 == 0 else ValueError("five") if record["id"] % 5 == 0 else double(record)
            for record in records
        ]


class TooFew:
    def process_batch(self, records: Any) -> Any:
        return records[1:]
