"""The kill campaign at a count for every day; `nox -s kill` runs it whole."""

from pathlib import Path

from .campaign import campaign
from .fickle import FICKLE
from .forkserver import ForkServer
from .phases import STEPS
from .variants import VARIANTS


def test_runs_that_are_killed_at_any_step_lose_nothing_and_repeat_nothing(
    server: ForkServer, tmp_path: Path
) -> None:
    subjects = tuple(VARIANTS.values())
    report = campaign(
        tmp_path, [server], kills=2 * len(subjects), seed=12, length=2, whole=0, exact=True, subjects=subjects
    )
    assert report.failures == []
    assert all(tally.kills for tally in report.tallies.values())
    assert all(report.total.phases[step] for step in STEPS), str(report)


def test_agora_run_that_is_killed_goes_on_where_it_was(server: ForkServer, tmp_path: Path) -> None:
    variant = next(each for each in VARIANTS.values() if (each.sink, each.state) == ("sqlite", "context"))
    report = campaign(tmp_path, [server], kills=1, seed=3, whole=1, exact=True, subjects=[variant])
    assert report.failures == []
    assert report.total.kills == report.total.processes - 2 == 1


def test_a_record_whose_steps_answer_differently_every_time_has_one_outcome(
    server: ForkServer, tmp_path: Path
) -> None:
    subjects = tuple(FICKLE.values())
    report = campaign(
        tmp_path, [server], kills=2 * len(subjects), seed=7, length=2, whole=0, exact=True, subjects=subjects
    )
    assert report.failures == []
    assert all(tally.kills for tally in report.tallies.values())
