"""What outlives the process: disk, state and time of a simulation."""

import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import trio

from agora.checkpoint import Checkpoint
from agora.state.memory import MemoryBackend
from agora.testing.faults.nodes import Tree
from agora.testing.simulation.machine import Machine
from agora.testing.simulation.memoryfiles import MemoryFiles
from agora.testing.simulation.plan import Ending, LifePlan
from agora.testing.simulation.state import SimulatedState
from agora.testing.simulation.trace import Trace

__all__ = ["Content", "World"]

Content: TypeAlias = bytes | str | Sequence[Any]
"""Of a file: bytes, text, or records to be written as JSON lines."""


@attrs.define(eq=False)
class World:
    """What a pipeline is built in. Its parts name files as ever, relative ones too: they are in memory."""

    trace: Trace
    disk: MemoryFiles
    elapsed: float = 0.0
    """Virtual seconds at which the run that is under way began."""
    saved: list[tuple[str, Checkpoint | None]] = attrs.field(factory=list)
    """Pipelines and their checkpoints, in the order in which they were saved; `None`: it was forgotten."""
    killed: bool = False
    """Whether a process was killed."""
    _stores: dict[str, MemoryBackend] = attrs.field(factory=dict)
    _states: dict[str, SimulatedState] = attrs.field(factory=dict)
    _machine: Machine | None = None
    _left: tuple[Tree, dict[str, MemoryBackend]] | None = None
    """What a process that was killed has left."""

    @classmethod
    def of(cls, seed: int, files: Mapping[str, Content]) -> "World":
        """A new one with these files, durable, on its disk."""
        return cls(Trace(seed), MemoryFiles(_tree(files)))

    @property
    def state(self) -> SimulatedState:
        """The state backend of this world; more of them by `backend`."""
        return self.backend("state")

    def backend(self, name: str) -> SimulatedState:
        """The state backend of this name, as the machine of the run under way reaches it."""
        if name not in self._states:
            store = self._stores.setdefault(name, MemoryBackend())
            self._states[name] = SimulatedState(self.machine, store, self.saved)
        return self._states[name]

    @property
    def machine(self) -> Machine:
        """That of the run under way, or of the last one."""
        assert self._machine is not None, "no run has begun"
        return self._machine

    @property
    def chance(self) -> random.Random:
        """For what a part of a pipeline draws: equal for equal seeds."""
        return self.machine.chance

    async def pause(self, mean: float = 0.01) -> None:
        """Wait for about so many virtual seconds, mostly, or none: as a call of another service. A trio checkpoint."""
        await trio.sleep(0 if self.chance.random() < 0.5 else round(self.chance.expovariate(1 / mean), 6))

    def read(self, name: str) -> bytes:
        """The content of a file; `OSError` where there is none."""
        with self.disk.open(Path(name), "rb") as handle:
            return handle.read()

    def records(self, name: str) -> list[Any]:
        """The records of a file of JSON lines; none where there is no file."""
        return (
            [json.loads(line) for line in self.read(name).splitlines()]
            if self.disk.exists(Path(name))
            else []
        )

    def write(self, name: str, content: Content) -> None:
        """Make a file, durably, or replace its content: as somebody else does while nothing runs."""
        path = Path(os.path.abspath(name))
        self.disk.make_directory(path.parent)
        with self.disk.open(path, "w+b") as handle:
            self.disk.write(handle, as_bytes(content))
            self.disk.fsync(handle)
        for directory in path.relative_to(self.disk.root).parents:
            self.disk.sync_directory(self.disk.root / directory)

    # --- lives ---

    def begin(self, plan: LifePlan) -> Machine:
        """A process begins, on what the one before it has left."""
        if self._left is not None:
            tree, self._stores = self._left
            self.disk, self._left = MemoryFiles(tree, root=self.disk.root), None
        self._states = {}
        self._machine = Machine(plan, self.disk, self.trace, self.elapsed, self._die)
        return self._machine

    def beside(self, plan: LifePlan) -> "World":
        """The same world as another process sees it that runs at the same time, on a machine of its own."""
        machine = Machine(plan, self.disk, self.trace, self.elapsed, self._die, "the other: ")
        return attrs.evolve(self, machine=machine, states={})

    def end(self) -> None:
        """It is over, and nothing happens for a while. To be called while its clock still goes."""
        self.elapsed = self.machine.monotonic() + self.machine.plan.silence

    @property
    def still_open(self) -> list[str]:
        """What a run has left open."""
        return [*self.disk.still_open, *(name for name, state in self._states.items() if state.is_open)]

    def _die(self) -> None:
        plan = self.machine.plan
        locks = plan.ending is Ending.FROZEN
        stores = {name: store.copy(locks=locks) for name, store in self._stores.items()}
        self.killed = True
        self._left = self.disk.after(plan.loss), stores
        self.end()


def _tree(files: Mapping[str, Content]) -> Tree:
    tree: dict[Path, bytes | None] = {}
    root = Path.cwd()
    for name, content in files.items():
        path = Path(os.path.abspath(name)).relative_to(root)
        tree.update(dict.fromkeys(path.parents))
        tree[path] = as_bytes(content)
    tree.pop(Path(), None)
    return tree


def as_bytes(content: Content) -> bytes:
    """As a file holds it."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    return b"".join(json.dumps(record).encode() + b"\n" for record in content)
