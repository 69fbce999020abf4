"""The command line: `agora`, and `python -m agora`."""

import gc
from typing import NoReturn

__all__ = ["collect_garbage", "main"]


def main() -> NoReturn:
    """Run the command that `sys.argv` says and exit with its code.

    Modules that are imported stay, and looking through them for garbage takes a sixth of a short run: so it begins with
    the command itself, leaves out what was there before, and the end of the process leaves out all.
    """
    gc.disable()
    from agora.cli.app import main as run  # noqa: PLC0415  - importing agora.cli for a helper needs no cyclopts

    try:
        run()
    finally:
        gc.freeze()


def collect_garbage() -> None:
    """The command and what it needs are imported: from here on garbage is collected, where `main` has put it off."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
