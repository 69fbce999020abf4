"""What the tests of the sources share: reading a source whole, from a position, and by its blocks."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import zstandard

from agora.sources import Demand, Malformed


def _plain(row: Any) -> Any:
    """Comparable: exceptions aren't."""
    return ("malformed", row.original, str(row.error), row.replayable) if isinstance(row, Malformed) else row


class Reading:
    """Runs a source under trio; results are comparable values."""

    def rows(self, source: Any, position: Any = None) -> list[Any]:
        return [row for row, _ in self.rows_and_positions(source, position)]

    def rows_and_positions(self, source: Any, position: Any = None) -> list[tuple[Any, Any]]:
        """Each row, and the checkpoint after it."""

        async def run() -> list[tuple[Any, Any]]:
            result = []
            await source.prepare_resume(position)
            stream = source.stream()
            try:
                async for row in stream:
                    result.append((_plain(row), source.checkpoint()))  # noqa: PERF401 - one at a time is the point
            finally:
                await stream.aclose()
                await source.close()
            return result

        return trio.run(run)

    def until_error(self, source: Any) -> tuple[list[Any], Exception | None]:
        """Rows, and what ended them."""

        async def run() -> tuple[list[Any], Exception | None]:
            rows: list[Any] = []
            stream = source.stream()
            try:
                async for row in stream:
                    rows.append(_plain(row))  # noqa: PERF401 - an error must leave what came before
            except Exception as error:
                return rows, error
            finally:
                await stream.aclose()
            return rows, None

        return trio.run(run)

    def blocks(self, source: Any, position: Any = None) -> list[Any]:
        async def run() -> list[Any]:
            await source.prepare_resume(position)
            return [block async for block in source.blocks(Demand(512))]

        return trio.run(run)

    plain = staticmethod(_plain)


@pytest.fixture(scope="session")
def reading() -> Reading:
    return Reading()


def _in_members(data: bytes, compress: Callable[[bytes], bytes]) -> bytes:
    half = len(data) // 2
    return compress(data[:half]) + compress(b"") + compress(data[half:])


@pytest.fixture(scope="session", params=["plain", "gzip", "zstd"])
def packed(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    """Content as a file holds it: as it is, or compressed in several members."""
    if request.param == "gzip":
        return lambda data: _in_members(data, lambda part: gzip.compress(part, mtime=0))
    if request.param == "zstd":
        return lambda data: _in_members(data, zstandard.ZstdCompressor(write_checksum=True).compress)
    return lambda data: data


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes | str], Path]:
    """Write a file."""

    def write(content: bytes | str, name: str = "input") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
