"""The contract of a strategy's studies: whole runs without processes, in virtual time, with a trial in closed form."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

from trainables.learning_curve import LearningCurve
from trainables.reporting import Report
from trainables.spec import FineTuneSpec, Objective, Params
from tuning.outcome import StudyOutcome, StudyState, TrialOutcome, TrialState
from tuning.space import Space
from tuning.strategies import Strategy, find_strategies
from tuning.testing.rules import require
from tuning.testing.simulated_ray import PowerCut, SimulatedRay, simulated_ray

EPOCHS = 4.0
SECONDS = 60.0  # of virtual time for one epoch
ENOUGH = 12.0  # epochs after which a study ends whose strategy has no end of its own
ROUNDING = 1e-9
SPACE: Mapping[str, Any] = {"learning_rate": {"loguniform": [1e-5, 1e-2]}, "weight_decay": {"uniform": [0, 0.3]}}
OBJECTIVE = Objective(metric="accuracy", mode="max")
CURVE = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=EPOCHS, objective=OBJECTIVE)
READ = ("learning_rate", "weight_decay")  # names that the closed form uses
LOST = "lost in an interruption"  # in the error of a trial that another one has replaced


@dataclass(frozen=True)
class WholeStudy:
    """A study that has ended, and the simulated cluster that it ran on."""

    study: StudyOutcome
    ray: SimulatedRay

    def history(self) -> list[tuple[object, ...]]:
        """Returns each trial's state, values, reports and exploits, without the name that was drawn for it."""
        trials = [trial for trial in self.study.trials if LOST not in (trial.error or "")]
        places = {trial.id: place for place, trial in enumerate(trials)}
        return [
            (
                str(trial.state),
                dict(trial.params),
                [(report.epoch, dict(report.params), dict(report.metrics)) for report in trial.reports],
                [(one.epoch, places[one.donor], dict(one.new)) for one in trial.lineage],
            )
            for trial in trials
        ]

    def chosen(self) -> tuple[object, ...] | None:
        """Returns which configuration was scored on the test split, and its scores."""
        test = self.study.test
        return None if test is None else (test.epoch, dict(test.params), dict(test.metrics))

    def most_at_once(self) -> int:
        """Returns how many trials trained at a time, at most."""
        ends = [seconds for seconds, _, method in self.ray.calls if method == "train"]
        return max(sum(end - SECONDS < other <= end for end in ends) for other in ends)


class StudyContract:
    """Tests of whole studies of one strategy.

    A subclass states `strategy`, and where they do not suit it:

    Attributes:
        strategy: the strategy to test.
        study_space: the space to search. The trial reads `learning_rate` and `weight_decay`.
        slots: trials at a time, on a cluster that has room for 4; 1 for a strategy with a single trial.
    """

    strategy: ClassVar[Strategy]
    study_space: ClassVar[Mapping[str, Any]] = SPACE
    slots: ClassVar[int] = 2

    @classmethod
    def run(
        cls, folder: Path, *, slots: int | None = None, cut_after: float | None = None, budget: float | None = None
    ) -> WholeStudy:
        """Runs one study to its end.

        Args:
            folder: in which the run folder is made.
            slots: in place of the contract's own.
            cut_after: virtual seconds after which the driver's power is cut, and a second driver resumes.
            budget: epochs; None: as many as the strategy needs to end at all.
        """
        from tuning import load_spec, run_experiment

        kind = type(cls.strategy)
        if budget is None and cls._plan().trials is None:
            budget = ENOUGH
        # A strategy that is not installed is found, too.
        with mock.patch.dict(find_strategies(), {kind.kind: kind}):
            spec = load_spec(
                {
                    "name": "contract",
                    "trainable": "learning_curve",
                    "task": "reviews",
                    "epochs": EPOCHS,
                    "space": dict(cls.study_space),
                    "fixed": {"model.seconds_per_epoch": SECONDS},
                    "strategies": [{"kind": kind.kind, **cls.strategy.model_dump(mode="json")}],
                    "budget": {"epochs": budget},
                    "cluster": {"storage": str(folder), "max_concurrent": slots or cls.slots},
                }
            )
            if cut_after is not None:
                with contextlib.suppress(PowerCut), simulated_ray(tick=SECONDS) as ray:
                    ray.at(cut_after, functools.partial(ray.end_driver, keeping=spec.run_folder))
                    run_experiment(spec, progress=False)
            with simulated_ray(tick=SECONDS, passed=cut_after or 0.0) as ray:
                (study,) = run_experiment(spec, progress=False, resume=cut_after is not None).studies
        return WholeStudy(study, ray)

    @classmethod
    def _plan(cls) -> Any:
        return cls.strategy.plan(Space.model_validate(dict(cls.study_space)), OBJECTIVE, EPOCHS, 0)

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory: pytest.TempPathFactory) -> WholeStudy:
        """Runs a study without any disturbance."""
        return cls.run(tmp_path_factory.mktemp("whole"))

    def test_its_study_ends_with_all_its_trials(self, whole: WholeStudy) -> None:
        self._require_ends(whole.study)
        planned = self._plan().trials
        require(
            planned in (None, len(whole.study.trials)),
            "a study has as many trials as were planned",
            seen=f"{len(whole.study.trials)} of {planned}",
            step="end the search with the last trial that the plan names, not before",
        )

    def test_every_report_has_the_values_that_were_proposed(self, whole: WholeStudy) -> None:
        space = Space.model_validate(dict(self.study_space))
        for trial in whole.study.trials:
            for number, report in enumerate(trial.reports):
                proposed = _proposed(trial, number)
                in_force = {name: report.params.get(name) for name in proposed}
                require(
                    in_force == dict(proposed) and space.contains(proposed),
                    "a trial trains with the values that were proposed for it, or that it took over from a donor",
                    seen=f"{in_force} at epoch {report.epoch:g}, and {dict(proposed)} were proposed",
                    step="change values by an exploit that is reported (`on_exploit`), within the space",
                )
                expected = _in_closed_form(whole.study.history(trial, report))
                require(
                    abs(report.metrics["accuracy"] - expected) < ROUNDING,
                    "a score comes from the values in force since the trial's first epoch, its donors' included",
                    seen=f"{report.metrics['accuracy']} at epoch {report.epoch:g}; these values lead to {expected}",
                    step="look at what a trial is restored from, and with which config",
                )

    def test_it_trains_the_epochs_that_it_plans(self, whole: WholeStudy) -> None:
        space = Space.model_validate(dict(self.study_space))
        planned, trained = self.strategy.planned_epochs(space, EPOCHS), whole.study.epochs_trained
        require(
            planned is None or abs(planned - trained) < ROUNDING,
            "a study trains as many epochs as `planned_epochs` tells",
            seen=f"{trained:g} epochs trained, {planned} planned",
            step="correct `planned_epochs`; None if it is not known beforehand",
        )

    def test_it_keeps_to_the_slots(self, whole: WholeStudy) -> None:
        require(
            whole.most_at_once() == self.slots,
            "as many trials train at once as there are slots, and no more",
            seen=f"{whole.most_at_once()} at once in {self.slots} slots",
            step="propose whenever you are asked: the slots limit the trials, and a limit of your own leaves some free",
        )

    def test_trials_that_go_on_from_a_checkpoint_have_their_optimizer_state(self, whole: WholeStudy) -> None:
        restored = {trial for _, trial, method in whole.ray.calls if method == "restore"}
        require(
            not (self._plan().weights_only and restored),
            "a plan with weights_only=True pauses and clones no trial: its checkpoints hold no optimizer state",
            seen=f"{len(restored)} of {len(whole.study.trials)} trials went on from a checkpoint",
            step="leave weights_only of the plan at False",
        )

    def test_it_repeats_exactly(self, whole: WholeStudy, tmp_path: Path) -> None:
        again = self.run(tmp_path)
        require(
            (again.history(), again.chosen(), again.ray.seconds)
            == (whole.history(), whole.chosen(), whole.ray.seconds),
            "the same seed on the same cluster gives the same study, to the last digit",
            seen=_difference(whole, again),
            step="draw everything from the seed, also in the scheduler",
        )

    def test_it_keeps_to_a_budget(self, whole: WholeStudy, tmp_path: Path) -> None:
        limit = whole.study.epochs_trained / 2
        study = self.run(tmp_path, budget=limit).study
        self._require_ends(study)
        use = study.budget
        if not self.strategy.searches:
            return require(
                use is None and study.epochs_trained == whole.study.epochs_trained,
                "a strategy that searches nothing is outside the budget",
                seen=f"{use}, {study.epochs_trained:g} epochs trained",
                step="leave `searches` at True for one that a budget is to end",
            )
        return require(
            use is not None and use.reached and limit <= use.spent <= limit + self.slots,
            "a study ends where its budget is spent: at most each slot's last epoch is beyond it",
            seen=f"{use}, {study.epochs_trained:g} epochs trained",
            step="let trials be ended from outside: neither searcher nor scheduler may start others in their place",
        )

    def test_a_study_that_is_cut_and_resumed_ends_as_an_undisturbed_one(self, tmp_path: Path) -> None:
        """It runs in one slot, so that no trial depends on which other one is faster after the cut."""
        for folder in (alone := tmp_path / "alone", cut := tmp_path / "cut"):
            folder.mkdir()
        undisturbed = self.run(alone, slots=1)
        resumed = self.run(cut, slots=1, cut_after=undisturbed.ray.seconds / 2)
        self._require_ends(resumed.study)
        require(
            (resumed.history(), resumed.chosen()) == (undisturbed.history(), undisturbed.chosen()),
            "a study whose driver has died goes on where it was, and ends as an undisturbed one",
            seen=_difference(undisturbed, resumed),
            step="the searcher's `save` writes all that the scheduler decides by, too: Tune saves no scheduler",
        )

    def _require_ends(self, study: StudyOutcome) -> None:
        wrong = [trial for trial in study.trials if not _ended(trial)]
        require(
            study.state is StudyState.FINISHED and study.test is not None and study.trials and not wrong,
            "a study ends with each trial completed after its full epochs, or stopped before; the best one is scored",
            seen=f"the study is {study.state}; {[(str(t.state), t.epochs, t.error) for t in wrong or study.trials]}",
            step="stop a trial by TrialScheduler.STOP",
        )


def _ended(trial: TrialOutcome) -> bool:
    full = trial.epochs == EPOCHS
    return trial.state is TrialState.COMPLETED if full else trial.state is TrialState.STOPPED


def _proposed(trial: TrialOutcome, number: int) -> Params:
    """Returns the values that the trial's report `number` must have: of the last exploit before it, or its first."""
    taken_over = [exploit.new for exploit in trial.lineage if exploit.reports <= number]
    return taken_over[-1] if taken_over else trial.params


def _in_closed_form(history: Sequence[Report]) -> float:
    """Returns the accuracy of a training with these values."""
    epoch, progress, accuracy = 0.0, 0.0, 0.0
    for report in history:
        curve = LearningCurve({name: value for name, value in report.params.items() if name in READ}, CURVE)
        curve.epoch, curve.progress = epoch, progress
        accuracy = curve.advance(report.epoch - epoch).metrics["accuracy"]
        epoch, progress = curve.epoch, curve.progress
    return accuracy


def _difference(one: WholeStudy, other: WholeStudy) -> str:
    """Describes the first difference between two studies."""
    first, second = one.history(), other.history()
    if len(first) != len(second):
        return f"{len(first)} trials, then {len(second)}"
    for number, trials in enumerate(zip(first, second, strict=True)):
        for what, before, after in zip(("state", "values", "reports", "exploits"), *trials, strict=True):
            if before != after:
                return f"{what} of trial {number}: {before}, then {after}"
    return f"scored {one.chosen()} after {one.ray.seconds:g} s, then {other.chosen()} after {other.ray.seconds:g} s"
