"""Cautions: what is legal and works, and is probably not what the user meant.

`tunefleet validate` prints them, and so does a run when it starts.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainables.metrics import direction_of
from trainables.tasks import find_task
from trainables.wording import counted
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.objective_checks import declared_objectives
from tuning.spec.validation.row_bounds import most_rows
from tuning.spec.validation.value_checks import counts_warmup_steps, fewest_steps, stated_of
from tuning.strategies import Strategy

# Beyond these no fine-tuning of a transformer that is reported anywhere was good; the usual values besides.
SENSIBLE = {
    "learning_rate": (0.01, "1e-6 to 1e-3 is usual"),
    "weight_decay": (0.5, "0 to 0.3 is usual"),
    "label_smoothing_factor": (0.5, "0 to 0.2 is usual"),
    "model.hidden_dropout_prob": (0.7, "0 to 0.3 is usual"),
    "model.attention_probs_dropout_prob": (0.7, "0 to 0.3 is usual"),
    "model.classifier_dropout": (0.7, "0 to 0.3 is usual"),
}


def cautions(spec: ExperimentSpec) -> list[str]:
    """The cautions of an experiment, a sentence each, with what to do."""
    found = [*_unread(spec), *_direction(spec), *_values(spec), *_warmup(spec)]
    for strategy in spec.strategies:
        found += [*_used_up(spec, strategy), *_unmodelled(spec, strategy)]
    return found


def _unread(spec: ExperimentSpec) -> Iterator[str]:
    """Local files that are too large to be read before a run."""
    if spec.trainable == "finetune" and (caution := find_task(spec.task).unchecked(spec.data)):
        yield f"data: {caution}"


def _used_up(spec: ExperimentSpec, strategy: Strategy) -> Iterator[str]:
    """A strategy with more trials than there are configurations."""
    space = spec.space_of(strategy)
    wanted, planned = getattr(strategy, "trials", None), strategy.planned_trials(space)
    if space.size is None:
        return
    has = counted(space.size, "configuration")
    if wanted is not None and planned is not None and planned < wanted:
        yield f"{strategy.name}: its space has {has}, so it ends after {planned} of {wanted} trials; widen the space"
    elif planned is not None and planned > space.size:
        yield (
            f"{strategy.name}: {planned} trials over a space of {has}: at least {planned - space.size} begin with "
            "values that another has had; widen the space, or lower their number"
        )


def _unmodelled(spec: ExperimentSpec, strategy: Strategy) -> Iterator[str]:
    """A model of the scores that never proposes anything, so that the trials are those of random search."""
    space = spec.space_of(strategy)
    after, trials = strategy.learns_after(space), strategy.planned_trials(space)
    if after is None or trials is None or trials > after or trials == space.size:  # `_used_up` reports the last
        return
    alike = (one for one in spec.strategies if one is not strategy and spec.space_of(one) == space)
    same = [one.name for one in alike if one.first_draws(space) > 0]
    shared = f", by design the same points as the first of {' and '.join(same)}" if same else ""
    yield (
        f"{strategy.name}: all of its {trials} trials are drawn at random before its model proposes any{shared}; "
        f"raise its trials well above {after}"
    )


def _direction(spec: ExperimentSpec) -> Iterator[str]:
    """A metric of a user's own trainable that looks the wrong way round; with ours it is refused."""
    for path, objective in declared_objectives(spec) if spec.own else ():
        if (mode := direction_of(objective.metric)) is not None and mode != objective.mode:
            wins = "largest" if objective.mode == "max" else "smallest"
            step = f"write {path}.mode={mode} unless that is meant"
            yield f"{path}: the trial with the {wins} {objective.metric} will be chosen; {step}"


def _values(spec: ExperimentSpec) -> Iterator[str]:
    if spec.trainable != "finetune":
        return
    for name, (most, usual) in SENSIBLE.items():
        for where, values in stated_of(spec, name):
            if min(values) > most:
                yield f"{where}: no value is below {min(values):g}, and above {most:g} nothing is learned; {usual}"


def _warmup(spec: ExperimentSpec) -> Iterator[str]:
    """Some trials whose learning rate never reaches its peak; if that holds for all of them, it is refused."""
    if spec.trainable != "finetune" or not counts_warmup_steps(spec) or (rows := most_rows(spec)) is None:
        return
    fewest = fewest_steps(spec, rows)
    for where, values in stated_of(spec, "warmup_steps"):
        if max(values) >= fewest:
            yield (
                f"{where}: with {max(values):g} steps the learning rate may never reach its peak: the shortest trial "
                f"has {fewest}; lower it, or use warmup_ratio"
            )
