"""What the seam adds to the machine."""

import os
from pathlib import Path

import pytest

from agora import seam


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_is_named_with_the_file_that_it_has_no_space_for() -> None:
    files = seam.Files()
    with (
        files.open(Path("/dev/full"), "r+b") as handle,
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
    ):
        files.write(handle, b"x")
