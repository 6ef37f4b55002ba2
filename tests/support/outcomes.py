"""Hand-made outcomes with known answers, for the tests of the comparison and the report; trials as Tune shows them."""

from __future__ import annotations

from types import SimpleNamespace

from trainables.reporting import Report
from tuning.outcome import Exploit, StudyOutcome, StudyState, TestScore, TrialOutcome, TrialState
from tuning.testing.recording import make_report

__all__ = ["known_to_tune", "make_report", "population", "scored", "study", "trial"]


def trial(
    number: int,
    reports: list[Report],
    state: TrialState = TrialState.COMPLETED,
    lineage: tuple[Exploit, ...] = (),
    error: str | None = None,
) -> TrialOutcome:
    params = reports[0].params if reports else {"learning_rate": 9.0}
    return TrialOutcome(f"t{number}", number, state, params, tuple(reports), lineage, error=error)


def scored(trial_id: str, epoch: float, accuracy: float, rows: int = 1000) -> TestScore:
    return TestScore(trial_id, epoch, {"learning_rate": 0.1}, {"accuracy": accuracy}, rows, "/checkpoint", 0.0)


def study(
    strategy: str,
    trials: list[TrialOutcome],
    *,
    seed: int = 0,
    wall: float = 100.0,
    test: TestScore | None = None,
    state: StudyState = StudyState.FINISHED,
    metric: str = "accuracy",
) -> StudyOutcome:
    return StudyOutcome(
        strategy, strategy, seed, state, metric, "max", tuple(trials), wall, 2, 0.5, "GPU", test, {"torch": "2.13"}
    )


def population() -> tuple[TrialOutcome, TrialOutcome]:
    """Returns two members: after two epochs the second takes over the first's weights of epoch 1, at a rate of 0.4."""
    donor = trial(0, [make_report(1, 0.5, 0.2), make_report(2, 0.6, 0.2), make_report(3, 0.65, 0.2)])
    exploit = Exploit(1.0, "t0", {"learning_rate": 0.9}, {"learning_rate": 0.4}, 2.5, reports=2, donor_reports=1)
    member = trial(
        1,
        [make_report(1, 0.1, 0.9), make_report(2, 0.2, 0.9), make_report(2, 0.7, 0.4), make_report(3, 0.8, 0.4)],
        lineage=(exploit,),
    )
    return donor, member


def known_to_tune(name: str, saved: float | None = None) -> SimpleNamespace:
    """Returns a trial that has not ended, with a checkpoint of epoch `saved`."""
    checkpoint = None if saved is None else SimpleNamespace(metrics={"epoch": saved})
    return SimpleNamespace(trial_id=name, is_finished=lambda: False, latest_checkpoint_result=checkpoint)
