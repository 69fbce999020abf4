"""The disk that checkpoints are measured on: what it is, and how long an fsync takes."""

import os
import statistics
import time
from pathlib import Path

__all__ = ["IN_MEMORY", "file_system", "fsync_latency"]

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
"""File systems on which an fsync costs nothing, so that checkpoints would look free."""


def file_system(directory: Path) -> str:
    """The kind of file system that the directory is on; empty where the machine doesn't tell."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return ""
    real = os.path.realpath(directory)
    best, kind = "", ""
    for line in mounts.read_text().splitlines():
        fields, _, more = line.partition(" - ")
        mount = fields.split()[4].encode().decode("unicode_escape")
        if len(mount) >= len(best) and os.path.commonpath([mount, real]) == mount:
            best, kind = mount, more.split()[0]
    return kind


def fsync_latency(directory: Path) -> str:
    """Median and worst of 50 fsyncs of 4 KiB each, appended as a sink appends."""
    seconds = []
    with (directory / "fsync").open("wb", buffering=0) as handle:
        for _ in range(50):
            handle.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(handle.fileno())
            seconds.append(time.perf_counter() - began)
    return f"{statistics.median(seconds) * 1e3:.2f} ms (worst of 50: {max(seconds) * 1e3:.1f})"
