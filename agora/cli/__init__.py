"""The command line: `agora`, and `python -m agora`."""

import gc
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command that `sys.argv` says and exit with its code."""
    from agora.cli.app import main as run  # noqa: PLC0415  - importing agora.cli for a helper needs no cyclopts

    try:
        run()
    finally:
        gc.freeze()  # the process ends: its last collections would walk through all that was ever imported
