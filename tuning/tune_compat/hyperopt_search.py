"""Ray's HyperOptSearch with failed trials in its model, with proposals that can be replaced, and trials imported.

Imports hyperopt.

Read against ray 2.60: HyperOpt's record of a proposal, and the searcher's tables of trials, are private.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperopt import JOB_STATE_DONE, STATUS_FAIL, rand
from ray.tune.search.hyperopt import HyperOptSearch


class FailureAwareHyperOpt(HyperOptSearch):  # type: ignore[misc]
    """A trial that failed counts as worse than any score.

    Ray leaves it out of the model, which then proposes its like again and again.
    """

    _points_to_evaluate: int  # how many of them are to come
    algo: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._failed: dict[str, Any] = {}  # what HyperOpt knows a failed trial by, should it run again

    def replace_proposal(self, trial_id: str, values: Mapping[str, Any]) -> None:
        """Have HyperOpt's record of the proposal hold `values`: its score then counts for them.

        Args:
            values: by name, as HyperOpt draws them; of a choice its index.
        """
        drawn = self._get_hyperopt_trial(trial_id)["misc"]["vals"]
        for name, value in values.items():
            drawn[name] = [value]
        self._hpopt_trials.refresh()

    def import_trial(self, trial_id: str, values: Mapping[str, Any] | None, score: float | None) -> None:
        """Have the model know a trial that another search has run, as if it had been proposed here.

        Called for each in its order, before the first proposal. The random number that a proposal takes is taken here,
        too, so that the next proposals are those that would have followed.

        Args:
            trial_id: one that no trial of this search has.
            values: by name, as HyperOpt draws them; None: it is the next of `points_to_evaluate`.
            score: the metric of its last report; None: it failed.
        """
        if values is None:
            super().suggest(trial_id)
        else:
            waiting, self._points_to_evaluate = self._points_to_evaluate, 0  # the remaining points come later
            model, self.algo = self.algo, rand.suggest  # its proposal is replaced, and TPE's would take longer
            super().suggest(trial_id)
            self._points_to_evaluate, self.algo = waiting, model
            self.replace_proposal(trial_id, values)
        self.on_trial_complete(trial_id, None if score is None else {self.metric: score}, error=score is None)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune. HyperOpt takes a trial that is done and has no loss for an infinite one."""
        if trial_id in self._failed:  # it has run again
            self._live_trial_mapping[trial_id] = self._failed.pop(trial_id)
        known, proposal = self._live_trial_mapping.get(trial_id), self._get_hyperopt_trial(trial_id)
        super().on_trial_complete(trial_id, result, error)
        if error and proposal is not None:
            self._failed[trial_id] = known
            proposal["state"], proposal["result"] = JOB_STATE_DONE, {"status": STATUS_FAIL}
            self._hpopt_trials.refresh()
