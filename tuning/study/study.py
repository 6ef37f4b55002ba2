"""One strategy x one seed of an experiment, with everything that they decide before a trial runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.spec import FineTuneSpec, Value
from tuning.budget import Limit
from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import HP_SPACE, ORIGIN, RANDOM_FIRST, VERDICT, VERDICTS
from tuning.spec.models import STUDIES, ExperimentSpec, study_name
from tuning.strategies import Plan, Strategy

if TYPE_CHECKING:
    from cluster.session import Session

WHEN_CUT = "when_cut"  # attribute of a study whose plan is that of one which its budget may cut


@dataclass(frozen=True)
class Study:
    """One strategy x one seed, ready to run."""

    spec: ExperimentSpec
    strategy: Strategy
    seed: int
    trial: FineTuneSpec
    plan: Plan
    cut: bool = False  # the plan is that of a study which the budget may cut

    @classmethod
    def of(cls, spec: ExperimentSpec, strategy: Strategy, seed: int, begun: StudyOutcome | None = None) -> Study:
        """The study with everything that its strategy decides.

        Args:
            begun: the study as recorded, if it goes on; older versions had no plans for a budget that cuts.
        """
        trial = spec.trial_spec(seed, strategy.name)
        assert trial.objective is not None
        cut = bool(strategy.when_cut) and spec.may_cut(strategy)
        if begun is not None:
            cut = WHEN_CUT in begun.attributes
        make = strategy.plan_cut if cut else strategy.plan
        return cls(spec, strategy, seed, trial, make(spec.space_of(strategy), trial.objective, spec.epochs, seed), cut)

    @property
    def most_trials(self) -> int:
        """What the plan says; without a number there, an end for a study whose trials cost its budget nothing."""
        if self.plan.trials is not None:
            return self.plan.trials
        limit = self.limit
        assert limit is not None  # the spec's checks refuse a strategy without any end
        most = limit.most_trials(self.spec.report_every_epochs)
        return most if self.plan.most_trials is None else min(most, self.plan.most_trials)

    @property
    def limit(self) -> Limit | None:
        """Where it ends, whatever its strategy would still do; None: nowhere."""
        return self.spec.limit_of(self.strategy)

    def held(self, session: Session) -> Session:
        """`session` with the slots that the study holds, and is charged for: all, if it searches."""
        if self.strategy.searches:
            return session
        return replace(session, max_concurrent=min(session.slots, self.most_trials))

    @property
    def name(self) -> str:
        """As its folder is called."""
        return study_name(self.strategy.name, self.seed)

    def seeds(self) -> dict[str, Value]:
        """What its draws, its trials' order of rows and their models' heads come from, for its record."""
        training = self.trial.training_seeds
        return {"search_seed": self.seed, "data_order_seed": training.data_order, "head_seed": training.head}

    def origins(self) -> dict[str, Value]:
        """Where its trials' first values come from, and in which order, for its record."""
        first = self.strategy.learns_after(self.spec.space_of(self.strategy))
        cut = {WHEN_CUT: self.strategy.when_cut} if self.cut else {}
        return {ORIGIN: self.strategy.origin, RANDOM_FIRST: first or 0, **cut}

    def asked_by(self) -> dict[str, Value]:
        """The function whose suggestions are searched, for its record; nothing where there is none."""
        return {} if self.trial.hp_space is None else {HP_SPACE: self.trial.hp_space}

    def verdicts(self) -> dict[str, Value]:
        """Which verdict it comes to and how many are planned, for its record; nothing where there is one alone."""
        number, planned = self.spec.verdict_number, self.spec.verdicts
        return {} if number == planned == 1 else {VERDICT: number, VERDICTS: planned}

    @property
    def folder(self) -> Path:
        """Its own in the run folder, and its name in the nodes' shared memory."""
        return self.spec.run_folder / STUDIES / self.name


def in_order(spec: ExperimentSpec) -> Iterator[tuple[Strategy, int]]:
    """All studies as they are run: seed by seed, each seed beginning with another strategy.

    What comes first pays for cold caches, and what comes last for a machine that others have begun to use; so none is
    always the same one.
    """
    for place, seed in enumerate(spec.seeds):
        first = place % len(spec.strategies)
        for strategy in (*spec.strategies[first:], *spec.strategies[:first]):
            yield strategy, seed
