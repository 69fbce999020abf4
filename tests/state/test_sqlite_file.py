"""The state file: private, made whole, recognised; damage is reported, never reset."""

import os
import shutil
import sqlite3
import subprocess
import sys

import apsw
import pytest
import trio

import agora.seam
from agora.errors import StateError
from agora.state import Put, SQLiteBackend, opened, sqlitefile
from agora.state.sqlitefile import FORMAT


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


async def fill(path, entries=1):
    async with opened(SQLiteBackend(path)) as backend:
        await backend.apply([Put("n", f"{n:06}", b"v" * 50) for n in range(entries)])


async def refused(path, match):
    """Opening is refused with the file's name, and leaves the file as it was and nothing open."""
    before = path.read_bytes() if path.exists() else None
    backend = SQLiteBackend(path)
    with pytest.raises(StateError, match=match) as error:
        await backend.open()
    assert str(path) in str(error.value)
    assert not backend.is_open
    assert (path.read_bytes() if path.exists() else None) == before
    return error.value


async def test_the_file_and_its_logs_are_private_and_its_directory_is_made(tmp_path):
    old = os.umask(0)
    try:
        path = tmp_path / "deep" / "er" / "state.db"
        async with opened(SQLiteBackend(path)) as backend:
            await backend.put("n", "k", b"v")
            for name in ("state.db", "state.db-wal", "state.db-shm"):
                assert (path.parent / name).stat().st_mode & 0o777 == 0o600, name
    finally:
        os.umask(old)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["state.db", "state.db.locks"]


async def test_the_file_is_in_wal_mode_with_synchronous_full(path):
    async with opened(SQLiteBackend(path)) as backend:
        assert backend._connection.pragma("journal_mode") == "wal"
        assert backend._connection.pragma("synchronous") == 2
        assert backend._connection.pragma("user_version") == FORMAT


async def test_an_empty_file_is_refused(path):
    path.touch()
    await refused(path, r"is empty.*delete it")


@pytest.mark.parametrize("content", [b"x", b"id,name\n1,a\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_what_is_no_database_is_refused(path, content):
    path.write_bytes(content)
    await refused(path, "isn't a SQLite database|is damaged|only 1 bytes")


async def test_a_file_of_two_names_is_refused_since_each_would_have_a_log_of_its_own(path, tmp_path):
    await fill(path)
    (tmp_path / "other.db").hardlink_to(path)
    await refused(path, "hard links")
    await refused(tmp_path / "other.db", "hard links")
    (tmp_path / "other.db").unlink()
    (tmp_path / "other.db").symlink_to(path)
    await fill(tmp_path / "other.db")


async def test_a_database_of_another_application_is_refused(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (a)")
    other.close()
    await refused(path, "another application")


async def test_a_newer_format_is_refused_by_its_number(path):
    await fill(path)
    raw = apsw.Connection(str(path))
    raw.pragma("user_version", FORMAT + 1)
    raw.close()
    await refused(path, f"format {FORMAT + 1}.*newer agora")


async def test_a_file_cut_short_is_refused_wherever_it_was_cut(path, tmp_path):
    await fill(path, 500)
    whole = path.read_bytes()
    cut = tmp_path / "cut.db"
    for size in [*range(1, len(whole), 509), 511, 512, *range(4096, len(whole), 4096), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        await refused(cut, "isn't a SQLite database|is damaged|only [0-9]+ bytes")


async def test_damage_inside_a_large_file_is_reported_where_it_is_read(path, monkeypatch):
    monkeypatch.setattr("agora.state.sqlitefile._CHECKED", 0)
    await fill(path, 5000)
    with path.open("r+b") as handle:
        handle.seek(3 * 4096)
        handle.write(os.urandom(8 * 4096))
    async with opened(SQLiteBackend(path)) as backend:
        with pytest.raises(StateError, match=r"is damaged.*backup"):
            async for _ in backend.scan("n"):
                pass


async def test_a_missing_file_whose_log_is_there_is_not_started_anew(path, tmp_path):
    async with opened(SQLiteBackend(path)) as backend:
        await backend.put("n", "k", b"v")
        for name in ("state.db", "state.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / f"copy-{name}")
    copy = tmp_path / "copy-state.db"
    copy.rename(tmp_path / "aside.db")
    await refused(copy, "write-ahead log")
    (tmp_path / "aside.db").rename(copy)
    async with opened(SQLiteBackend(copy)) as backend:
        assert await backend.get("n", "k") == b"v"


async def test_a_directory_that_cannot_be_made_is_a_state_error_naming_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"state\.db"):
        await SQLiteBackend(tmp_path / "file" / "state.db").open()


async def test_a_directory_under_the_name_is_refused(tmp_path):
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StateError, match=r"state\.db"):
        await SQLiteBackend(tmp_path / "state.db").open()


class FailingFiles(agora.seam.Files):
    """Fails the n-th operation and every one after it, as if the process had died there."""

    def __init__(self, fail_at):
        self.fail_at, self.calls = fail_at, 0

    def count(self):
        self.calls += 1
        if self.calls >= self.fail_at:
            raise OSError(5, "Input/output error")


def _counted(name):
    plain = getattr(agora.seam.Files, name)

    def operation(self, *args):
        self.count()
        return plain(self, *args)

    return operation


for _name in ("open", "fsync", "sync_directory", "replace", "unlink", "make_directory"):
    setattr(FailingFiles, _name, _counted(_name))


async def test_a_creation_that_is_cut_off_anywhere_leaves_no_file_or_a_whole_one(tmp_path):
    for fail_at in range(1, 100):
        path = tmp_path / f"{fail_at}" / "state.db"
        seam = agora.seam.Seam()
        seam.files = FailingFiles(fail_at)
        backend = SQLiteBackend(path)
        problem = None
        with agora.seam.use(seam):
            try:
                await backend.open()
            except StateError as error:
                problem = str(error)
        if problem is None:
            await backend.close()
            break
        assert str(path) in problem
        assert not backend.is_open
        if path.exists():
            assert path.stat().st_size > 0
        await fill(path)
    assert fail_at > 5


async def test_processes_that_create_one_file_at_once_share_it(path):
    script = (
        "import sys, trio\n"
        "from agora.state import Put, SQLiteBackend, opened\n"
        "async def main():\n"
        "    async with opened(SQLiteBackend(sys.argv[1])) as backend:\n"
        "        for n in range(20): await backend.put('n', f'{sys.argv[2]}-{n}', b'')\n"
        "trio.run(main)\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(path)]
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(trio.run_process, [*command, str(number)])
    async with opened(SQLiteBackend(path)) as backend:
        assert len([key async for key, _ in backend.scan("n")]) == 80


async def test_a_file_locked_by_another_process_is_an_error_that_says_so(path, monkeypatch):
    monkeypatch.setattr("agora.state.sqlitefile._BUSY_MILLISECONDS", 10)
    async with opened(SQLiteBackend(path)) as backend:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked by another process"):
            await backend.put("n", "k", b"v")
        other.execute("ROLLBACK")
        await backend.put("n", "k", b"v")
        other.close()


async def test_a_full_disk_is_an_error_that_says_so_and_changes_nothing(path):
    async with opened(SQLiteBackend(path)) as backend:
        await backend.put("n", "k", b"v")
        pages = backend._connection.pragma("page_count")
        backend._connection.pragma("max_page_count", pages + 2)
        with pytest.raises(StateError, match="full"):
            await backend.apply([Put("n", "k", b"w"), Put("n", "big", b"x" * 100_000)])
        assert await backend.get("n", "k") == b"v"
        await backend.put("n", "k", b"w")


def test_a_killed_writer_leaves_a_file_that_opens_and_holds_what_it_had_been_told_was_saved(path):
    script = (
        "import sys, trio\n"
        "from agora.state import SQLiteBackend\n"
        "async def main():\n"
        "    backend = SQLiteBackend(sys.argv[1])\n"
        "    await backend.open()\n"
        "    for n in range(10**9):\n"
        "        await backend.put('n', 'last', b'%d' % n)\n"
        "        print(n, flush=True)\n"
        "trio.run(main)\n"
    )
    least = -1
    for kills in range(1, 6):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            for line in writer.stdout:
                least = int(line)
                if least >= kills * 7:
                    writer.kill()
                    break
            least = max([least, *(int(line) for line in writer.stdout.read().split())])

        async def last():
            async with opened(SQLiteBackend(path)) as backend:
                return int(await backend.get("n", "last"))

        assert trio.run(last) in (least, least + 1)


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_saved_to_a_file_that_was_taken_away_while_it_was_open(path, tmp_path, replaced):
    async with opened(SQLiteBackend(path)) as backend:
        await backend.put("n", "k", b"v")
        for name in ("state.db", "state.db-wal", "state.db-shm"):
            (tmp_path / name).rename(tmp_path / f"aside-{name}")
        if replaced:
            await fill(path)
        with pytest.raises(StateError, match="moved, removed or replaced"):
            await backend.put("n", "k", b"w")


async def test_an_older_format_is_brought_up_to_date_once_and_keeps_what_it_holds(path, monkeypatch):
    await fill(path, 3)
    steps = (*sqlitefile._MIGRATIONS, "CREATE TABLE more (a); INSERT INTO more VALUES (1)")
    monkeypatch.setattr(sqlitefile, "_MIGRATIONS", steps)
    monkeypatch.setattr(sqlitefile, "FORMAT", len(steps))
    for _ in range(2):
        async with opened(SQLiteBackend(path)) as backend:
            assert len([key async for key, _ in backend.scan("n")]) == 3
            assert backend._connection.execute("SELECT count(*) FROM more").get == 1
            assert backend._connection.pragma("user_version") == len(steps)


async def test_a_migration_that_fails_leaves_the_file_in_its_old_format(path, monkeypatch):
    await fill(path, 3)
    steps = (*sqlitefile._MIGRATIONS, "CREATE TABLE more (a); INSERT INTO nowhere VALUES (1)")
    with monkeypatch.context() as newer:
        newer.setattr(sqlitefile, "_MIGRATIONS", steps)
        newer.setattr(sqlitefile, "FORMAT", len(steps))
        with pytest.raises(StateError, match="nowhere"):
            await SQLiteBackend(path).open()
    async with opened(SQLiteBackend(path)) as backend:
        assert len([key async for key, _ in backend.scan("n")]) == 3


async def test_processes_that_change_one_entry_by_expectation_lose_no_change(path):
    script = (
        "import sys, trio\n"
        "from agora.state import Expect, ExpectationFailed, Put, SQLiteBackend, opened\n"
        "async def main():\n"
        "    async with opened(SQLiteBackend(sys.argv[1])) as backend:\n"
        "        done = 0\n"
        "        while done < 50:\n"
        "            old = await backend.get('n', 'sum')\n"
        "            try:\n"
        "                new = b'%d' % (int(old or 0) + 1)\n"
        "                await backend.apply([Expect('n', 'sum', old), Put('n', 'sum', new)])\n"
        "            except ExpectationFailed:\n"
        "                continue\n"
        "            done += 1\n"
        "trio.run(main)\n"
    )
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(trio.run_process, [sys.executable, "-W", "error", "-c", script, str(path)])
    async with opened(SQLiteBackend(path)) as backend:
        assert await backend.get("n", "sum") == b"100"
