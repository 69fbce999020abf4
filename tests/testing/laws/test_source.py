"""`check_source`: what keeps the rules passes, each way of breaking them is found."""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
from support import Records
from testing.broken.sources import BROKEN, DrawnOnce, LeavesAFile, NewIdentity, Numbers, OffByOne, Queue
from testing.laws.finding import SEEDS, found, replayed

from agora.sources import CsvSource, IterableSource, JsonLinesSource, ParquetSource
from agora.testing import LawBroken, check_source
from agora.testing.laws.sourcecase import SourceCase
from agora.testing.laws.sourcelaws import SOURCE_LAWS


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_source_is_found_and_its_counterexample_finds_it_again(broken, seed):
    try:
        seen = found(broken.law, check_source, broken.factory, seed=seed)
        again = replayed(seen)
    finally:
        while LeavesAFile.kept:
            LeavesAFile.kept.pop().close()
    assert again.seen == seen.seen or broken.factory in (
        DrawnOnce,
        NewIdentity,
    )  # that show what is new each time


def test_each_law_is_broken_by_one_of_them():
    assert {broken.law for broken in BROKEN} == {law.name for law in SOURCE_LAWS}


class Endless(Numbers):
    """Numbers without an end, by a channel."""

    blocks = None

    @trio.as_safe_channel
    async def stream(self):
        async with trio.open_nursery():
            while True:
                await trio.sleep(0.01)
                self.at += 1
                yield {"id": self.at - 1}


@pytest.mark.parametrize(
    "factory",
    [Numbers, Queue, lambda: Records(6), lambda: Records(6, block=4), lambda: Records(0)],
    ids=["numbers", "queue", "records", "blocks", "none"],
)
def test_one_by_the_rules_passes(factory):
    check_source(factory)


def test_one_without_an_end_passes():
    check_source(Endless, most=10)


async def counted():
    for number in range(3):
        await trio.sleep(0.01)
        yield number


@pytest.mark.parametrize(
    "items",
    [lambda: [1, 2, 3], lambda: iter("abc"), lambda: range(5), counted],
    ids=["list", "iter", "range", "async"],
)
def test_an_iterable_source_passes(items):
    check_source(lambda: IterableSource(items()))


def rows(count):
    return [{"id": number, "name": f"a\nb{number}" if number % 3 else "é,"} for number in range(count)]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_csv_source_passes(tmp_path, ending):
    path = written(tmp_path / f"x.csv{ending}", 'id,name\n0,"a\nb"\n1,é\nbad\n3,"c,"\n4,\n'.encode())
    check_source(lambda: CsvSource(path, types={"id": "int"}))


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_json_lines_source_passes(tmp_path, ending):
    path = written(tmp_path / f"x.jsonl{ending}", b'{"id": 0}\n{"id": 1}\n\n{bad\n{"id": 3}\n{"id": 4}')
    check_source(lambda: JsonLinesSource(path))


def test_several_files_pass(tmp_path):
    for name, first in (("a", 0), ("b", 3), ("c", 3)):
        last = first + 3 if name != "b" else first
        text = "".join(f'{{"id": {number}}}\n' for number in range(first, last))
        (tmp_path / f"{name}.jsonl").write_text(text)
    check_source(lambda: JsonLinesSource(str(tmp_path / "*.jsonl")))


def test_parquet_source_passes(tmp_path):
    pq.write_table(pa.Table.from_pylist(rows(8)), tmp_path / "x.parquet", row_group_size=3)
    check_source(lambda: ParquetSource(tmp_path / "x.parquet"))


def written(path, data):
    import gzip  # noqa: PLC0415  - one test needs it

    import zstandard  # noqa: PLC0415  - as above

    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))
    return path


def counterexample(seed=1):
    return found("resume", check_source, OffByOne, seed=seed)


def test_a_source_with_two_forms_has_its_place_whenever_it_is_made(tmp_path):
    class Written:
        def __init__(self, path):
            path.write_text("1")

        async def stream(self):
            for number in range(3):
                yield {"n": number}

        async def batches(self):
            yield pa.RecordBatch.from_pydict({"n": [0, 1, 2]})

        def identity(self):
            return {"before": 1, "after": 2}

    check_source(lambda place: Written(place / "in"))


def test_none_is_no_record():
    class Gaps:
        async def stream(self):
            yield 1
            yield None

    with pytest.raises(LawBroken, match="Record 1 was None, which is no record"):
        check_source(Gaps)


def test_a_counterexample_names_the_place():
    assert "case=SourceCase(at=1)" in counterexample().code


def test_the_same_seed_finds_the_same():
    assert str(counterexample(7)) == str(counterexample(7))


def test_a_single_case_of_a_single_law():
    check_source(OffByOne, law="agreement", case=SourceCase())
    with pytest.raises(TypeError, match="case="):
        check_source(OffByOne, law="resume")
    with pytest.raises(TypeError, match="law= and case= go together: the name of a law, and a SourceCase"):
        check_source(OffByOne, case=SourceCase())


def test_one_that_isn_t_repeatable_is_told_as_such():
    numbers = itertools.count()
    with pytest.raises(LawBroken, match="repeatable"):
        check_source(lambda: IterableSource([next(numbers)]))
