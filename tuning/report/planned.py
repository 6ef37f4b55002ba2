"""Describes the plan of an experiment for `tunefleet validate`: trials and epochs, disk, power of the verdict.

Input is a spec and a summary of its data, output lines of text. Nothing is started. The number of trials that run at a
time follows from this machine for a local Ray and is unknown for a remote cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cluster.capacity import ClusterError
from cluster.spec import ClusterSpec
from trainables.errors import InputError
from trainables.spec import SHIPPED, display_name
from trainables.wording import counted
from tuning.outcome.attributes import EARLIER_BEST, RECIPE
from tuning.spec.models import ExperimentSpec
from tuning.spec.recipes import ALL
from tuning.spec.validation import machine
from tuning.strategies import Strategy

if TYPE_CHECKING:
    from trainables.tasks.summary import DataSummary


class PlannedStrategy(NamedTuple):
    """The plan of one strategy for each of its studies."""

    name: str
    trials: int | None  # None: until the budget is spent, or the strategy decides
    epochs: float | None  # of all its trials, at most; None: until the budget is spent
    exact: bool  # False: it stops trials early and may need fewer epochs
    outline: str
    about: bool = False  # True: it may need more as well

    @classmethod
    def of(cls, spec: ExperimentSpec, strategy: Strategy) -> PlannedStrategy:
        """Builds the plan of a strategy for an experiment."""
        space = spec.space_of(strategy)
        trials, epochs = strategy.planned_trials(space), strategy.planned_epochs(space, spec.epochs)
        exact = epochs is not None
        if epochs is None and trials is not None:
            epochs = trials * spec.epochs
        limit, about = spec.limit_of(strategy), strategy.may_repeat_epochs
        if limit is not None and limit.unit == "epochs" and (epochs is None or epochs > limit.amount):
            epochs, exact, about = limit.amount, False, False
        return cls(strategy.name, trials, epochs, exact, strategy.outline(space), about)

    @property
    def bound(self) -> str:
        """The words before the number of epochs, "at most " or "about "; empty if it is exact."""
        return "about " if self.about else "" if self.exact else "at most "

    def line(self) -> str:
        """Formats trials, epochs and the strategy's outline in one line."""
        trials = "trials until the budget is spent" if self.trials is None else counted(self.trials, "trial")
        epochs = ""
        if self.epochs is not None:
            epochs = f", {self.bound}{counted(self.epochs, 'epoch')}"
        return f"{self.name}: {trials}{epochs}{f': {self.outline}' if self.outline else ''}"


OWN_KINDS = {
    "factory": "a Trainer of your own",
    "training": "a class of your own",
    "function": "a function of your own",
}


def experiment_lines(spec: ExperimentSpec, data: DataSummary | None) -> Iterator[str]:
    """Yields lines about a whole experiment: task, plans of strategies, budget, verdict, run folder.

    Args:
        spec: of the experiment.
        data: the summary of its rows; None: they are not on this machine.
    """
    objective, goal = spec.resolved_objective(), spec.goal
    better = f"{objective.metric}, {'higher' if objective.mode == 'max' else 'lower'} is better"
    seeds = f"seed{'' if len(spec.seeds) == 1 else 's'} {', '.join(map(str, spec.seeds))}"
    yield f"{spec.name}: valid"
    epochs = f"{counted(spec.epochs, 'epoch')} per trial"
    yield f"  {trained_in_words(spec)}; {goal or better}; {epochs}; {seeds}"
    yield from (f"    {line}" for line in planned_lines(spec))
    yield from (f"  {line}" for line in known_lines(spec))
    yield from (f"  {line}" for line in _budget_lines(spec))
    if (verdict := verdict_line(spec, data)) is not None:
        yield f"  {verdict}"
    yield f"  run folder {spec.run_folder}"


def known_lines(spec: ExperimentSpec) -> Iterator[str]:
    """Yields lines about the points that are tried first, with the source of each recipe, and about the priors."""
    sources = {f"{RECIPE} {recipe.name}": recipe.source for recipe in ALL}
    shown: dict[str, list[str]] = {}
    for strategy in spec.strategies:
        for point in spec.space_of(strategy).knowledge.points if strategy.uses else ():
            if point.origin != EARLIER_BEST:
                values = ", ".join(f"{name}={value}" for name, value in point.values.items())
                line = f"{point.origin}: {values}{f' ({sources[point.origin]})' if point.origin in sources else ''}"
                shown.setdefault(line, []).append(strategy.name)
    for line, names in shown.items():
        yield f"{', '.join(names)} first: {line}"
    for name, prior in spec.priors.items():
        yield f"prior of {name}: {prior.describe()}"


def _budget_lines(spec: ExperimentSpec) -> Iterator[str]:
    """Yields lines about the budget and its effect on each strategy; none without a budget."""
    if (limit := spec.budget.limit) is None:
        return
    exempt = " and ".join(strategy.name for strategy in spec.strategies if not strategy.searches)
    but = f"; {exempt} is exempt and takes what its trial takes" if exempt else ""
    yield f"each study ends at {limit.describe()}, even if its strategy has more to do{but}"
    for strategy in filter(spec.limit_of, spec.strategies) if limit.unit == "epochs" else ():
        planned = strategy.planned_epochs(spec.space_of(strategy), spec.epochs)
        if planned is not None and planned > limit.amount:
            yield f"{strategy.name} plans {planned:g} epochs: it is cut"
    for strategy in spec.strategies:
        if strategy.when_cut and spec.may_cut(strategy):
            yield f"{strategy.name} may be cut by it, so {strategy.when_cut}"


def trained_in_words(spec: ExperimentSpec) -> str:
    """Describes what a trial trains in a few words.

    Raises:
        ValueError: the user's own trainable cannot be imported.
    """
    if not spec.own:
        return f"{spec.task} with {spec.model}" if spec.trainable == "finetune" else f"{spec.trainable}, a formula"
    from trainables.lookup import divides_rows, trainable_kind

    task = f", task {spec.task}" if spec.task else ""
    passed = ", passed from Python" if spec.trainable.startswith(SHIPPED) else ""
    kind, gpus = trainable_kind(spec.trainable), spec.cluster.gpus_per_trial
    divided = ""
    if kind == "factory" and isinstance(gpus, int | float) and gpus >= 2 and divides_rows(spec.trainable):
        divided = f", in {gpus:g} processes: per_device_train_batch_size is the rows of each"
    return f"{display_name(spec.trainable)} ({OWN_KINDS[kind]}{passed}{divided}){task}"


def planned_lines(spec: ExperimentSpec) -> Iterator[str]:
    """Yields a line per strategy, the total of the search, the confirmations, and the disk space of checkpoints."""
    strategies = [PlannedStrategy.of(spec, strategy) for strategy in spec.strategies]
    yield from (strategy.line() for strategy in strategies)
    seeds, studies = len(spec.seeds), len(spec.strategies) * len(spec.seeds)
    known = [(plan.trials, plan.epochs) for plan in strategies if plan.trials is not None and plan.epochs is not None]
    if len(known) == len(strategies):
        trials, epochs = (sum(column) * seeds for column in zip(*known, strict=True))
        most = max((plan.bound for plan in strategies), key=["", "at most ", "about "].index)
        searched = (counted(studies, "study", "studies"), counted(trials, "trial"), f"{most}{counted(epochs, 'epoch')}")
        yield f"together: {', '.join(searched)}"
    if spec.confirm is not None:
        trainings = studies * spec.confirm.top * spec.confirm.seeds
        yield f"then confirm: at most {counted(trainings, 'training')}, {counted(trainings * spec.epochs, 'epoch')}"
    yield from _room(spec)


def _room(spec: ExperimentSpec) -> Iterator[str]:
    """Yields the disk space of checkpoints, for the number of trials that this machine runs at a time."""
    slots = slots_here(spec.cluster)
    if slots is None:
        return
    from tuning.checkpoints.storage_needs import require_storage

    plans = [strategy.shape(spec.space_of(strategy)) for strategy in spec.strategies for _ in spec.seeds]
    try:
        room = require_storage(spec, plans, slots)
    except (ClusterError, InputError) as error:
        room = str(error)
    if room:
        yield f"{counted(slots, 'trial')} at a time; {room}"


def slots_here(cluster: ClusterSpec) -> int | None:
    """Returns the number of trials that a local Ray runs at a time; None for a remote cluster, or with "auto"."""
    if cluster.address is not None or cluster.gpus_per_trial == "auto":
        return None
    gpus = machine.gpus()
    each = float(cluster.gpus_per_trial if cluster.gpus_per_trial is not None else min(gpus, 1))
    held = int(machine.cores() // cluster.cpus_per_trial)
    if each:
        held = min(held, int(gpus // each) if each >= 1 else int(1 / each) * gpus)
    return max(1, held if cluster.max_concurrent is None else min(held, cluster.max_concurrent))


def verdict_line(spec: ExperimentSpec, data: DataSummary | None) -> str | None:
    """Predicts which differences the verdict can detect with these seeds and test rows; None if unknown."""
    from tuning.comparison.compare import UNIT_METRICS, worthwhile_of
    from tuning.comparison.power import FEWEST, GUESSED_SPREAD, detectable_before
    from tuning.comparison.verdict_levels import ALPHA

    seeds, metric = len(spec.seeds), spec.resolved_objective().metric
    if not spec.test or len(spec.strategies) < 2 or spec.goal is not None:
        return None
    if seeds < FEWEST:
        return (
            f"verdict: {counted(seeds, 'seed')} can compare models; comparing strategies needs {FEWEST} seeds or more"
        )
    test = None if data is None else data.splits.get("test")
    if test is None or metric not in UNIT_METRICS:
        return None
    least = detectable_before(seeds, test.rows, len(spec.strategies), alpha=ALPHA / spec.verdicts)
    matters = worthwhile_of({"worthwhile": spec.worthwhile}, metric)
    line = (
        f"verdict: {seeds} seeds on {test.rows:,} test rows can detect a difference from the baseline of about "
        f"{least:.3f} (with 80 % power, if scores vary by {GUESSED_SPREAD:g} from seed to seed)"
    )
    if matters is None or least is None or least <= matters:
        return line
    return f"{line}; {matters:g} matters: more seeds, more test rows or a larger `worthwhile`"
