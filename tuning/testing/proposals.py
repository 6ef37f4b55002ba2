"""Collects what a strategy proposes, through Tune's own code; runs no trial."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.spec import Objective
from tuning.strategies import Plan

if TYPE_CHECKING:
    from ray.tune.experiment import Trial
    from ray.tune.search import SearchAlgorithm

ENDLESS = 12  # proposals that are requested of a plan without a number of trials


class Proposer:
    """Requests a plan's trials as Tune does: adds each to the scheduler, and reports a score of it to the searcher.

    Args:
        plan: a fresh one.
        objective: names the metric of the reported score, which follows from the trial's values alone.

    Attributes:
        trials: all trials that were added to the scheduler.
    """

    def __init__(self, plan: Plan, objective: Objective) -> None:
        from ray.tune.experiment import Experiment
        from ray.tune.registry import register_trainable
        from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, SearchGenerator

        register_trainable("nothing", lambda config: None)
        self._scheduler, self._metric = plan.scheduler, f"metrics/{objective.metric}"
        algorithm = plan.searcher or BasicVariantGenerator()
        self._algorithm: SearchAlgorithm = (
            algorithm if isinstance(algorithm, SearchAlgorithm) else SearchGenerator(algorithm)
        )
        with tempfile.TemporaryDirectory() as folder:  # by default it would make one in the user's home
            config, samples = dict(plan.param_space), plan.trials or ENDLESS
            experiment = Experiment("x", "nothing", config=config, num_samples=samples, storage_path=folder)
            self._algorithm.add_configurations([experiment])
        self.trials: list[Trial] = []

    def ask(self, most: int | None = None) -> list[dict[str, Any]]:
        """Returns the values of the next trials: of all that remain, or of `most`."""
        proposed: list[dict[str, Any]] = []
        while (most is None or len(proposed) < most) and (trial := self._algorithm.next_trial()) is not None:
            proposed.append(dict(trial.config))
            self._add(trial)
            self._algorithm.on_trial_complete(trial.trial_id, result={self._metric: score_of(trial.config)})
        return proposed

    def save(self, folder: Path) -> None:
        """Writes what a snapshot of Tune's holds of the searcher."""
        self._algorithm.save_to_dir(str(folder), "session")

    def restore(self, folder: Path, trials: Sequence[Trial]) -> None:
        """Continues from what `save` has written, in Tune's order: the searcher, then the trials."""
        self._algorithm.restore_from_dir(str(folder))
        for trial in trials:
            self._add(trial)

    def _add(self, trial: Trial) -> None:
        self._scheduler.on_trial_add(None, trial)
        self.trials.append(trial)


def score_of(params: Mapping[str, Any]) -> float:
    """Returns a score between 0 and 1 that follows from the values without a pattern, the same on every machine."""
    return int(hashlib.sha256(repr(sorted(params.items())).encode()).hexdigest()[:8], 16) / 16**8
