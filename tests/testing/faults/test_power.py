"""The model of a disk that loses power: what was fsynced is there, what wasn't may be, or not, or in part."""

from pathlib import Path

import apsw
import pytest

from agora import seam
from agora.testing.faults import DiskRecorder, Failpoints, Fault, Loss, Tree, write_tree

SEEDS = range(200)


def after(recorder: DiskRecorder, loss: Loss, moment: int | None = None) -> dict[str, bytes | None]:
    tree = recorder.after(len(recorder.log) if moment is None else moment, loss)
    return {str(path): content for path, content in tree.items()}


def random_trees(recorder: DiskRecorder) -> list[dict[str, bytes | None]]:
    return [after(recorder, Loss.random(seed)) for seed in SEEDS]


def test_what_was_there_before_is_durable(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(b"old")
    with DiskRecorder(tmp_path) as recorder:
        pass
    assert after(recorder, Loss.total()) == {"in": None, "in/a": b"old"}


def test_a_write_without_an_fsync_is_lost(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with DiskRecorder(tmp_path) as recorder:
        files = seam.current().files
        with files.open(tmp_path / "a", "r+b") as handle:
            handle.seek(3)
            files.write(handle, b"synced")
            files.fsync(handle)
            files.write(handle, b"lost")
            files.truncate(handle, 1)
    assert after(recorder, Loss.total()) == {"a": b"oldsynced"}
    assert after(recorder, Loss.none()) == {"a": b"o"}
    assert (tmp_path / "a").read_bytes() == b"o"
    assert {tree["a"] for tree in random_trees(recorder)} >= {b"oldsynced", b"oldsyncedlost", b"o"}


def test_a_new_file_needs_an_fsync_of_its_directory_and_one_of_its_own(tmp_path: Path) -> None:
    with DiskRecorder(tmp_path) as recorder:
        files = seam.current().files
        for name in ("content", "name", "both", "neither"):
            with files.open(tmp_path / name, "x+b") as handle:
                files.write(handle, b"x")
                if name in ("content", "both"):
                    files.fsync(handle)
            if name in ("name", "both"):
                files.sync_directory(tmp_path)
    assert after(recorder, Loss.total()) == {"content": b"x", "name": b"", "both": b"x"}
    assert after(recorder, Loss.total(), 3) == {}  # of the first file, before any fsync of the directory
    assert after(recorder, Loss.none()) == dict.fromkeys(("content", "name", "both", "neither"), b"x")


def test_a_rename_without_an_fsync_of_the_directory_is_undone_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    with DiskRecorder(tmp_path) as recorder:
        seam.current().files.replace(tmp_path / "a", tmp_path / "b")
    assert after(recorder, Loss.total()) == {"a": b"new", "b": b"old"}
    assert after(recorder, Loss.none()) == {"b": b"new"}
    assert {len(tree) for tree in random_trees(recorder)} == {1, 2}
    with DiskRecorder(tmp_path) as recorder:
        seam.current().files.replace(tmp_path / "b", tmp_path / "c")
        seam.current().files.sync_directory(tmp_path)
    assert after(recorder, Loss.total()) == {"c": b"new"}


def test_an_unlinked_file_may_come_back_until_the_directory_is_synced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with DiskRecorder(tmp_path) as recorder:
        seam.current().files.unlink(tmp_path / "a")
        seam.current().files.unlink(tmp_path / "never there")
        seam.current().files.sync_directory(tmp_path)
    assert after(recorder, Loss.total(), 1) == {"a": b"x"}
    assert after(recorder, Loss.total()) == {}


def test_a_file_in_a_directory_that_is_lost_is_lost(tmp_path: Path) -> None:
    with DiskRecorder(tmp_path) as recorder:
        files = seam.current().files
        files.make_directory(tmp_path / "deep/er")
        files.copy(Path(__file__), tmp_path / "deep/er/a")
        files.sync_directory(tmp_path / "deep/er")
        files.sync_directory(tmp_path / "deep")
        moment = len(recorder.log)
        files.sync_directory(tmp_path)
    assert after(recorder, Loss.total(), moment) == {}
    assert after(recorder, Loss.total()) == {"deep": None, "deep/er": None, "deep/er/a": b""}
    assert after(recorder, Loss.none())["deep/er/a"] == Path(__file__).read_bytes()


def test_of_writes_that_were_not_synced_any_may_survive_whole_or_torn_at_a_sector(tmp_path: Path) -> None:
    with DiskRecorder(tmp_path) as recorder:
        files = seam.current().files
        with files.open(tmp_path / "a", "x+b") as handle:
            files.sync_directory(tmp_path)
            files.write(handle, b"1" * 1024)
            files.write(handle, b"2" * 1024)
    found = {tree["a"] for tree in random_trees(recorder)}
    assert found >= {b"", b"1" * 1024, b"1" * 1024 + b"2" * 1024, bytes(1024) + b"2" * 1024}
    torn = {content for content in found if content and len(content) % 1024 == 512}
    assert torn
    assert all(len(content or b"") % 512 == 0 for content in found)


def test_equal_losses_of_equal_logs_are_equal(tmp_path: Path) -> None:
    with DiskRecorder(tmp_path) as recorder:
        files = seam.current().files
        for number in range(20):
            with files.open(tmp_path / str(number), "x+b") as handle:
                files.write(handle, b"x" * 2_000)
    trees = random_trees(recorder)
    assert trees == random_trees(recorder)
    assert len({frozenset(tree.items()) for tree in trees}) > 100


def test_a_file_that_was_made_past_the_seam_is_found_out(tmp_path: Path) -> None:
    with DiskRecorder(tmp_path) as recorder:
        (tmp_path / "a").write_bytes(b"x")
        with seam.current().files.open(tmp_path / "a", "r+b") as handle:
            seam.current().files.write(handle, b"y")
    with pytest.raises(LookupError, match="past the observer"):
        recorder.after(len(recorder.log), Loss.none())


def test_what_lies_elsewhere_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with DiskRecorder(tmp_path / "root") as recorder:
        files = seam.current().files
        with files.open(tmp_path / "outside", "x+b") as handle:
            files.write(handle, b"x")
        files.replace(tmp_path / "outside", tmp_path / "outside too")
        files.sync_directory(tmp_path)
    assert after(recorder, Loss.none()) == {}


def test_a_tree_is_written_as_it_is_over_what_was_there(tmp_path: Path) -> None:
    tree: Tree = {Path("a"): b"x", Path("deep"): None, Path("deep/b"): b""}
    (tmp_path / "old").write_bytes(b"y")
    write_tree(tree, tmp_path)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == set(tree)


def test_a_run_is_recorded_while_an_operation_of_it_fails(tmp_path: Path) -> None:
    with DiskRecorder(tmp_path) as recorder, Failpoints(2, Fault.CRASH_WITHIN):
        files = seam.current().files
        files.write(files.open(tmp_path / "a", "x+b"), b"1234")
    assert after(recorder, Loss.none()) == {"a": b"12"}


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_what_sqlite_committed_survives_and_its_database_is_whole_whatever_is_lost(
    mode: str, tmp_path: Path
) -> None:
    live, image = tmp_path / "live", tmp_path / "image"
    live.mkdir()
    commits: list[int] = []
    with DiskRecorder(live) as recorder:
        connection = apsw.Connection(str(live / "o.db"))
        connection.pragma("journal_mode", mode)
        connection.pragma("synchronous", "EXTRA")
        connection.execute("CREATE TABLE t (n)")
        seam.current().files.sync_directory(live)
        for number in range(4):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            commits.append(len(recorder.log))
        connection.close()
    for moment in range(commits[0], len(recorder.log) + 1):
        committed = sum(commit <= moment for commit in commits)
        for loss in (Loss.total(), Loss.none(), Loss.random(moment), Loss.random(-moment)):
            write_tree(recorder.after(moment, loss), image)
            connection = apsw.Connection(str(image / "o.db"))
            assert connection.pragma("integrity_check") == "ok"
            rows = [number for (number,) in connection.execute("SELECT n FROM t ORDER BY rowid")]
            connection.close()
            assert rows in (list(range(committed)), list(range(committed + 1))), (moment, loss)
