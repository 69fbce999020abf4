"""After a crash at any file operation, or a failure of one, recovery gives what the saved token covers."""

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard

from agora.errors import RecordsRejected, SinkChanged
from agora.sinks import CsvSink, JsonLinesSink

RECORDS = [{"n": n, "text": "x" * n} for n in range(8)]
SCRIPT = [
    "write",
    "prepare",
    "commit",
    "write",
    "write",
    "prepare",
    "commit",
    "prepare",
    "write",
    "prepare",
    "commit",
]
BEFORE = {
    ".jsonl": b'{"old":1}\n{"old":2}',
    ".gz": gzip.compress(b'{"old":1}\n{"old":2}'),
    ".csv": b"n,text\n7,old",
}

KINDS: dict[str, Any] = {
    "out.jsonl": JsonLinesSink,
    "out.jsonl.gz": JsonLinesSink,
    "out.jsonl.zst": JsonLinesSink,
    "out.csv": CsvSink,
}


def rows(path: Path) -> list[Any] | None:
    """What is in the file, read with other libraries; `None` where there is none."""
    if not path.exists():
        return None
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if path.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    assert not data or data.endswith(b"\n") or data.endswith((b'{"old":2}', b"7,old"))
    if ".csv" in path.suffixes:
        return [
            {"n": int(row["n"]), "text": row["text"]} for row in csv.DictReader(data.decode().splitlines())
        ]
    return [json.loads(line) for line in data.splitlines()]


class Story:
    """One run of SCRIPT; knows at every moment which token is saved and what it covers."""

    def __init__(self, sink: Any, base: list[Any] | None) -> None:
        self.sink = sink
        self.written: list[Any] = [] if base is None else list(base)
        self.token: Any = None
        self.covered: list[Any] | None = base
        self.count = 0

    async def run(self, context: Any, script: list[str] = SCRIPT) -> None:
        await self.sink.open(context)
        self.token = await self.sink.prepare()
        await self.sink.recover(self.token)
        for act in script:
            if act == "write":
                await self.sink.write(RECORDS[self.count : self.count + 2])
                self.written += RECORDS[self.count : self.count + 2]
                self.count += 2
            elif act == "prepare":
                self.token = await self.sink.prepare()
                self.covered = list(self.written)
            else:
                await self.sink.commit(self.token)


def start(name: str, existing: str, directory: Path) -> tuple[Any, list[Any] | None, list[Any] | None]:
    """A sink; what the target was; what the records go behind."""
    path = directory / "deep" / "er" / name
    if existing == "none":
        return KINDS[name](path), None, None
    path.parent.mkdir(parents=True)
    path.write_bytes(BEFORE[path.suffix])
    old = rows(path)
    return KINDS[name](path, if_exists=existing), old, old if existing == "append" else None


CASES = [
    ("out.jsonl", "none"), ("out.jsonl", "append"), ("out.jsonl", "replace"),
    ("out.jsonl.gz", "none"), ("out.jsonl.gz", "append"), ("out.jsonl.zst", "none"),
    ("out.csv", "none"), ("out.csv", "append"), ("out.csv", "replace"),
]  # fmt: skip


@pytest.mark.usefixtures("no_buffer")
@pytest.mark.parametrize(("name", "existing"), CASES)
async def test_a_crash_before_any_file_operation_is_recovered_to_what_the_token_covers(
    name: str, existing: str, tmp_path: Path, context: Any, machine: Any
) -> None:
    live, frozen = tmp_path / "live", tmp_path / "frozen"
    live.mkdir()
    sink, was, base = start(name, existing, live)
    story = Story(sink, base)
    moments: list[tuple[Path, Any, list[Any] | None]] = []

    def snapshot(call: int, _operation: object) -> None:
        if story.token is not None:
            machine.copy_tree(live, frozen / str(call))
            moments.append((frozen / str(call), story.token, story.covered if story.token["exists"] else was))

    with machine.watching(snapshot):
        await story.run(context(fence=1))
        await sink.close()
    assert len(moments) >= 10
    for directory, token, expected in moments:
        if_exists = None if existing == "none" else existing
        for takeover in (False, True):
            copy = directory.with_name(f"{directory.name}-{takeover}")
            machine.copy_tree(directory, copy)
            path = copy / "deep" / "er" / name
            again = KINDS[name](path, if_exists=if_exists)
            await again.open(context(fence=2, completed=False, takeover=takeover))
            await again.recover(token)
            assert rows(path) == expected
            if path.parent.exists():
                assert [entry for entry in os.listdir(path.parent) if entry != name] == []
            await again.write([{"n": 99, "text": "more"}])
            await again.commit(await again.prepare())
            await again.close()
            covered = expected if token["exists"] else (base or [])
            assert rows(path) == [*(covered or []), {"n": 99, "text": "more"}]


@pytest.mark.usefixtures("no_buffer")
@pytest.mark.parametrize(("name", "existing"), CASES)
async def test_a_failure_of_any_file_operation_leaves_what_recovery_restores(
    name: str, existing: str, tmp_path: Path, context: Any, machine: Any
) -> None:
    for number in range(1, 100):
        directory = tmp_path / str(number)
        directory.mkdir()
        sink, was, base = start(name, existing, directory)
        story = Story(sink, base)
        failed = False
        with machine.watching(machine.fail_at(number)):
            try:
                await story.run(context(fence=1))
            except OSError:
                failed = True
            try:
                await sink.close()
            except OSError:
                failed = True
        path = directory / "deep" / "er" / name
        if story.token is not None:
            again = KINDS[name](path, if_exists=None if existing == "none" else existing)
            await again.open(context(fence=2, completed=False))
            await again.recover(story.token)
            assert rows(path) == (story.covered if story.token["exists"] else was), number
            await again.close()
        else:
            assert rows(path) == was
        if not failed:
            assert number > 9
            return
    pytest.fail("the run never got through")


@pytest.mark.parametrize("existing", ["append", "replace"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.csv"])
async def test_without_checkpoints_a_failure_of_any_operation_leaves_the_old_file_or_the_whole_new_one(
    name: str, existing: str, tmp_path: Path, context: Any, machine: Any
) -> None:
    for number in range(1, 100):
        sink, was, base = start(name, existing, tmp_path / str(number))
        directory = tmp_path / str(number) / "deep" / "er"
        done = closed = False
        with machine.watching(machine.fail_at(number)):
            try:
                await sink.open(context())
                await sink.write(RECORDS)
                await sink.publish()
                done = True
            except OSError:
                pass
            try:
                await sink.close()
                closed = True
            except OSError:
                pass  # the one failure hit the removal of the file beside the target itself
        assert rows(directory / name) in (was, [*(base or []), *RECORDS])
        assert not closed or os.listdir(directory) == [name]
        if done and closed:
            assert rows(directory / name) == [*(base or []), *RECORDS]
            assert number > 4
            return
    pytest.fail("the run never got through")


@pytest.mark.usefixtures("no_buffer")
async def test_a_disk_that_is_full_for_a_while_loses_and_repeats_nothing(
    tmp_path: Path, context: Any, machine: Any
) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLinesSink(path)
    await sink.open(context(fence=1))
    await sink.write(RECORDS[:2])
    size = path.stat().st_size
    with machine.watching(machine.fail_at(1)), pytest.raises(OSError, match="No space"):
        await sink.write(RECORDS[2:4])
    assert path.stat().st_size == size
    token: Any = await sink.prepare()
    assert token["size"] == size
    await sink.write(RECORDS[2:4])
    await sink.prepare()
    assert rows(path) == RECORDS[:4]
    await sink.close()


async def test_a_failed_fsync_is_not_believed_when_it_succeeds_later(
    tmp_path: Path, context: Any, machine: Any
) -> None:
    def refuse(_call: int, operation: Any) -> None:
        if operation.name == "fsync":
            raise OSError(5, "Input/output error")

    sink = JsonLinesSink(tmp_path / "out.jsonl")
    await sink.open(context(fence=1))
    await sink.write(RECORDS)
    with machine.watching(refuse), pytest.raises(OSError, match="Input/output"):
        await sink.prepare()
    with pytest.raises(OSError, match="earlier fsync"):
        await sink.prepare()
    await sink.close()
    assert not (tmp_path / "out.jsonl").exists()


async def test_rejected_records_are_not_in_the_token(tmp_path: Path, context: Any) -> None:
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    await sink.open(context(fence=1))
    with pytest.raises(RecordsRejected):
        await sink.write([{"a": 1}, {"a": float("nan")}, {"a": 2}])
    await sink.commit(await sink.prepare())
    await sink.close()
    assert rows(tmp_path / "out.jsonl") == [{"a": 1}, {"a": 2}]


async def test_what_the_old_holder_still_writes_reaches_nothing(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "out.jsonl"
    frozen = JsonLinesSink(path)
    await frozen.open(context(fence=1))
    await frozen.write(RECORDS[:2])
    token = await frozen.prepare()
    taken = JsonLinesSink(path)
    await taken.open(context(fence=2, completed=False, takeover=True))
    await taken.recover(token)
    await frozen.write(RECORDS[2:4])
    await frozen.prepare()
    await taken.write(RECORDS[4:6])
    await taken.commit(await taken.prepare())
    await frozen.close()
    await taken.close()
    assert rows(path) == RECORDS[:2] + RECORDS[4:6]


async def test_an_old_holder_that_had_nothing_open_can_not_write_into_the_new_ones_file(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out.jsonl"
    first = JsonLinesSink(path)
    await first.open(context(fence=1))
    await first.write(RECORDS[:2])
    token = await first.prepare()
    await first.close()
    frozen, taken = JsonLinesSink(path), JsonLinesSink(path)
    await frozen.open(context(fence=2, completed=False))
    await frozen.recover(token)
    await taken.open(context(fence=3, completed=False, takeover=True))
    await taken.recover(token)
    await taken.write(RECORDS[4:6])
    await taken.prepare()
    await frozen.write(RECORDS[2:4])
    with pytest.raises(SinkChanged, match="taken over"):
        await frozen.prepare()
    await frozen.close()
    await taken.close()
    assert rows(path) == RECORDS[:2] + RECORDS[4:6]


async def test_an_old_holder_that_closes_does_not_remove_the_new_ones_file(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out.jsonl"
    frozen = JsonLinesSink(path)
    await frozen.open(context(fence=1))
    base = await frozen.prepare()
    await frozen.write([{"long": "x" * 300_000}])
    assert path.exists()
    taken = JsonLinesSink(path)
    await taken.open(context(fence=2, takeover=True))
    await taken.recover(base)
    await taken.write(RECORDS[4:6])
    await taken.commit(await taken.prepare())
    await frozen.close()
    await taken.close()
    assert rows(path) == RECORDS[4:6]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
@pytest.mark.parametrize("existing", ["none", "append"])
async def test_a_restart_undoes_what_this_pipeline_wrote_and_nothing_else(
    name: str, existing: str, tmp_path: Path, context: Any
) -> None:
    sink, was, base = start(name, existing, tmp_path)
    path = tmp_path / "deep" / "er" / name
    story = Story(sink, base)
    await story.run(context(fence=1))
    await sink.close()
    again = KINDS[name](path, if_exists=None if existing == "none" else existing)
    await again.open(context(fence=2, completed=False))
    await again.recover(story.token)
    await again.restart(story.token)
    assert rows(path) == was
    genesis: Any = await again.prepare()
    await again.recover(genesis)
    assert rows(path) == was
    await again.write(RECORDS[:2])
    await again.commit(await again.prepare())
    await again.close()
    assert rows(path) == [*(base or []), *RECORDS[:2]]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
@pytest.mark.parametrize("takeover", [False, True])
async def test_a_restart_before_the_first_commit_leaves_what_was_to_be_replaced_until_its_own_commit(
    name: str, takeover: bool, tmp_path: Path, context: Any
) -> None:
    sink, was, base = start(name, "replace", tmp_path)
    path = tmp_path / "deep" / "er" / name
    story = Story(sink, base)
    await story.run(context(fence=1), ["write", "prepare"])
    again = KINDS[name](path, if_exists="replace")
    await again.open(context(fence=2, completed=False, takeover=takeover))
    await again.restart(story.token)
    await again.write(RECORDS[:2])
    token = await again.prepare()
    assert rows(path) == was
    await again.commit(token)
    await again.close()
    await sink.close()
    assert rows(path) == RECORDS[:2]
    assert [each.name for each in path.parent.iterdir()] == [name]


async def test_a_restart_refuses_a_file_that_is_not_its_own(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLinesSink(path)
    await sink.open(context(fence=1))
    await sink.write(RECORDS)
    token: Any = await sink.prepare()
    await sink.close()
    path.write_bytes(b"#" * token["size"])
    again = JsonLinesSink(path)
    await again.open(context(fence=2, completed=False))
    with pytest.raises(SinkChanged, match="replaced"):
        await again.restart(token)
    await again.close()
    assert path.exists()
    path.unlink()
    again = JsonLinesSink(path)
    await again.open(context(fence=2))
    await again.restart(token)  # the way out that the message names
    await again.write(RECORDS[:1])
    await again.commit(await again.prepare())
    await again.close()
    assert rows(path) == RECORDS[:1]
