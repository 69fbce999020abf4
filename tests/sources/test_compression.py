"""gzip and zstd: told apart by content, read through all members, and their damage said behind what was
whole."""

import gzip
import zlib

import hypothesis.strategies as st
import pytest
import zstandard
from hypothesis import given, settings

from agora.errors import AgoraError
from agora.sources import CsvSource
from agora.sources.compression import DamagedError, decompressed, kind_of

_zstd = zstandard.ZstdCompressor(write_checksum=True).compress
_SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"


def _unpack(data, step=7):
    """What was whole, and the damage."""
    at = 0

    def read(size):
        nonlocal at
        piece = data[at : at + min(size, step)]
        at += len(piece)
        return piece

    out = b""
    try:
        for piece in decompressed(kind_of(data), read):
            out += piece
    except DamagedError as error:
        return out, str(error)
    return out, None


@pytest.mark.parametrize("compress", [gzip.compress, _zstd])
def test_members_empty_ones_and_zero_padding(compress):
    data = compress(b"one,") + compress(b"") + bytes(1000) + compress(b"two") + bytes(3)
    assert _unpack(data) == (b"one,two", None)


def test_skippable_frames_at_both_ends_and_between():
    data = _SKIPPABLE + _zstd(b"one,") + _SKIPPABLE + _zstd(b"two") + _SKIPPABLE
    assert _unpack(data) == (b"one,two", None)


@pytest.mark.parametrize("compress", [gzip.compress, _zstd])
@pytest.mark.parametrize("garbage", [b"x", b"garbage behind", b"\0\0x"])
def test_trailing_garbage_is_damage_behind_the_content(compress, garbage):
    out, error = _unpack(compress(b"content") + garbage)
    assert out == b"content"
    assert error is not None


@pytest.mark.parametrize("compress", [gzip.compress, _zstd])
def test_every_truncation_is_damage(compress):
    data = compress(b"some content, some content")
    for size in range(4, len(data)):
        out, error = _unpack(data[:size])
        assert error is not None
        assert b"some content, some content".startswith(out)


def test_a_wrong_checksum_is_damage_behind_all_of_the_content():
    for data in (gzip.compress(b"content"), _zstd(b"content")):
        for at in (-1, -4) if data[:1] != b"\x1f" else (-5, -8, -1):
            wrong = bytearray(data)
            wrong[at] ^= 0xFF
            out, error = _unpack(bytes(wrong))
            assert out == b"content"
            assert error is not None


def test_frames_without_content_size_and_checksum_and_of_many_blocks():
    content = b"".join(b"%d," % number for number in range(200_000))
    stream = zstandard.ZstdCompressor(write_checksum=False, write_content_size=False).compressobj()
    data = stream.compress(content) + stream.flush()
    assert _unpack(data, 1 << 20) == (content, None)


def test_a_bomb_comes_in_pieces_of_bounded_size():
    content = bytes(50_000_000)
    for data in (gzip.compress(content), _zstd(content)):
        view = memoryview(data)
        at = 0

        def read(size, view=view):
            nonlocal at
            piece = bytes(view[at : at + size])
            at += len(piece)
            return piece

        sizes = [len(piece) for piece in decompressed(kind_of(data), read)]
        assert sum(sizes) == len(content)
        assert max(sizes) <= 256 * 1024


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=300), max_size=4),
    flip=st.integers(0, 10_000),
    step=st.integers(1, 64),
    compress=st.sampled_from([gzip.compress, _zstd, lambda part: zlib.compress(part, wbits=31)]),
)
def test_damage_anywhere_is_never_more_than_the_content_and_never_a_foreign_error(
    parts, flip, step, compress
):
    data = bytearray(b"".join(compress(part) for part in [b"first", *parts]))
    whole = b"first" + b"".join(parts)
    assert _unpack(bytes(data), step) == (whole, None)
    at = flip % len(data)
    if at < 4:
        return
    data[at] ^= 0x55
    _unpack(bytes(data), step)


@pytest.mark.parametrize("compress", [gzip.compress, _zstd])
def test_records_before_the_damage_are_read_and_the_cut_one_is_not(reading, put, compress):
    rows = "".join(f"{number},x\n" for number in range(5))
    path = put(compress(f"n,s\n{rows}".encode()) + compress(b"5,y\n6,z")[:-5])
    got, error = reading.until_error(CsvSource(path))
    assert [row["n"] for row in got][:5] == ["0", "1", "2", "3", "4"]
    assert all(row["n"] in "012345" for row in got)
    assert isinstance(error, AgoraError)
    assert str(path) in str(error)


def test_the_name_says_nothing(reading, put):
    assert reading.rows(CsvSource(put("a\n1\n", "x.csv.gz"))) == [{"a": "1"}]
    assert reading.rows(CsvSource(put(gzip.compress(b"a\n2\n"), "y.csv"))) == [{"a": "2"}]
    assert reading.rows(CsvSource(put(_zstd(b"a\n3\n"), "z.gz"))) == [{"a": "3"}]


def test_damage_within_the_header_ends_the_run(reading, put):
    with pytest.raises(AgoraError, match="truncated"):
        reading.rows(CsvSource(put(gzip.compress(b"aaaaaaaaaaaaa,bbbbbbbbbbbb\n")[:-12])))
