"""`agora explain`: what a run would do, without doing any of it."""

from typing import Annotated

from cyclopts import Parameter

from agora.cli.outcome import Exit, Output, ending
from agora.cli.output import print_json, print_text
from agora.cli.target import Name, Target, open_target

__all__ = ["explain"]


def explain(
    target: Target,
    name: Name = None,
    /,
    *,
    mermaid: Annotated[bool, Parameter(help="Print the stages as a Mermaid diagram.")] = False,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Show the stages of a pipeline, how they run, and what delivery they guarantee and why."""

    def command() -> int:
        plan = open_target(target, name).explain()
        if output.json:
            print_json(plan.to_json())
        else:
            print_text(plan.to_mermaid() if mermaid else plan)
        return Exit.OK

    return ending(output, command)
