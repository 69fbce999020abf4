"""What makes the whole suite quick.

Files are put in memory, where there is such a file system. Thousands of runs, each with its fsyncs, wait for the disk
longer than they compute, and prove nothing more by it: a loss of power is told by what was synced
(`agora.testing.faults`), not by the disk. `TMPDIR=/tmp pytest` runs the suite on the disk, and so does `nox -s tests`.

What was imported and collected stays to the end: looking through it for garbage took a twentieth of the time.
"""

import gc
import os
import shutil
import tempfile

_MEMORY = "/dev/shm"
_NEEDED = 2 << 30
"""Bytes: in a container it may be small."""


def _has_room(folder: str) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= _NEEDED


if "TMPDIR" not in os.environ and _has_room(_MEMORY):
    os.environ["TMPDIR"] = _MEMORY  # for processes of the tests, too
    tempfile.tempdir = None  # what was found before


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
