"""Environments of their own, for contenders that can't be imported beside agora."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

__all__ = ["interpreter"]

ROOT = Path(__file__).parent.parent


def interpreter(module: str, packages: Sequence[str], directory: Path) -> Path:
    """The Python of the contender's environment, made in `directory` if it isn't there. Raises `OSError` and
    `CalledProcessError` where that fails."""
    home = directory / f"{module}-{sys.version_info.major}.{sys.version_info.minor}"
    done = home / "installed"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = "\n".join([*packages, str(ROOT)])
    if not done.exists() or done.read_text() != wanted:
        venv.create(home, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True, capture_output=True)
        [site] = home.glob("lib/python*/site-packages" if sys.platform != "win32" else "Lib/site-packages")
        # Behind site-packages, so that `benchmarks` is found here and `agora` in the environment.
        (site / "benchmarks.pth").write_text(str(ROOT))
        done.write_text(wanted)
    return python
