"""A machine whose disk nobody waits for: it does what is asked, and syncs nothing."""

import os

import apsw
import pytest

from agora import seam
from agora.testing.faults import DiskRecorder, Loss
from agora.testing.faults.unsynced import UnsyncedFiles, unsynced_sqlite


def fill(path):
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
    connection.close()


def rows(path):
    connection = apsw.Connection(str(path))
    try:
        return connection.execute("SELECT n FROM t").fetchall()
    finally:
        connection.close()


def test_files_are_written_and_not_synced(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("synced"))
    files = UnsyncedFiles()
    with files.open(tmp_path / "a", "x+b") as handle:
        files.write(handle, b"x")
        files.fsync(handle)
    files.sync_directory(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"x"
    with pytest.raises(ValueError, match="closed"):
        files.fsync(handle)
    with pytest.raises(FileNotFoundError):
        files.sync_directory(tmp_path / "none")


def test_a_database_is_written_and_the_default_comes_back(tmp_path):
    before = apsw.vfs_names()
    with unsynced_sqlite(), unsynced_sqlite():
        fill(tmp_path / "a.db")
        assert apsw.vfs_names() == ["agora-unsynced", *before]
    assert apsw.vfs_names() == before
    assert rows(tmp_path / "a.db") == [(1,)]


def test_what_is_synced_is_still_observed(tmp_path):
    machine = seam.Seam()
    machine.files = UnsyncedFiles()
    with seam.use(machine), unsynced_sqlite(), DiskRecorder(tmp_path) as recorder:
        fill(tmp_path / "a.db")
        files = seam.current().files
        with files.open(tmp_path / "b", "x+b") as handle:
            files.write(handle, b"x")
            files.fsync(handle)
        files.sync_directory(tmp_path)
    left = recorder.after(len(recorder.log), Loss.total())
    assert {str(path): content for path, content in left.items()} == {
        "a.db": (tmp_path / "a.db").read_bytes(),
        "b": b"x",
    }
