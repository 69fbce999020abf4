"""Files in memory do what files on a disk do, errors too."""

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agora import seam
from agora.testing.faults import Loss, Tree
from agora.testing.simulation.memoryfiles import MemoryFiles

names = st.sampled_from(["a", "b", "c.txt", ".h"])
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: Path(*parts))
modes = st.sampled_from(["rb", "r+b", "w+b", "x+b", "ab"])
globs = st.lists(
    st.sampled_from(["a", "b", "*", "*.txt", "[ab]", ".*", "**", "?"]), min_size=1, max_size=3
).map("/".join)


def tree_of(root: Path) -> dict[Path, bytes | None]:
    found = root.rglob("*")
    return {path.relative_to(root): None if path.is_dir() else path.read_bytes() for path in found}


class BothFiles(RuleBasedStateMachine):
    """Each operation on both; the results, the errors and what is there afterwards are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(os.path.realpath(self.directory.name))
        self.real, self.memory = seam.Files(), MemoryFiles(root=self.root)
        self.handles: list[tuple[Any, Any]] = []

    def teardown(self) -> None:
        for pair in self.handles:
            for handle in pair:
                handle.close()
        self.directory.cleanup()

    def both(self, real: Callable[[], Any], memory: Callable[[], Any]) -> tuple[Any, Any]:
        outcomes, results = [], []
        for act in (real, memory):
            try:
                results.append(act())
                outcomes.append("done")
            except (OSError, ValueError) as error:
                results.append(None)
                code = error.errno if isinstance(error, OSError) else None
                name = error.filename if isinstance(error, OSError) else None
                outcomes.append(f"{type(error).__name__} {code} {name}")
        assert outcomes[0] == outcomes[1]
        return results[0], results[1]

    def same(self, act: Callable[[seam.Files], Any]) -> None:
        real, memory = self.both(lambda: act(self.real), lambda: act(self.memory))
        assert real == memory

    @initialize()
    def begin(self) -> None:
        self.same(lambda files: files.make_directory(self.root / "a"))

    @rule(path=paths, mode=modes)
    def open(self, path: Path, mode: str) -> None:
        pair = self.both(
            lambda: self.real.open(self.root / path, mode), lambda: self.memory.open(self.root / path, mode)
        )
        if pair[0] is not None:
            self.handles.append(pair)

    def handle(self, data: st.DataObject) -> tuple[Any, Any] | None:
        return data.draw(st.sampled_from(self.handles)) if self.handles else None

    @rule(data=st.data(), content=st.binary(max_size=9))
    def write(self, data: st.DataObject, content: bytes) -> None:
        if pair := self.handle(data):
            self.both(lambda: self.real.write(pair[0], content), lambda: self.memory.write(pair[1], content))
            self.both(pair[0].tell, pair[1].tell)

    @rule(data=st.data(), size=st.integers(-1, 12))
    def truncate(self, data: st.DataObject, size: int) -> None:
        if pair := self.handle(data):
            self.both(lambda: self.real.truncate(pair[0], size), lambda: self.memory.truncate(pair[1], size))

    @rule(data=st.data(), offset=st.integers(-4, 12), whence=st.integers(0, 2), count=st.integers(-1, 9))
    def read(self, data: st.DataObject, offset: int, whence: int, count: int) -> None:
        if pair := self.handle(data):
            real, memory = self.both(
                lambda: (pair[0].seek(offset, whence), pair[0].read(count), pair[0].tell()),
                lambda: (pair[1].seek(offset, whence), pair[1].read(count), pair[1].tell()),
            )
            assert real == memory

    @rule(data=st.data())
    def look_at_handle(self, data: st.DataObject) -> None:
        if pair := self.handle(data):
            real, memory = self.both(
                lambda: self.real.status_of(pair[0]), lambda: self.memory.status_of(pair[1])
            )
            assert real is None or real.size == memory.size
            self.both(lambda: self.real.fsync(pair[0]), lambda: self.memory.fsync(pair[1]))
            # Not `seekable`: Python's own files take a first seek that fails, to before the start, for an answer.
            for question in ("readable", "writable"):
                first, second = self.both(getattr(pair[0], question), getattr(pair[1], question))
                assert first == second

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if pair := self.handle(data):
            pair[0].close()
            pair[1].close()

    @rule(data=st.data(), path=paths)
    def who_is_it(self, data: st.DataObject, path: Path) -> None:
        if (pair := self.handle(data)) and not pair[0].closed:
            answers = []
            for files, handle in ((self.real, pair[0]), (self.memory, pair[1])):
                there = files.exists(self.root / path)
                answers.append(
                    there and files.status(self.root / path).identity == files.status_of(handle).identity
                )
            assert answers[0] == answers[1]

    @rule(source=paths, goal=paths)
    def replace(self, source: Path, goal: Path) -> None:
        self.same(lambda files: files.replace(self.root / source, self.root / goal))

    @rule(source=paths, goal=paths)
    def copy(self, source: Path, goal: Path) -> None:
        self.same(lambda files: files.copy(self.root / source, self.root / goal))

    @rule(path=paths, what=st.sampled_from(["unlink", "make_directory", "remove_directory", "remove_tree"]))
    def change(self, path: Path, what: str) -> None:
        self.same(lambda files: getattr(files, what)(self.root / path))

    @rule(path=paths)
    def ask(self, path: Path) -> None:
        where = self.root / path
        for question in ("exists", "is_taken", "is_directory", "sync_directory", "real"):
            self.same(lambda files, question=question: getattr(files, question)(where))
        self.same(lambda files: sorted(files.names(where)))
        self.same(lambda files: None if files.is_directory(where) else files.status(where).size)

    @rule(pattern=globs)
    def match(self, pattern: str) -> None:
        self.same(lambda files: sorted(set(files.matches(str(self.root / pattern)))))

    @invariant()
    def hold_the_same(self) -> None:
        assert self.memory.tree() == tree_of(self.root)
        assert self.memory.after(Loss.none()) == self.memory.tree()


BothFiles.TestCase.settings = settings(
    max_examples=80,
    phases=[Phase.generate],  # a shorter example isn't worth the minutes
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestBothFiles = BothFiles.TestCase


def test_what_was_fsynced_survives_a_loss_of_power() -> None:
    tree: Tree = {Path("in"): None, Path("in/a"): b"old"}
    files = MemoryFiles(tree, root=Path("/there"))
    with files.open(Path("/there/in/a"), "ab") as handle:
        files.write(handle, b"1")
        files.fsync(handle)
        files.write(handle, b"2")
        assert files.still_open == ["/there/in/a"]
    assert files.still_open == []
    files.replace(Path("/there/in/a"), Path("/there/in/b"))
    assert files.tree() == {Path("in"): None, Path("in/b"): b"old12"}
    assert files.after(Loss.total()) == {Path("in"): None, Path("in/a"): b"old1"}
    files.sync_directory(Path("/there/in"))
    assert files.after(Loss.total()) == {Path("in"): None, Path("in/b"): b"old1"}
    found = {files.after(Loss.random(seed))[Path("in/b")] for seed in range(20)}
    assert found == {b"old1", b"old12"}


def test_relative_paths_are_those_of_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    files = MemoryFiles({Path("a"): b"x"})
    assert files.exists(Path("a"))
    assert files.matches("*") == ["a"]
    assert files.exists(tmp_path)
    assert not any(files.exists(Path(name)) for name in itertools.chain(["b"], ["/etc/passwd"]))
