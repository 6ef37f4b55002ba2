"""The result of a search: transformers' `BestRun`, with the values in force and the best weights.

In: an outcome and the prepared search. Out: `BestRun`; a Trainer that was given gets values and weights.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.checkpoints.recomputation import weights_folder
from trainables.errors import InputError
from trainables.lookup import build_training
from trainables.user_trainer.argument_values import matching_fields
from trainables.user_trainer.hp_space import ResolvedParams, suggested_values
from trainables.user_trainer.rebuilt import RebuiltTrainer
from tuning.outcome import ExperimentOutcome, Stretch, StudyOutcome, TrialOutcome
from tuning.pareto import LossPoint, non_dominated
from tuning.run_folder.run_storage import checkpoint_storage_at
from tuning.selection.schedules import schedule_of
from tuning.selection.test_scoring import ChosenCheckpoint, choose_checkpoint, choose_checkpoints
from tuning.selection.winner import winner_of
from tuning.space import FunctionSpace
from tuning.spec.models import ExperimentSpec, study_name
from tuning.user_trainer.prepared_search import PreparedSearch

if TYPE_CHECKING:
    from transformers.trainer_utils import BestRun

KEPT = ("callback_handler", "model_init", "train_dataset", "eval_dataset")  # of the user's Trainer, as they are


@dataclass(frozen=True)
class SearchSummary:
    """Everything that was recorded of a search, from its best evaluation."""

    outcome: ExperimentOutcome  # all studies
    study: StudyOutcome  # that of the best trial
    trial: TrialOutcome
    schedule: tuple[Stretch, ...]  # the values behind the best weights, in order; several where PBT changed them
    checkpoint: str  # the folder, or URI, of the best checkpoint
    storage: str

    @property
    def trials(self) -> tuple[TrialOutcome, ...]:
        """All trials of the study, each with its evaluations."""
        return self.study.trials

    def report(self, out: str | Path | None = None) -> Path:
        """Write the page of the experiment, one HTML file; default: NAME.html in the working directory."""
        from tuning.notebook.commands import report

        return report(self.outcome.name, out, storage=self.storage)

    def __repr__(self) -> str:
        return f"<SearchSummary of {self.outcome.name}: trial {self.trial.name} of {self.study.strategy}>"


def best_run(outcome: ExperimentOutcome, prepared: PreparedSearch, trainer: Any = None) -> BestRun:
    """The best evaluation of all studies; a Trainer that is given gets its weights and values.

    Raises:
        InputError: no trial has a score.
    """
    from transformers.trainer_utils import BestRun

    study, choice = _best(outcome)
    values = values_in_force(prepared, study, choice)
    schedule = schedule_of(study.history(choice.trial, choice.report))
    storage = prepared.spec.cluster.storage
    summary = SearchSummary(outcome, study, choice.trial, schedule, choice.checkpoint, storage)
    if trainer is not None:
        load_best(trainer, prepared, study, choice, values)
    return BestRun(str(choice.trial.number), choice.report.metrics[study.metric], dict(values), summary)


def front_runs(outcome: ExperimentOutcome, prepared: PreparedSearch) -> list[BestRun]:
    """The configurations on the front of all studies, the best of the first objective first.

    Each has the values of its objectives in place of one.

    Raises:
        InputError: no trial has a score.
    """
    from transformers.trainer_utils import BestRun

    goal = prepared.spec.goal
    assert goal is not None
    found = [(study, choice) for study in outcome.studies for choice in choose_checkpoints(study)]
    if not found:
        raise _without_score(outcome)
    points = [LossPoint.of(goal, choice.report.metrics) for _, choice in found]
    runs = []
    for place in sorted(non_dominated(points), key=lambda one: points[one].losses):
        study, choice = found[place]
        schedule = schedule_of(study.history(choice.trial, choice.report))
        storage = prepared.spec.cluster.storage
        summary = SearchSummary(outcome, study, choice.trial, schedule, choice.checkpoint, storage)
        values = [choice.report.metrics[one.metric] for one in goal.objectives]
        params = dict(values_in_force(prepared, study, choice))
        runs.append(BestRun(str(choice.trial.number), values, params, summary))
    return runs


def _without_score(outcome: ExperimentOutcome) -> InputError:
    errors = [trial.error for study in outcome.studies for trial in study.trials if trial.error]
    rule = f"no trial has a score: {errors[0] if errors else 'none ended'}"
    return InputError("trainer", outcome.name, rule, "mend that; all logs are in the run folder")


def _best(outcome: ExperimentOutcome) -> tuple[StudyOutcome, ChosenCheckpoint]:
    """The best confirmed mean, as `train-final` chooses; without confirmations the best evaluation of all."""
    if any(study.confirmed() for study in outcome.studies):
        study, candidate, *_ = winner_of(outcome)
        trial = next(trial for trial in study.trials if trial.id == candidate.trial)
        report = next(report for report in trial.reports if report.epoch == candidate.epoch)
        if report.epoch in trial.checkpoints:
            return study, ChosenCheckpoint(trial, report, trial.checkpoints[report.epoch])
    found = [(study, choice) for study in outcome.studies if (choice := choose_checkpoint(study)) is not None]
    if not found:
        raise _without_score(outcome)
    sign = 1 if found[0][0].mode == "max" else -1
    return max(found, key=lambda pair: sign * pair[1].report.metrics[pair[0].metric])


def values_in_force(prepared: PreparedSearch, study: StudyOutcome, choice: ChosenCheckpoint) -> ResolvedParams:
    """The values that were in force up to the chosen report, as the Trainer was given them."""
    space: Any = prepared.space
    strategy = next(each for each in prepared.spec.strategies if each.name == study.strategy)
    names = space.names if strategy.searches else strategy.own_values
    suggested = {name: value for name, value in suggested_values(choice.report.params).items() if name in names}
    asks = strategy.searches and isinstance(space, FunctionSpace)
    values: Mapping[str, Any] = space.returned(suggested) if asks else suggested
    factory = prepared.factory
    fields = matching_fields(factory.arguments_class, values) if isinstance(factory, RebuiltTrainer) else {}
    return ResolvedParams({**values, **fields}, suggested)


def load_best(
    trainer: Any, prepared: PreparedSearch, study: StudyOutcome, choice: ChosenCheckpoint, values: ResolvedParams
) -> None:
    """Give a user's Trainer the best values and weights; its data and callbacks stay."""
    from trainables.user_trainer.state import load_trained_weights

    best = prepared.factory(values)
    with best_weights(prepared.spec, study, choice) as folder:
        load_trained_weights(folder, best)
    vars(trainer).update({name: value for name, value in vars(best).items() if name not in KEPT})
    trainer.callback_handler.model = best.model


@contextlib.contextmanager
def best_weights(spec: ExperimentSpec, study: StudyOutcome, choice: ChosenCheckpoint) -> Iterator[Path]:
    """A folder on this machine with the weights behind a choice."""
    storage = checkpoint_storage_at(spec.cluster.storage, spec.name, study_name(study.strategy, study.seed))
    path = choice.checkpoint.removeprefix(storage.scheme)
    with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
        yield weights_folder(path, storage, build_training, spec.trial_spec(study.seed, study.strategy), Path(scratch))
