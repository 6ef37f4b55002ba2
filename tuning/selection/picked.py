"""Takes the configuration of a trial that the user names (`train-final --pick TRIAL`). Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from trainables.errors import InputError, close_match
from trainables.reporting import Report
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome
from tuning.pareto import LossPoint, non_dominated
from tuning.selection.candidates import Candidate
from tuning.selection.schedules import schedule_of
from tuning.selection.winner import Winner

OPTION = "--pick"


def picked(outcome: ExperimentOutcome, pick: str) -> Winner:
    """Return the configuration of the trial that `pick` names, with the epochs of one of its reports.

    Args:
        outcome: of the experiment.
        pick: a trial's id, or its id and an epoch: a8e2fb5c@2. Without an epoch it is the trial's best report; of
            several objectives that of its own front which is best in the first one.

    Raises:
        InputError: there is no such trial or report.
    """
    trial_id, _, stated = pick.partition("@")
    trials = {trial.id: (study, trial) for study in outcome.studies for trial in study.trials}
    if trial_id not in trials:
        close = close_match(trial_id, trials)
        step = f"did you mean {close}?" if close else f"`tunefleet results {outcome.name}` shows the ids of all trials"
        raise InputError(OPTION, pick, f"is no trial of {outcome.name}", step)
    study, trial = trials[trial_id]
    if (report := _report(study, trial, stated, pick)) is None:
        raise InputError(OPTION, pick, "has reported nothing", "take another trial")
    on_front = any(one is report for _, one in study.front())
    schedule = schedule_of(study.history(trial, report))
    candidate = Candidate(1, trial.id, report.epoch, schedule, report.metrics[study.metric])
    caveats = ["The configuration was picked by its user, by validation scores of its search, which are too good."]
    if study.goal is not None and not on_front:
        caveats.append("It is not on the front of its search: another configuration is better in all objectives.")
    return Winner(study, candidate, (), tuple(caveats), picked=True)


def _report(study: StudyOutcome, trial: TrialOutcome, stated: str, pick: str) -> Report | None:
    """Return the report that is meant; None if the trial has none."""
    if stated:
        found = [report for report in trial.reports if f"{report.epoch:g}" == stated]
        if not found:
            epochs = ", ".join(f"{report.epoch:g}" for report in trial.reports)
            raise InputError(OPTION, pick, "has no report at that epoch", f"it has reported at {epochs or 'none'}")
        return found[-1]
    if study.goal is None:
        return trial.best_report(study.metric, study.mode)
    points = [LossPoint.of(study.goal, report.metrics) for report in trial.reports]
    kept = non_dominated(points) or range(len(points))
    return trial.reports[min(kept, key=lambda one: points[one])] if points else None


def refuse_to_choose(outcome: ExperimentOutcome) -> None:
    """Check that an experiment has one best configuration.

    Raises:
        InputError: it has several objectives.
    """
    if outcome.studies and outcome.studies[0].goal is not None:
        listed = ", ".join(_choices(outcome)) or "none yet"
        rule = "is needed: several objectives have no single best configuration"
        raise InputError(OPTION, None, rule, f"choose one from `tunefleet compare {outcome.name}`: {listed}")


def _choices(outcome: ExperimentOutcome) -> Iterator[str]:
    from tuning.comparison.front import experiment_front

    return (point.pick for point in experiment_front(outcome))
