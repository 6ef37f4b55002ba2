"""The trials of earlier experiments that a new one starts from: those that agree with it in what decides scores.

In: a spec with `start_from`. Out: the spec with `earlier`. The run folder keeps that, so that a resume depends neither
on the earlier experiment's folder nor on its store.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cluster.capacity import ClusterError
from trainables.wording import counted
from tuning.comparison.version_caveats import FINGERPRINT
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome, TrialState
from tuning.run_folder.experiments import UnknownExperiment, load_experiment
from tuning.space import EarlierTrial, Space
from tuning.spec.file import parse
from tuning.spec.knowledge import EarlierExperiment, trials_in
from tuning.spec.mistakes import Mistake, SpecError
from tuning.spec.models import ExperimentSpec
from tuning.spec.shown_values import short_form
from tuning.spec.store_url import StoreError
from tuning.store.trial_events import LOST

# What decides a trial's score besides its values, its seed and the rows, which have a fingerprint.
AGREEING = ("trainable", "task", "model", "revision", "epochs", "fixed", "hp_space")
STEP = "start from an experiment that agrees with this one, or leave it out"


def with_earlier_trials(spec: ExperimentSpec) -> ExperimentSpec:
    """Returns `spec` with the trials of the experiments that it starts from, as they are recorded now.

    The rows are compared when a node has read them: `require_same_rows`.

    Raises:
        SpecError: one of them cannot be read, does not agree with `spec`, or has no trial in its space.
    """
    if not spec.start_from:
        return spec
    earlier, mistakes = [], []
    for name in spec.start_from:
        try:
            outcome, recorded = load_experiment(name, spec.cluster.storage)
            raw = parse(recorded, name)
        except (UnknownExperiment, StoreError, ClusterError, SpecError) as error:
            mistakes.append(Mistake("start_from", str(error), name))
            continue
        if differences := list(_differences(raw, outcome, spec)):
            rule = f"its scores do not compare with those of this experiment: {'; '.join(differences)}"
            mistakes.append(Mistake("start_from", rule, name, STEP))
        earlier.append(_read(outcome))
    started = spec.model_copy(update={"earlier": tuple(earlier)})
    mistakes += [] if mistakes else _unusable(started)
    if mistakes:
        raise SpecError(mistakes, spec.name)
    return started


def require_same_rows(spec: ExperimentSpec, fingerprints: Collection[str]) -> None:
    """Refuses earlier trials that have learned from, or were scored on, other rows.

    Args:
        spec: of the experiment.
        fingerprints: of its rows and labels, in each of its cuts.

    Raises:
        SpecError: an earlier experiment has a fingerprint that is not among them.
    """
    mistakes = []
    for earlier in spec.earlier:
        if other := sorted(set(earlier.fingerprints) - set(fingerprints)):
            rule = (
                f"its rows or labels are others (fingerprint {', '.join(other)}, and here {', '.join(fingerprints)}), "
                "so its scores do not compare with those of this experiment"
            )
            mistakes.append(Mistake("start_from", rule, earlier.experiment, STEP))
    if mistakes:
        raise SpecError(mistakes, spec.name)


def earlier_lines(spec: ExperimentSpec) -> Iterator[str]:
    """Yields a line for each strategy that starts from earlier trials."""
    names = ", ".join(one.experiment for one in spec.earlier)
    recorded = sum(len(one.trials) for one in spec.earlier)
    for strategy in spec.strategies if spec.earlier else ():
        if not (spec.informs(strategy) and strategy.uses):
            continue
        space = spec.space_of(strategy)
        usable = sum(1 for _ in trials_in(space, spec.earlier))
        how = "its model learns from" if space.knowledge.trials else "it begins with the best of"
        if usable == recorded:
            yield f"{strategy.name}: {how} the {counted(recorded, 'trial')} of {names}"
        else:
            left = (
                f"{usable} of the {counted(recorded, 'trial')} of {names}; the others are outside its space, or repeat"
            )
            yield f"{strategy.name}: {how} {left} one"


def _read(outcome: ExperimentOutcome) -> EarlierExperiment:
    """Returns what a model may learn from an experiment: trials that have ended, with values that were theirs."""
    prints = (study.attributes.get(FINGERPRINT) for study in outcome.studies)
    return EarlierExperiment(
        experiment=outcome.name,
        fingerprints=tuple(dict.fromkeys(str(one) for one in prints if one is not None)),
        trials=tuple(trial for study in outcome.studies for trial in _trials(study)),
    )


def _trials(study: StudyOutcome) -> Iterator[EarlierTrial]:
    for trial in study.trials:
        failed = trial.state is TrialState.FAILED
        if trial.state is TrialState.RUNNING or (failed and LOST in (trial.error or "")):
            continue
        # After an exploit the score is that of a schedule, not of one configuration.
        if not trial.lineage and (failed or trial.reports):
            yield EarlierTrial(params=dict(trial.params), score=None if failed else _score(trial, study.metric))


def _score(trial: TrialOutcome, metric: str) -> float | None:
    """The score by which a model learns: the last one; None if it is no number."""
    score = float(trial.reports[-1].metrics[metric])
    return score if math.isfinite(score) else None


def _differences(raw: Mapping[str, Any], outcome: ExperimentOutcome, spec: ExperimentSpec) -> Iterator[str]:
    """Yields what differs between the earlier experiment and this one, and decides scores."""
    now = spec.model_dump(mode="json", include={*AGREEING})
    fields = ExperimentSpec.model_fields
    pairs = {key: (raw.get(key, fields[key].get_default(call_default_factory=True)), now[key]) for key in AGREEING}
    pairs["data.max_length"] = ((raw.get("data") or {}).get("max_length"), spec.data.max_length)
    objective, study = spec.resolved_objective(), outcome.studies[0]
    pairs["objective"] = (f"{study.metric}, {study.mode}", f"{objective.metric}, {objective.mode}")
    for key, (before, here) in pairs.items():
        if before != here:
            yield f"{key} is {short_form(before)} there and {short_form(here)} here"


def _unusable(spec: ExperimentSpec) -> Iterator[Mistake]:
    """Finds strategies for which nothing is left: of the earlier trials, or of the space."""
    trials = [trial for one in spec.earlier for trial in one.trials]
    names = ", ".join(spec.start_from)
    if not trials:
        yield Mistake("start_from", "no trial of it has ended with a score or a failure", names, STEP)
        return
    for strategy in spec.strategies:
        if not (spec.informs(strategy) and strategy.uses):
            continue
        space = spec.space_of(strategy)
        if not any(True for _ in trials_in(space, spec.earlier)):
            rule = f"none of its {counted(len(trials), 'trial')} lies in the space of {strategy.name}: "
            yield Mistake("start_from", rule + _why_outside(space, trials), names, STEP)
        elif space.untried == 0:
            rule = f"all {space.size} configurations of the space of {strategy.name} were tried there"
            yield Mistake("start_from", rule, names, "widen the space, or compare what is there")


def _why_outside(space: Space, trials: Sequence[EarlierTrial]) -> str:
    first = trials[0].params
    if not space.conditional and first.keys() != set(space.names):
        missing, more = ([*set(space.names) - first.keys()], [*first.keys() - set(space.names)])
        found = [f"{', '.join(sorted(missing))} is not searched there"] * bool(missing)
        return "; ".join([*found, *[f"{', '.join(sorted(more))} is not searched here"] * bool(more)])
    outside = [name for name, value in first.items() if name in space.root and not space.root[name].contains(value)]
    return f"such as {', '.join(f'{name}={first[name]}' for name in outside)}"
