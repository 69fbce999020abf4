"""Which files a source reads, and what it says where there are none."""

import os
import subprocess
import sys

import pytest

import agora.sources
from agora.errors import AgoraError
from agora.sources import CsvSource, JsonLinesSource, ParquetSource


def test_a_list_is_read_in_its_order_and_each_glob_by_name_each_file_once(reading, put, tmp_path):
    for name in "cab":
        put(f"n\n{name}\n", f"{name}.csv")
    source = CsvSource([tmp_path / "b.csv", str(tmp_path / "*.csv")])
    assert [row["n"] for row in reading.rows(source)] == ["b", "a", "c"]
    assert [path.name for path in source.paths()] == ["b.csv", "a.csv", "c.csv"]


def test_an_existing_path_is_a_path_whatever_characters_it_has(reading, put, tmp_path):
    put("n\n1\n", "[table].csv")
    put("n\n2\n", "t.csv")
    assert reading.rows(CsvSource(tmp_path / "[table].csv")) == [{"n": "1"}]
    (tmp_path / "[table].csv").unlink()
    assert reading.rows(CsvSource(tmp_path / "[table].csv")) == [{"n": "2"}]


@pytest.mark.parametrize("kind", [CsvSource, JsonLinesSource, ParquetSource])
def test_a_path_that_does_not_exist_and_a_glob_without_a_match_are_errors(reading, tmp_path, kind):
    with pytest.raises(AgoraError, match=r"x\.csv doesn't exist"):
        reading.rows(kind(tmp_path / "x.csv"))
    with pytest.raises(AgoraError, match=r"matches no file.*missing"):
        reading.rows(kind(tmp_path / "*.csv"))
    assert reading.rows(kind([tmp_path / "x.csv", tmp_path / "*.csv"], missing="ok")) == []


def test_two_stars_behind_what_is_no_directory_match_nothing(reading, put, tmp_path):
    put("n\n1\n", "file.csv")
    for name in ("nowhere", "file.csv"):
        pattern = str(tmp_path / name / "**")
        with pytest.raises(AgoraError, match="matches no file"):
            reading.rows(CsvSource(pattern))
        assert reading.rows(CsvSource(pattern, missing="ok")) == []
        assert not CsvSource(pattern).covers(tmp_path / name)


def test_a_directory_is_an_error_that_says_what_to_write(reading, tmp_path):
    with pytest.raises(AgoraError, match=r"is a directory; name the files"):
        reading.rows(CsvSource(tmp_path))


def test_a_link_to_nowhere_is_an_error(reading, tmp_path):
    (tmp_path / "x").symlink_to(tmp_path / "nowhere")
    with pytest.raises(AgoraError, match="can't be read"):
        reading.rows(CsvSource(tmp_path / "x"))


def test_covers_what_it_reads_and_what_its_glob_would(put, tmp_path):
    put("n\n", "a.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    (tmp_path / "sub").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "sub")
    plain = CsvSource(tmp_path / "a.csv")
    assert plain.covers(tmp_path / "link.csv")
    assert plain.covers(tmp_path / "sub" / ".." / "a.csv")
    assert not plain.covers(tmp_path / "b.csv")
    flat = CsvSource(tmp_path / "*.csv")
    assert flat.covers(tmp_path / "new.csv")
    assert not flat.covers(tmp_path / ".new.csv")
    assert not flat.covers(tmp_path / "sub" / "new.csv")
    assert not flat.covers(tmp_path / "new.txt")
    deep = CsvSource(str(tmp_path / "sub" / "**" / "*.csv"))
    assert deep.covers(tmp_path / "sub" / "new.csv")
    assert deep.covers(tmp_path / "sub" / "x" / "y" / "new.csv")
    assert deep.covers(tmp_path / "other" / "new.csv")
    assert not deep.covers(tmp_path / "new.csv")


def test_relative_and_absolute_names_are_the_same_file(put, tmp_path, monkeypatch):
    put("n\n", "a.csv")
    monkeypatch.chdir(tmp_path)
    assert CsvSource("a.csv").covers(tmp_path / "a.csv")
    assert CsvSource(tmp_path / "*.csv").covers(os.path.join(".", "new.csv"))


def test_everything_exported_is_there_and_csv_needs_no_pyarrow():
    for name in agora.sources.__all__:
        assert getattr(agora.sources, name) is not None
    with pytest.raises(AttributeError):
        agora.sources.Nothing  # noqa: B018  - looked up to fail
    code = (
        "import sys, agora.sources as s; s.CsvSource('x'); s.ParquetSource('x'); "
        "print([m for m in ('pyarrow', 'msgspec', 'zstandard', 'cattrs') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
