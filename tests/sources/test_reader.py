"""Bytes in any steps, looked at or taken, against the content itself."""

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.seam import Files
from agora.sources.reader import TAIL, ByteReader

CONTENT = random.Random(13).randbytes(700_000)
Steps = st.lists(st.tuples(st.sampled_from(["read", "peek", "block"]), st.integers(1, 300_000)), max_size=8)


@pytest.fixture(scope="module", params=["plain", "gzip"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reader") / "content"
    path.write_bytes(CONTENT if request.param == "plain" else gzip.compress(CONTENT, 1))
    return path


@given(st.integers(0, 400_000), Steps)
def test_whatever_is_looked_at_the_content_comes_in_order(
    path: Path, start: int, steps: list[tuple[str, int]]
) -> None:
    reader = ByteReader.open(Files(), path)
    try:
        place, before = reader.skip_to(start)
        assert place == start
        assert before == CONTENT[max(0, start - TAIL) : start]
        for kind, size in steps:
            if reader.at_end:
                break
            rest = CONTENT[place:]
            if kind == "peek":
                seen = reader.peek(size)
                assert len(seen) >= min(size, len(rest))
                assert rest.startswith(seen)
                continue
            taken = reader.read(size) if kind == "read" else reader.block(size)
            if kind == "read":
                assert taken == rest[:size]
            assert rest.startswith(taken)
            place += len(taken)
            assert reader.at_end == (place == len(CONTENT))
    finally:
        reader.close()
