"""The spec of an experiment that is extended by seeds or strategies: what has run stays as it is, the rest is added.

In: the spec as it was run and what is requested. Out: the spec that the run folder gets, or a refusal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from trainables.errors import InputError
from tuning.comparison import compare
from tuning.errors import RunFolderError
from tuning.outcome import ExperimentOutcome
from tuning.run_folder.experiments import find_store
from tuning.run_folder.recorded_spec import load_recorded_spec
from tuning.selection.candidates import training_seeds
from tuning.spec.models import STORE_VARIABLE, ExperimentSpec, Extension
from tuning.spec.store_url import sqlite_file
from tuning.store.study_store import StudyStore


def extended_spec(
    experiment: str, storage: str | Path, overrides: Sequence[str], *, force: bool = False, trust_fetched: bool = False
) -> ExperimentSpec:
    """Return the spec of a recorded experiment, extended by what `overrides` add to it.

    Args:
        experiment, storage, overrides, force, trust_fetched: see `load_recorded_spec`.

    Raises:
        UnknownExperiment, RunFolderError, SpecError, ClusterError: see `load_recorded_spec`.
        RunFolderError, StoreError: see `has_test_score`.
        InputError: see `extend_spec`.
    """
    before = load_recorded_spec(experiment, storage, force=force, trust_fetched=trust_fetched)
    requested = load_recorded_spec(experiment, storage, overrides, force=force, trust_fetched=trust_fetched)
    judged = has_test_score(before.name, find_store(experiment, storage))
    return extend_spec(before, requested, judged=judged)


def extend_spec(before: ExperimentSpec, requested: ExperimentSpec, *, judged: bool) -> ExperimentSpec:
    """Return the spec of the extended experiment.

    Args:
        before: the spec as it was run.
        requested: the same with more seeds, in any order, and more strategies behind those of before.
        judged: True if a test score is recorded.

    Raises:
        InputError: it adds nothing, or changes something else.
    """
    keep = f"keep those of before: seeds={list(before.seeds)}"
    if gone := [seed for seed in before.seeds if seed not in requested.seeds]:
        rule = f"leaves out {', '.join(map(str, gone))}, which the experiment has; an extension adds seeds"
        raise InputError("seeds", list(requested.seeds), rule, f"{keep[:-1]}, ...]")
    for place, (old, new) in enumerate(zip_longest(before.strategies, requested.strategies[: len(before.strategies)])):
        if old != new:
            step = (
                f"add it as one of its own: strategies.{len(before.strategies)}={{kind: {old.kind}, label: NAME, ...}}"
            )
            rule = f"{old.name} has searched as it was, and cannot be another one now; an extension adds strategies"
            raise InputError(f"strategies.{place}", "" if new is None else new.name, rule, step)
    added = tuple(seed for seed in requested.seeds if seed not in before.seeds)
    if not added and len(requested.strategies) == len(before.strategies):
        step = f"name more seeds than {list(before.seeds)}, or go on with `tunefleet resume {before.resumed_as}`"
        raise InputError("seeds", list(requested.seeds), "nothing is added", step)
    began = Extension(seeds=len(before.seeds), strategies=len(before.strategies), judged=judged)
    more = {"seeds": (*before.seeds, *added), "extended": (*before.extended, began)}
    spec = requested.model_copy(update=more)
    old, new = before.decisive(), spec.decisive()
    if other := [key for key in {**new, **old} if old.get(key) != new.get(key)]:
        step = "begin another experiment with it (name=...)"
        raise InputError(other[0], new.get(other[0]), "cannot change: results of before would not compare", step)
    _refuse_taken(before, spec)
    return spec


def with_another_seed(spec: ExperimentSpec, outcome: ExperimentOutcome) -> ExperimentSpec | None:
    """Return `spec` with one more seed, for `until: decided`; None: its verdict decides, or is the last planned one.

    A strategy and the baseline are undecided where neither a difference is shown nor that there is none that matters.
    """
    if spec.until is None or spec.verdict_number >= spec.verdicts:
        return None
    comparison = compare(outcome, spec=spec.plain())
    contrasts = [pair for pair in comparison.pairs if comparison.baseline in (pair.first, pair.second)]
    if not any(pair.withheld is None and not pair.shown and pair.answer != "no larger" for pair in contrasts):
        return None
    requested = spec.model_copy(update={"seeds": (*spec.seeds, max(spec.seeds) + 1)})
    return extend_spec(spec, requested, judged=True)


def is_part(requested: ExperimentSpec, recorded: ExperimentSpec) -> bool:
    """True if the recorded experiment has all seeds and strategies that are requested, so that nothing is added."""
    strategies = recorded.strategies[: len(requested.strategies)]
    return set(requested.seeds) <= set(recorded.seeds) and requested.strategies == strategies


def has_test_score(experiment: str, store: str) -> bool:
    """True if a test score of `experiment` is recorded, so that a verdict on it may have been seen.

    Args:
        store: its URL.

    Raises:
        RunFolderError: nothing of it is recorded there, so it is not known what has been seen.
        StoreError: it cannot be read.
    """
    file = sqlite_file(store)
    with contextlib.closing(StudyStore(store)) as opened:
        if (file is None or file.is_file()) and experiment in opened.experiments():
            return opened.load(experiment).has_test_score
        raise RunFolderError(
            f"name: {experiment}: nothing of it is recorded in {opened.shown}, and an extension adds to what is. Give "
            f"the store that its run was given ({STORE_VARIABLE}), or go on with `tunefleet resume` first"
        )


def _refuse_taken(before: ExperimentSpec, spec: ExperimentSpec) -> None:
    """Refuse a seed that confirmations have trained with.

    Raises:
        InputError: an added seed is such a one.
    """
    if spec.confirm is None:
        return
    for seed in before.seeds:
        known, now = (training_seeds(one, spec.confirm.seeds, seed) for one in (before, spec))
        if known != now:
            rule = f"one of them is a training seed of the confirmations ({', '.join(map(str, known))})"
            raise InputError("seeds", list(spec.seeds), rule, "choose smaller ones")
