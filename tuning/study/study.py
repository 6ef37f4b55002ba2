"""A study: one strategy x one seed of an experiment, with everything that they decide before a trial runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.spec import FineTuneSpec, Value
from tuning.budget import Limit
from tuning.outcome.attributes import (
    AFTER_EARLIER,
    EARLIER_FROM,
    EARLIER_TRIALS,
    FIRST_ORIGINS,
    HP_SPACE,
    ORIGIN,
    PRECISION,
    PRIOR_DRAW,
    PRIORS,
    RANDOM_DRAW,
    RANDOM_FIRST,
    VERDICT,
    VERDICTS,
)
from tuning.spec.models import STUDIES, ExperimentSpec, study_name
from tuning.strategies import Plan, Strategy
from tuning.study.precision import Precision, recorded_precision
from tuning.study.resume import Search, SpecifiedStudy, StudyPlan
from tuning.study.user_studies import recorded_observations, tell_observations

if TYPE_CHECKING:
    from cluster.session import Session

WHEN_CUT = "when_cut"  # attribute of a study whose plan is that of one which its budget may cut


@dataclass(frozen=True)
class Study:
    """A study that is ready to run.

    Args:
        spec: of the experiment.
        strategy, seed: the two that make the study.
        trial: what every trial is given besides its values.
        plan: the searcher and the scheduler that Tune runs.
        resume: what is kept of earlier runs, and what is owed.
        cut: True if the plan is that of a study which its budget may cut.
        earlier: attributes that record which earlier trials its model knows.
    """

    spec: ExperimentSpec
    strategy: Strategy
    seed: int
    trial: FineTuneSpec
    plan: Plan
    resume: StudyPlan
    cut: bool = False
    earlier: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: ExperimentSpec, strategy: Strategy, seed: int, resume: StudyPlan | None = None) -> Study:
        """Make the study with everything that its strategy decides.

        Args:
            resume: of a study that goes on; None: it begins. One that an older version began has no plan for a budget
                that cuts.
        """
        trial = spec.trial_spec(seed, strategy.name)
        assert trial.objective is not None
        cut = bool(strategy.when_cut) and spec.may_cut(strategy)
        if resume is not None and resume.recorded is not None:
            cut = WHEN_CUT in resume.recorded.attributes
        space = spec.space_of(strategy)
        if strategy.several_objectives and (goal := trial.goal) is not None:
            plan = strategy.plan_several(space, goal, spec.epochs, seed, cut=cut)
        else:
            make = strategy.plan_cut if cut else strategy.plan
            plan = make(space, trial.objective, spec.epochs, seed)
        if resume is None or resume.search is not Search.CONTINUE:
            earlier = tell_observations(plan, spec, strategy)
        else:  # the searcher's saved state has them
            earlier = recorded_observations(resume.recorded)
        resume = resume or StudyPlan(SpecifiedStudy(strategy.name, seed))
        return cls(spec, strategy, seed, trial, plan, resume, cut, earlier)

    def computing_in(self, precision: Precision) -> Study:
        """Return the study with trials of that precision, unless another one is recorded of it."""
        recorded = None if self.resume.recorded is None else recorded_precision(self.resume.recorded)
        own = recorded if recorded is not None and self.spec.precision == "auto" else precision
        return replace(self, trial=self.trial.model_copy(update={"precision": own}))

    @property
    def most_trials(self) -> int:
        """The number of trials in the plan; without one there, a bound for trials that cost the budget nothing."""
        if self.plan.trials is not None:
            return self.plan.trials
        limit = self.limit
        if limit is None:  # the spec's checks refuse a strategy without any end
            assert self.plan.most_trials is not None
            return self.plan.most_trials
        most = limit.most_trials(self.spec.report_every_epochs)
        return most if self.plan.most_trials is None else min(most, self.plan.most_trials)

    @property
    def limit(self) -> Limit | None:
        """The budget at which the study ends, whatever its strategy would still do; None: it has no budget."""
        return self.spec.limit_of(self.strategy)

    def held(self, session: Session) -> Session:
        """Return `session` with the slots that the study holds and is charged for: all of them, if it searches."""
        if self.strategy.searches:
            return session
        return replace(session, max_concurrent=min(session.slots, self.most_trials))

    @property
    def name(self) -> str:
        """The name of its folder."""
        return study_name(self.strategy.name, self.seed)

    def attributes(self) -> dict[str, Value]:
        """Return what the store records of the study besides its trials, by name."""
        return self._seeds() | self._origins() | self._precision() | self._hp_space() | self._verdicts()

    def _seeds(self) -> dict[str, Value]:
        """The seeds of its draws, of its trials' order of rows and of their models' heads."""
        training = self.trial.training_seeds
        return {"search_seed": self.seed, "data_order_seed": training.data_order, "head_seed": training.head}

    def _origins(self) -> dict[str, Value]:
        """The origin of its trials' first values, and their order."""
        space = self.spec.space_of(self.strategy)
        first, known, origin = self.strategy.learns_after(space), space.knowledge, self.strategy.origin
        found: dict[str, Value] = {WHEN_CUT: self.strategy.when_cut} if self.cut else {}
        if known.points:
            found[FIRST_ORIGINS] = json.dumps([point.origin for point in known.points])
        if known.priors:
            found[PRIORS] = ", ".join(known.priors)
            origin = PRIOR_DRAW if origin == RANDOM_DRAW else origin
        if known.trials:
            found[EARLIER_TRIALS] = len(known.trials)
            found[EARLIER_FROM] = ", ".join(one.experiment for one in self.spec.earlier)
        for name, value in self.earlier.items():  # of the user's own study: numbers add up
            found[name] = value if name not in found else _joined(found[name], value)
        if EARLIER_TRIALS in found:
            origin = f"{origin}, {AFTER_EARLIER}"
        return {ORIGIN: origin, RANDOM_FIRST: first or 0, **found}

    def _precision(self) -> dict[str, Value]:
        """The precision of its trials; {} of a trainable that has its own."""
        return {} if self.trial.precision == "auto" else {PRECISION: self.trial.precision}

    def _hp_space(self) -> dict[str, Value]:
        """The function whose suggestions are searched; {} where there is none."""
        return {} if self.trial.hp_space is None else {HP_SPACE: self.trial.hp_space}

    def _verdicts(self) -> dict[str, Value]:
        """The number of its verdict and the number of planned ones; {} where there is only one."""
        number, planned = self.spec.verdict_number, self.spec.verdicts
        return {} if number == planned == 1 else {VERDICT: number, VERDICTS: planned}

    @property
    def folder(self) -> Path:
        """The study's folder in the run folder, which is its name in the nodes' shared memory, too."""
        return self.spec.run_folder / STUDIES / self.name


def _joined(first: Value, more: Value) -> Value:
    """Adds numbers, and lists texts."""
    return first + more if isinstance(first, int) and isinstance(more, int) else f"{first}, {more}"


def run_order(spec: ExperimentSpec) -> Iterator[tuple[Strategy, int]]:
    """Yield all studies in the order in which they run: seed by seed, each seed beginning with another strategy.

    The first one pays for cold caches, and the last one for a machine that others have begun to use: so neither is
    always the same strategy.
    """
    for place, seed in enumerate(spec.seeds):
        first = place % len(spec.strategies)
        for strategy in (*spec.strategies[first:], *spec.strategies[:first]):
            yield strategy, seed
