"""What a resume reads doesn't grow with its place; at 16 MiB here, at 1 GiB by `python -m benchmarks resume --full`."""

from pathlib import Path

import pytest

from benchmarks.resume import BLOCK, read_by_resumes

BESIDE = 1 << 16
"""Bytes that the process reads besides: of the state, and of what pytest-xdist tells it."""


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_resume_at_99_percent_reads_within_one_block_of_one_at_1_percent(tmp_path: Path, kind: str) -> None:
    early, late = read_by_resumes(kind, tmp_path, 1 << 24, (0.01, 0.99))
    assert abs(late.count - early.count) <= BLOCK + BESIDE
    assert late.count < (1 << 24) / 8
