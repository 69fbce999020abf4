"""The commands, each imported when it is called: `agora --version` loads no engine.

A command answers its exit code. Errors of usage are cyclopts' own and are told here; all others are told by
`agora.cli.outcome`, inside the command, which knows whether a traceback was asked for.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from agora._version import __version__

__all__ = ["app", "main"]

_EPILOGUE = """
Exit codes: 0 completed, 1 the run (or a test) failed, 2 usage or config, 3 dead letters (with --fail-on-dead-letters),
4 the pipeline is busy, 130 and 143 stopped by a signal.
"""


app = App(
    name="agora",
    version=__version__,
    help="Ordered, bounded, resumable pipelines on trio.",
    version_format="plaintext",
    help_epilogue=_EPILOGUE,
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=False),
)
_dlq = App(name="dlq", help="Look at, replay and purge dead letters.")
_checkpoint = App(name="checkpoint", help="Look at and reset the checkpoint.")
app.command(_dlq)
app.command(_checkpoint)

# The first line of each command's help, so that an overview imports none of them.
for _group, _name, _function, _help in (
    (app, "run", "run:run", "Run a pipeline until its source is exhausted."),
    (app, "explain", "explain:explain", "Show the stages of a pipeline and what delivery they guarantee."),
    (app, "test", "test:run_tests", "Run the tests that stand in a config file."),
    (_dlq, "list", "dlq:list_letters", "List the dead letters of a pipeline, a line each."),
    (_dlq, "show", "dlq:show_letters", "Show dead letters with all that is known of them."),
    (_dlq, "replay", "dlq:replay_letters", "Send dead letters through the pipeline again."),
    (_dlq, "purge", "dlq:purge_letters", "Throw dead letters away, for good."),
    (_checkpoint, "show", "checkpoint:show", "Show the checkpoint that the next run resumes from."),
    (_checkpoint, "backup", "checkpoint:backup", "Copy the state file, in use or not."),
    (_checkpoint, "reset", "checkpoint:reset", "Forget the checkpoint: the next run starts over."),
):
    _group.command(f"agora.cli.{_function}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; never returns."""
    sys.exit(_code(arguments))


def _code(arguments: Sequence[str] | None) -> int:
    try:
        code = app(arguments)
    except CycloptsError as error:
        print(f"agora: {error}", file=sys.stderr)
        print("agora --help tells what there is", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return 130
    return code if isinstance(code, int) else 0
