"""Checks of what is optimised: metrics that are reported, their directions, several objectives beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainables.errors import InputError, nearest
from trainables.metrics import COSTS, TRAIN_SECONDS, direction_of
from trainables.spec import Objective
from trainables.tasks import find_task, find_tasks
from tuning.spec.mistakes import Mistake, join_path
from tuning.spec.validation.draft import Draft

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec


def declared_objectives(spec: ExperimentSpec) -> Iterator[tuple[str, Objective]]:
    """Yields the objectives that the user has written, each with its path."""
    if spec.objective is not None:
        yield "objective", spec.objective
    for position, objective in enumerate(spec.objectives):
        yield join_path("objectives", position), objective


def check_reported(draft: Draft) -> Iterator[Mistake]:
    """Finds metrics that our trainables do not report; what a user's own reports is not known here."""
    spec = draft.spec
    try:
        task = find_task(spec.task)
    except InputError:
        return  # reported elsewhere
    reported = {
        "finetune": (*task.metric_names, "loss", *COSTS),
        "learning_curve": ("accuracy", "loss", TRAIN_SECONDS),
    }.get(spec.trainable)
    if reported is None:
        return
    named = [(path, one.metric) for path, one in declared_objectives(spec)]
    named += [(join_path("constraints", position), one.metric) for position, one in enumerate(spec.constraints)]
    for path, metric in named:
        if metric not in reported:
            rule = f"is not reported for {spec.task}"
            yield Mistake(join_path(path, "metric"), rule, metric, nearest(metric, reported))


def check_direction(draft: Draft) -> Iterator[Mistake]:
    """Finds a metric the wrong way round; what a user's own trainable reports under a name is not known here."""
    spec, task = draft.spec, find_tasks().get(draft.spec.task or "")
    if spec.own:
        return
    own = task.objective if task is not None else None
    for path, objective in declared_objectives(spec):
        mode = own.mode if own is not None and own.metric == objective.metric else direction_of(objective.metric)
        if mode is not None and mode != objective.mode:
            best = "largest" if mode == "max" else "smallest"
            rule = f"the best {objective.metric} is the {best}, so the worst trial would be chosen"
            yield Mistake(join_path(path, "mode"), rule, objective.mode, f"write mode: {mode}")


def check_several(draft: Draft) -> Iterator[Mistake]:
    """Checks `objectives` and what goes with them."""
    spec = draft.spec
    if not spec.objectives:
        for key, given in (("constraints", spec.constraints), ("scalarisation", spec.scalarisation)):
            if given:
                step = "name the metric beside the score under objectives, such as [accuracy, latency_ms]"
                yield Mistake(key, "goes with several objectives, and there is one", next_step=step)
        return
    if spec.objective is not None:
        yield Mistake("objective", "stands beside objectives", spec.objective.metric, "keep one of the two")
    if len(spec.objectives) == 1:
        step = "name two or more, or write objective: for one"
        yield Mistake("objectives", "is a single one", spec.objectives[0].metric, step)
    seen: set[str] = set()
    for position, one in enumerate(spec.objectives):
        if one.metric in seen:
            yield Mistake(join_path("objectives", position, "metric"), "stands twice", one.metric, "remove one")
        seen.add(one.metric)
    yield from _weights(spec)


def _weights(spec: ExperimentSpec) -> Iterator[Mistake]:
    """Checks that the weights, if there are any, are one for each objective."""
    if not spec.scalarisation:
        return
    metrics = [one.metric for one in spec.objectives]
    for name in spec.scalarisation:
        if name not in metrics:
            yield Mistake(join_path("scalarisation", name), "is no objective", next_step=nearest(name, metrics))
    missing = [name for name in metrics if name not in spec.scalarisation]
    if missing:
        rule = f"has no weight for {', '.join(missing)}"
        yield Mistake("scalarisation", rule, next_step="give each objective one; 0 leaves it out")
    if not any(spec.scalarisation.values()):
        yield Mistake("scalarisation", "has no weight above 0", next_step="raise one")


def check_followers(draft: Draft) -> Iterator[Mistake]:
    """Finds strategies that follow one score, where there are several objectives and no weights."""
    spec = draft.spec
    if not spec.objectives:
        return
    for path, strategy in draft.strategies():
        if strategy.user_study is not None:
            step = "remove it; the trials are in the run folder's own database"
            yield Mistake(
                join_path(path, "study_name"), "has one direction, and there are several objectives", next_step=step
            )
    if spec.scalarisation:
        return
    weights = ", ".join(f"{one.metric}: 1" for one in spec.objectives)
    for path, strategy in draft.strategies():
        if not strategy.several_objectives:
            rule = f"follows one score, and there are {len(spec.objectives)} objectives"
            others = "random_moasha, optuna, random or grid"
            step = f"give their weights, such as scalarisation: {{{weights}}}, or take {others}"
            yield Mistake(join_path(path, "kind"), rule, strategy.kind, step)


def check_after_search(draft: Draft) -> Iterator[Mistake]:
    """Finds what chooses one configuration of a study, where a front has several."""
    spec = draft.spec
    if not spec.objectives:
        return
    if spec.confirm is not None:
        rule = "trains the best by one score again, and there are several objectives"
        yield Mistake(
            "confirm", rule, next_step="remove it; `tunefleet train-final --pick TRIAL` trains one of the front"
        )
    if spec.until is not None:
        rule = "adds seeds until one score is decided, and there are several objectives"
        yield Mistake("until", rule, spec.until, "remove it; `tunefleet extend` adds seeds")
