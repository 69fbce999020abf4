"""Every operation on the disk, for the length of a block, through one observer.

Observers nest: the inner one sees an operation first, and what it does reaches the outer one. So a run can be
recorded while an operation of it fails.
"""

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from agora import seam
from agora.testing.faults.files import ObservedFiles
from agora.testing.faults.operations import Observer
from agora.testing.faults.sqlitevfs import ObservedVfs

__all__ = ["observing"]


@contextmanager
def observing(observer: Observer) -> Iterator[seam.Seam]:
    """The seam of this context, with its files observed, and SQLite's too, in the whole process.

    At the end of the block everything that was opened through it and is still open is closed, as the end of a
    process would: locks are free, and a transaction that wasn't committed is undone.
    """
    numbers = itertools.count(1)
    machine = copy.copy(seam.current())
    files = ObservedFiles(observer, machine.files, numbers)
    machine.files = files
    vfs = ObservedVfs(observer, numbers)
    try:
        with seam.use(machine):
            yield machine
    finally:
        try:
            vfs.close_all()
            files.close_all()
        finally:
            vfs.uninstall()
