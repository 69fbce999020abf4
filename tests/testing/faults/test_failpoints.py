"""Counting and failing: the same operations every time, and a dead process that reaches nothing."""

import errno
import fcntl
from pathlib import Path

import apsw
import pytest

from agora import seam
from agora.testing.faults import Crash, Failpoints, Fault


def write_files(folder: Path) -> None:
    """Nine operations."""
    files = seam.current().files
    files.make_directory(folder / "new")
    with files.open(folder / "new/a", "x+b") as handle:
        files.write(handle, b"0123456789")
        files.truncate(handle, 8)
        files.fsync(handle)
    files.replace(folder / "new/a", folder / "new/b")
    files.copy(folder / "new/b", folder / "new/c")
    files.sync_directory(folder / "new")
    files.unlink(folder / "new/b")


FILES = [
    "make_directory", "create", "write", "truncate", "fsync", "replace", "copy", "sync_directory", "unlink",
]  # fmt: skip


def write_database(path: Path) -> None:
    connection = apsw.Connection(str(path))
    try:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "FULL")
        connection.execute("CREATE TABLE t (n)")
        for number in range(3):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
    finally:
        connection.close()


def rows(path: Path) -> list[int]:
    connection = apsw.Connection(str(path))
    try:
        if not connection.table_exists("main", "t"):
            return []
        return [number for (number,) in connection.execute("SELECT n FROM t ORDER BY n")]
    finally:
        connection.close()


def test_operations_are_counted_in_their_order(tmp_path: Path) -> None:
    with Failpoints() as points:
        write_files(tmp_path)
    assert [operation.name for operation in points.seen] == FILES
    assert points.struck is None
    assert not points.crashed


def test_what_sqlite_does_is_counted_its_log_too_and_the_same_every_time(tmp_path: Path) -> None:
    seen = []
    for name in ("one.db", "two.db"):
        with Failpoints() as points:
            write_database(tmp_path / name)
        seen.append([(operation.name, operation.path.suffix) for operation in points.seen])
        assert {operation.layer for operation in points.seen} == {"sqlite"}
    assert seen[0] == seen[1]
    assert {("write", ".db-wal"), ("fsync", ".db-wal"), ("write", ".db"), ("unlink", ".db-wal")} <= set(
        seen[0]
    )


def test_whatever_is_opened_outside_the_block_is_as_before(tmp_path: Path) -> None:
    before = apsw.vfs_names()
    with Failpoints() as points:
        pass
    write_files(tmp_path)
    write_database(tmp_path / "o.db")
    assert points.seen == []
    assert apsw.vfs_names() == before


@pytest.mark.parametrize(
    ("fault", "number"), [(Fault.ENOSPC, errno.ENOSPC), (Fault.EIO, errno.EIO)], ids=["ENOSPC", "EIO"]
)
def test_each_file_operation_is_failed_in_its_turn(fault: Fault, number: int, tmp_path: Path) -> None:
    for at, name in enumerate(FILES, 1):
        with Failpoints(at, fault) as points, pytest.raises(OSError, match=str(tmp_path)) as raised:
            write_files(tmp_path / str(at))
        assert raised.value.errno == number
        assert points.struck == points.seen[-1]
        assert points.struck.name == name


def test_a_failure_happens_once_and_a_full_disk_stays_full(tmp_path: Path) -> None:
    files = seam.current().files
    for fault, again in ((Fault.ENOSPC, True), (Fault.FULL, False)):
        with Failpoints(2, fault), (tmp_path / fault.name).open("x+b", buffering=0):
            files = seam.current().files
            with files.open(tmp_path / f"{fault.name}2", "x+b") as handle:
                with pytest.raises(OSError, match="No space"):
                    files.write(handle, b"12")
                if again:
                    files.write(handle, b"34")
                else:
                    with pytest.raises(OSError, match="No space"):
                        files.write(handle, b"34")
                files.fsync(handle)  # needs no space


def test_a_short_write_leaves_half_of_it(tmp_path: Path) -> None:
    with Failpoints(3, Fault.SHORT_WRITE), pytest.raises(OSError, match="No space"):
        write_files(tmp_path)
    assert (tmp_path / "new/a").read_bytes() == b"01234"


@pytest.mark.parametrize(
    ("fault", "left"),
    [(Fault.CRASH_BEFORE, b""), (Fault.CRASH_WITHIN, b"01234"), (Fault.CRASH_AFTER, b"0123456789")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_crash_leaves_what_was_done_before_it(fault: Fault, left: bytes, tmp_path: Path) -> None:
    with Failpoints(3, fault) as points:
        write_files(tmp_path)
    assert points.crashed
    assert (tmp_path / "new/a").read_bytes() == left


def test_nothing_of_a_dead_process_reaches_the_disk_and_its_locks_are_free(tmp_path: Path) -> None:
    with Failpoints(3, Fault.CRASH_BEFORE) as points:
        files = seam.current().files
        handle = files.open(tmp_path / "lock", "ab")
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        kept = files.open(tmp_path / "kept", "x+b")
        with pytest.raises(Crash):
            files.write(kept, b"late")
        for late in (
            lambda: files.write(kept, b"later"),
            lambda: files.unlink(tmp_path / "lock"),
            lambda: files.open(tmp_path / "more", "x+b"),
            lambda: apsw.Connection(str(tmp_path / "o.db")).execute("CREATE TABLE t (n)"),
        ):
            with pytest.raises(Crash):
                late()
    assert len(points.seen) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "lock"]
    assert (tmp_path / "kept").read_bytes() == b""
    assert handle.closed
    with (tmp_path / "lock").open("ab") as again:
        fcntl.flock(again.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
def test_a_database_struck_anywhere_is_whole_and_holds_what_was_committed(
    fault: Fault, tmp_path: Path
) -> None:
    with Failpoints() as counted:
        write_database(tmp_path / "counted.db")
    struck = 0
    for at, operation in enumerate(counted.seen, 1):
        if not fault.suits(operation):
            continue
        path = tmp_path / f"{at}.db"
        with Failpoints(at, fault) as points:
            if fault.crashes:
                write_database(path)
            else:
                with pytest.raises((apsw.FullError, apsw.IOError, apsw.CantOpenError)):
                    write_database(path)
        assert points.crashed == fault.crashes
        found = rows(path)
        assert found == list(range(len(found)))
        write_database(tmp_path / f"after-{at}.db")  # nothing is left in the way
        struck += 1
    assert struck > 5


def test_an_open_transaction_of_a_dead_process_is_undone_and_the_database_free(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    write_database(path)
    with Failpoints() as counted:
        connection = apsw.Connection(str(path))
        connection.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (99)")
    del connection
    assert counted.seen
    assert rows(path) == [0, 1, 2]
    write = apsw.Connection(str(path))
    write.execute("INSERT INTO t VALUES (3)")
    write.close()
    assert rows(path) == [0, 1, 2, 3]


def test_an_error_that_is_no_crash_comes_out_of_the_block(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Failpoints(1, Fault.CRASH_BEFORE):
        _ = 1 / 0
