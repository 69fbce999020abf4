"""Damage anywhere in the state file: what is answered is what was saved, or a `StateError` that names the file and what
to do. Never a wrong answer, never nothing where something was, never another exception."""

import random
import sqlite3
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from agora.checkpoint import Checkpoint
from agora.deadletter import SOURCE_ENTRY, DLQRecord, letter_id
from agora.errors import StateError
from agora.state import CheckpointStore, Put, SQLiteBackend, StateDLQSink, opened
from agora.state.sqlitefile import FORMAT

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
PIPELINES = ("a", "orders", "z")


def checkpoint(ordinal: int) -> Checkpoint:
    return Checkpoint(
        position={"offset": ordinal * 100}, ordinal=ordinal, source="s", run_id="r", saved_at=NOON
    )


def letter(number: int) -> DLQRecord:
    return DLQRecord(
        id=letter_id(pipeline="orders", run_id="r", ordinal=number, stage="source", nth=0),
        pipeline="orders",
        run_id="r",
        stage="source",
        error_type="ValueError",
        error_message="no",
        original={"id": number, "text": "x" * 40},
        processed=None,
        entry=SOURCE_ENTRY,
        checkpoint={"ordinal": number},
        attempts=1,
        failed_at=NOON,
    )


async def fill(path: Path) -> None:
    state = SQLiteBackend(path)
    async with opened(state):
        for pipeline in PIPELINES:
            await CheckpointStore(state).save(pipeline, checkpoint(len(pipeline)))
        await StateDLQSink(state).write([letter(number) for number in range(60)])
        await state.apply([Put("cache", f"{number}", b"v" * 30, ttl=1e9) for number in range(20)])


async def look(path: Path) -> Any:
    state = SQLiteBackend(path)
    async with opened(state):
        checkpoints = [await CheckpointStore(state).load(pipeline) for pipeline in PIPELINES]
        letters = [each async for each in StateDLQSink(state).read("orders")]
        cached = [row async for row in state.scan("cache")]
        return checkpoints, letters, cached, await state.get("cache", "none")


def put_bytes(path: Path, data: bytes) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["bit", "byte", "zeros", "swapped"])
async def test_wherever_the_file_is_damaged_the_answer_is_right_or_an_error_that_names_it(
    tmp_path: Path, kind: str
) -> None:
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    await fill(good)
    data, expected = good.read_bytes(), await look(good)
    chance = random.Random(17)
    refused = 0
    for number in range(80):
        # each page has its turn, and within it its head most of all, where its structure is
        page = number % (len(data) // 4096) * 4096
        at = page + chance.choice([chance.randrange(110), chance.randrange(4096), chance.randrange(4096)])
        damaged = bytearray(data)
        match kind:
            case "bit":
                damaged[at] ^= 1 << chance.randrange(8)
            case "byte":
                damaged[at] = chance.randrange(256)
            case "zeros":
                damaged[at : at + 64] = bytes(min(64, len(data) - at))
            case _:
                other = chance.randrange(len(data) // 4096) * 4096
                damaged[page : page + 4096], damaged[other : other + 4096] = (
                    data[other : other + 4096],
                    data[page : page + 4096],
                )
        put_bytes(bad, bytes(damaged))
        try:
            answer = await look(bad)
        except StateError as error:
            refused += 1
            assert "bad.db" in str(error), error
        else:
            assert answer == expected, f"{kind} at {at}"
    assert refused > 20


@pytest.mark.parametrize("kind", ["cut", "garbage", "zeros", "gone"])
async def test_a_damaged_log_costs_the_transactions_in_it_and_never_half_of_one(
    tmp_path: Path, kind: str
) -> None:
    """SQLite takes a log up to its last whole transaction: the rest is as if it hadn't been committed."""
    path, copy = tmp_path / "state.db", tmp_path / "copy.db"
    state = SQLiteBackend(path)
    async with opened(state):
        for number in range(1, 30):
            await state.apply([Put("n", "a", b"%d" % number), Put("n", "b", b"%d" % number + b"x" * 5_000)])
        data, log = path.read_bytes(), path.with_name("state.db-wal").read_bytes()
    chance = random.Random(3)
    found = set()
    for _ in range(25):
        at = chance.randrange(32, len(log))
        left = {
            "cut": log[:at],
            "garbage": log[:at] + chance.randbytes(len(log) - at),
            "zeros": log[:at] + bytes(len(log) - at),
            "gone": b"",
        }[kind]
        put_bytes(copy, data)
        if left:
            copy.with_name("copy.db-wal").write_bytes(left)
        async with opened(SQLiteBackend(copy)) as restored:
            one, two = await restored.get("n", "a"), await restored.get("n", "b")
        if one is None:
            assert two is None
        else:
            assert two == one + b"x" * 5_000
        found.add(one)
    assert len(found) > 5 or kind == "gone"


async def test_a_file_of_the_first_format_is_brought_to_todays_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    old = sqlite3.connect(path)
    old.executescript(
        """
        PRAGMA application_id = 0x41474F52;
        PRAGMA user_version = 1;
        CREATE TABLE entries (
            namespace TEXT NOT NULL,
            key TEXT NOT NULL,
            value BLOB NOT NULL,
            expires REAL,
            PRIMARY KEY (namespace, key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL;
        """
    )
    rows = [("n", f"{number:03}", b"%d" % number, None if number % 2 else 4e9) for number in range(300)]
    old.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", [*rows, ("m", "", b"", None)])
    old.commit()
    old.close()
    for _ in range(2):
        async with opened(SQLiteBackend(path)) as state:
            assert [row async for row in state.scan("n")] == [(key, value) for _, key, value, _ in rows]
            assert await state.get("m", "") == b""
            await state.put("n", "000", b"0")
    raw = apsw.Connection(str(path))
    assert raw.pragma("user_version") == FORMAT == 2
    stored = raw.execute("SELECT value FROM entries WHERE key = '001'").get
    assert stored == zlib.crc32(b"n\0" + b"001" + b"\0" + b"1").to_bytes(4, "big") + b"1"
    raw.close()


@pytest.mark.parametrize("mode", [0o400, 0o000])
async def test_a_file_that_may_not_be_written_is_a_state_error(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state.db"
    await fill(path)
    path.chmod(mode)
    try:
        with pytest.raises(StateError, match=r"state\.db .*writing"):
            async with opened(SQLiteBackend(path)) as state:
                await state.put("n", "k", b"v")
            pytest.skip("this user may write everything")
    finally:
        path.chmod(0o600)
    assert len((await look(path))[1]) == 60


async def test_a_backup_made_while_the_file_is_in_use_is_a_whole_private_state_file(tmp_path: Path) -> None:
    path, copy = tmp_path / "state.db", tmp_path / "deep" / "copy.db"
    await fill(path)
    async with opened(SQLiteBackend(path)) as state:
        await state.put("n", "in the log", b"v")
        await SQLiteBackend(path).backup(copy)
    assert [entry.name for entry in copy.parent.iterdir()] == ["copy.db"]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert await look(copy) == await look(path)
    async with opened(SQLiteBackend(copy)) as state:
        assert await state.get("n", "in the log") == b"v"
    with pytest.raises(StateError, match=r"copy\.db is there already"):
        await SQLiteBackend(path).backup(copy)


async def test_a_backup_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    path, copy = tmp_path / "state.db", tmp_path / "copy.db"
    with pytest.raises(StateError, match=r"state\.db doesn't exist"):
        await SQLiteBackend(path).backup(copy)
    await fill(path)
    data = bytearray(path.read_bytes())
    data[5 * 4096 : 6 * 4096] = bytes(4096)
    put_bytes(path, bytes(data))
    with pytest.raises(StateError, match=r"state\.db is damaged"):
        await SQLiteBackend(path).backup(copy)
    assert not copy.exists()
