"""The kill campaign at a count for every day; `nox -s kill` runs it whole."""

from pathlib import Path

from faults.campaign import campaign
from faults.phases import STEPS
from faults.variants import VARIANTS


def test_runs_that_are_killed_at_any_step_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    report = campaign(tmp_path, kills=2 * len(VARIANTS), seed=12, workers=2, length=2, whole=0, exact=True)
    assert report.failures == []
    assert all(tally.kills for tally in report.tallies.values())
    assert all(report.total.phases[step] for step in STEPS), str(report)
    assert report.total.again  # killed in its recovery, and in the recovery from that


def test_agora_run_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    variant = VARIANTS["jsonl-sqlite-linear-context"]
    report = campaign(tmp_path, kills=1, seed=3, whole=1, exact=True, variants=[variant])
    assert report.failures == []
    assert report.total.kills == 1
