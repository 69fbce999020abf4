"""The worker's side of a step in processes: what runs in there.

It imports the standard library only, so that a worker starts in little more than Python does. What comes back is plain
data and bytes: whether an answer can be pickled is found here, answer by answer, and one that can't fails its record.
"""

import inspect
import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

__all__ = ["Answers", "Kind", "Loaded", "Raised", "load", "work"]

Kind = Literal["map", "filter", "flat_map", "batch", "columns"]


class Raised(NamedTuple):
    """An exception, on its way back."""

    pickled: bytes | None
    """`None` where it can't be pickled."""
    name: str
    text: str
    traceback: str
    exit_code: int | None = None
    """Of an exception that would have ended the worker."""


class Answers(NamedTuple):
    """What became of the records of one call, or of the first ones of them."""

    values: bytes
    """A pickled list; of a record that failed `None`, or what it gave before it did."""
    raised: Mapping[int, Raised]
    kept: bytes | None = None
    """Of a columnar step, whose values are Arrow's bytes: which of the rows are left."""


class Loaded:
    """A step's function in this process."""

    def __init__(self, name: str, kind: Kind, function: bytes, *, stops: bool) -> None:
        self.name = name
        self.kind = kind
        self.function: Callable[..., Any] = pickle.loads(function)  # noqa: S301  - from the run's own process
        self.stops = stops
        """Whether nothing is to be run behind a record that fails."""

    def work(self, job: bytes, budget: float, *, columns: bool) -> Answers | Raised:
        """Run the function on the records of `job`; on as many of them as are begun within `budget` seconds."""
        try:
            if columns:
                return self._columns(job)
            records = pickle.loads(job)  # noqa: S301  - as above
            if self.kind in ("batch", "columns"):
                return self._batch(records)
        except BaseException as error:  # noqa: ASYNC103, BLE001  - in a worker process, without trio: whatever it is, it is an answer
            return _raised(error)  # noqa: ASYNC104  - as above
        return self._each(records, budget)

    def _each(self, records: Sequence[Any], budget: float) -> Answers:
        values: list[Any] = []
        raised: dict[int, Raised] = {}
        until = time.perf_counter() + budget
        for record in records:
            children: list[Any] = []
            try:
                value = self.function(record)
                if inspect.iscoroutine(value):
                    value.close()
                    raise TypeError(
                        f"step {self.name!r} gave a coroutine: worker processes run plain functions"
                    )
                if self.kind == "filter":
                    value = bool(value)
                elif self.kind == "flat_map":
                    for child in value:
                        children.append(child)  # noqa: PERF402  - what came before a failure is kept
                    value = children
            except BaseException as error:  # noqa: ASYNC103, BLE001  - as above
                raised[len(values)] = _raised(error)
                value = children or None
                if self.stops:
                    values.append(value)
                    break  # noqa: ASYNC104  - as above
            values.append(value)
            if time.perf_counter() >= until:
                break
        return self._answers(values, raised)

    def _batch(self, records: Sequence[Any]) -> Answers:
        function = self.function
        if self.kind == "columns":
            from agora.middlewares.columnar import row_form  # noqa: PLC0415  - loads attrs, and pyarrow with a record

            function = row_form(self.name, function)
        answer = function(records)
        values = list(answer)
        raised = {place: _raised(value) for place, value in enumerate(values) if isinstance(value, Exception)}
        return self._answers([None if at in raised else value for at, value in enumerate(values)], raised)

    def _columns(self, job: bytes) -> Answers:
        from agora.middlewares.columnar import checked  # noqa: PLC0415  - as above
        from agora.runtime.ipc import from_bytes, mask_to_bytes, to_bytes  # noqa: PLC0415  - loads pyarrow

        data = from_bytes(job)
        answer = checked(self.name, data, self.function(data))
        raised = {place: _raised(error) for place, error in answer.errors.items()}
        kept = None if answer.kept is None else mask_to_bytes(answer.kept)
        return Answers(to_bytes(answer.data), raised, kept)

    def _answers(self, values: list[Any], raised: dict[int, Raised]) -> Answers:
        try:
            dumped = pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001  - whatever a __reduce__ raises
            for place, value in enumerate(values):
                try:
                    pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
                except Exception as error:  # noqa: BLE001  - as above
                    values[place] = None
                    raised[place] = _raised(
                        pickle.PicklingError(
                            f"step {self.name!r}: what it gave can't be sent back from a worker process: {error}"
                        )
                    )
            dumped = pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
        return Answers(dumped, raised)


def _raised(error: BaseException) -> Raised:
    text = "".join(traceback.format_exception(error))
    if not isinstance(error, Exception):
        code = error.code if isinstance(error, SystemExit) else None
        code = 0 if code is None else code if isinstance(code, int) else 1
        return Raised(None, type(error).__name__, str(error), text, code)
    try:
        dumped: bytes | None = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        if type(pickle.loads(dumped)) is not type(error):  # type: ignore[arg-type]  # noqa: S301  - made above
            dumped = None
    except Exception:  # noqa: BLE001  - many exceptions can't: their constructor takes other things than they keep
        dumped = None
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  - users' code
        message = "(no message: its __str__ failed)"
    return Raised(dumped, type(error).__name__, message, text)


# A process serves one step, so it holds one function.
_loaded: Loaded | None = None


def load(name: str, kind: Kind, function: bytes, stops: bool) -> None:
    """Import and take the function that this process is there for."""
    global _loaded  # noqa: PLW0603  - see above
    threading.Thread(target=_end_with_parent, name="agora-worker-watch", daemon=True).start()
    _loaded = Loaded(name, kind, function, stops=stops)


def work(job: bytes, budget: float, columns: bool) -> Answers | Raised | None:
    """See `Loaded.work`; `None` in a process that has no function yet."""
    return None if _loaded is None else _loaded.work(job, budget, columns=columns)


def _end_with_parent() -> None:
    """A worker that is busy doesn't see that the pipe to its parent has closed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
