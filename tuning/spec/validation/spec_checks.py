"""Checks the whole spec: do the parts fit each other, the task, the model and this machine?

Each check reads some fields and yields mistakes. A check whose fields are themselves broken is left out, so that one
mistake is reported once and does not hide another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainables.epochs import ROUNDING
from trainables.errors import InputError, nearest
from trainables.models.encoders import check_model, checkpoint_keys
from trainables.models.files import longest_input
from trainables.tasks import find_task, find_tasks
from trainables.tasks.row_cache import rows_cached
from trainables.tunables import ADAM_ONLY, LARGEST_SEED, Dropout, find_tunable
from tuning.space import NamedSpace
from tuning.spec.mistakes import Mistake, join_path
from tuning.spec.models import ExperimentSpec, folder_name
from tuning.spec.validation import (
    knowledge_checks,
    machine_checks,
    objective_checks,
    space_checks,
    store_checks,
    user_code,
    value_checks,
)
from tuning.spec.validation.draft import Draft
from tuning.spec.validation.versions import unsupported


def mistakes_in(draft: Draft) -> list[Mistake]:
    """Finds unsupported releases of libraries, and all mistakes in the order of `CHECKS`.

    A space that is named is not known yet: what reads it is checked by `mistakes_in_named_space`.
    """
    unknown = draft.broken | ({"space"} if isinstance(draft.spec.space, NamedSpace) else set())
    checks = (check for check, reads in CHECKS if unknown.isdisjoint(reads))
    return [*unsupported(), *(mistake for check in checks for mistake in check(draft))]


def mistakes_in_named_space(spec: ExperimentSpec) -> list[Mistake]:
    """Imports the space that `spec` names, or the function that is given its values, and checks it.

    A space gets the checks that read spaces.
    """
    if not isinstance(spec.space, NamedSpace):
        return [] if spec.hp_space is None else list(space_checks.unanswered(spec, spec.hp_space))
    try:
        space, suggests = spec.space.resolved(spec.tunable), spec.space.suggests
    except InputError as error:
        return [Mistake(error.name, error.rule, error.value, error.next_step)]
    draft = Draft(spec.model_copy(update={"space": space}), positions=tuple(range(len(spec.strategies))))
    found = [mistake for check, reads in CHECKS if "space" in reads for mistake in check(draft)]
    return [*space_checks.beside_a_function(draft, spec.space.name), *found] if suggests else found


def _task(draft: Draft) -> Iterator[Mistake]:
    """Checks the data, if the trial is known to read them."""
    spec = draft.spec
    if spec.task is None:
        if not spec.own:
            yield Mistake("task", "is missing", next_step="add it")
        return
    try:
        task = find_task(spec.task)
    except InputError as error:
        yield Mistake(error.name, error.rule, error.value, error.next_step)
        return
    if spec.trainable == "finetune" and "data" not in draft.broken:
        with rows_cached():  # they are read once for all cuts
            cuts = dict.fromkeys(spec.data.cut_for(seed) for seed in spec.seeds)
            found = dict.fromkeys(mistake for cut in cuts for mistake in task.check(cut))
        for path, rule in found:
            yield Mistake(path, rule)


def _model(draft: Draft) -> Iterator[Mistake]:
    spec = draft.spec
    if spec.trainable != "finetune":
        return
    typed = space_checks.typed(draft)
    for path, rule in check_model(spec, _model_keys(draft)):
        yield Mistake(typed.get(path, path), rule)


def _model_keys(draft: Draft) -> list[str]:
    return [name.removeprefix("model.") for name in space_checks.typed(draft) if name.startswith("model.")]


def _model_values(draft: Draft) -> Iterator[Mistake]:
    """Finds values of the model's configuration that the checkpoint of a local model cannot take."""
    spec, keys = draft.spec, _model_keys(draft)
    if spec.trainable != "finetune" or not keys or check_model(spec, keys):  # what that finds, `_model` reports
        return
    known = checkpoint_keys(spec, keys)
    for name in known.keys() & spec.fixed.keys():
        if rule := known[name].refusal(spec.fixed[name]):
            yield Mistake(join_path("fixed", name), rule, spec.fixed[name], "give another value, or remove it")
    for where, space in space_checks.declared_spaces(draft):
        for path, rule in space.refusals(None, lambda name: known.get(name) or spec.tunable(name)):
            if any(path == name or path.startswith(f"{name}.") for name in known):
                yield Mistake(join_path(where, path), rule)


def _max_length(draft: Draft) -> Iterator[Mistake]:
    """Checks `data.max_length` by a local model; for a Hub id the trial itself refuses it."""
    spec = draft.spec
    try:
        limit = longest_input(spec.model) if spec.trainable == "finetune" else None
    except InputError:
        return  # `_model` reports it
    stated = [("data.max_length", spec.data.max_length), ("fixed.data.max_length", spec.fixed.get("data.max_length"))]
    for where, space in space_checks.declared_spaces(draft):
        dimension = space.root.get("data.max_length")
        stated += [(join_path(where, "data.max_length", p), v) for p, v in dimension.stated()] if dimension else []
    for path, tokens in stated:
        if limit is not None and isinstance(tokens, int | float) and tokens > limit:
            yield Mistake(path, f"the model {spec.model} takes at most {limit} tokens", tokens, "lower it")


def _two_lengths(draft: Draft) -> Iterator[Mistake]:
    """Finds `data.max_length` that no trial reads, since `fixed` holds another."""
    spec, name = draft.spec, "data.max_length"
    if not spec.own and spec.data.max_length is not None and name in spec.fixed:
        rule = f"{name} at the top level is {spec.data.max_length}, which no trial would read"
        yield Mistake(join_path("fixed", name), rule, spec.fixed[name], "keep one of the two")


def _unread(draft: Draft) -> Iterator[Mistake]:
    """Finds tunables that this task's loss, or the optimizers of this spec, would never read."""
    spec, typed = draft.spec, space_checks.typed(draft)
    if spec.trainable != "finetune":
        return
    task = find_tasks().get(spec.task or "")
    if "label_smoothing_factor" in typed and task is not None and task.kind == "regression":
        rule = f"{spec.task} predicts a number, which has no classes to smooth"
        yield Mistake(typed["label_smoothing_factor"], rule, next_step="remove it")
    for _, strategy in draft.strategies():
        optimizer = spec.space_of(strategy).root.get("optim")
        stated = {value for _, value in optimizer.stated()} if optimizer else {spec.fixed.get("optim", "adamw")}
        if any(str(value).startswith("adamw") for value in stated):
            continue
        rule = f"{', '.join(sorted(map(str, stated)))} has no such value, only the adamw optimizers do"
        for name in sorted(ADAM_ONLY & typed.keys()):
            yield Mistake(typed.pop(name), rule, next_step="remove it")


def _compiled(draft: Draft) -> Iterator[Mistake]:
    """Finds dropouts that are searched where the model is compiled: compiled code holds one value."""
    spec = draft.spec
    if not spec.compile or spec.trainable != "finetune":
        return
    paths = {
        join_path(path if strategy.space is not None else "", "space", name)
        for path, strategy in draft.strategies()
        for name in spec.space_of(strategy).names
        if isinstance(find_tunable(name), Dropout)
    }
    for path in sorted(paths):
        rule = "is searched, and with compile: true the model would be compiled anew for each of its values"
        yield Mistake(path, rule, next_step="fix it, or set compile: false")


def _strategy_names(draft: Draft) -> Iterator[Mistake]:
    seen: dict[str, str] = {}
    for path, strategy in draft.strategies():
        try:
            folder_name(strategy.name)
        except ValueError as error:
            yield Mistake(join_path(path, "label"), str(error), strategy.name)
        other = seen.setdefault(strategy.name, path)
        if other != path:
            step = "give each a `label`"
            yield Mistake(join_path(path, "label"), f"{other} has the same name", strategy.name, step)


def _baseline(draft: Draft) -> Iterator[Mistake]:
    names = [strategy.name for strategy in draft.spec.strategies]
    if (baseline := draft.spec.baseline) is not None and baseline not in names:
        yield Mistake("baseline", "no strategy of this experiment has that name", baseline, nearest(baseline, names))


def _epochs(draft: Draft) -> Iterator[Mistake]:
    spec = draft.spec
    every, epochs = spec.report_every_epochs, spec.epochs
    if every > epochs:
        yield Mistake("report_every_epochs", f"must be at most epochs: {epochs:g}", every, "a trial reports at its end")
    longest = spec.fixed.get("num_train_epochs")
    if isinstance(longest, int | float) and longest > epochs:
        rule = f"must be at most epochs: {epochs:g}"
        yield Mistake("fixed.num_train_epochs", rule, longest, "raise epochs or lower it")


def _strategy_epochs(draft: Draft) -> Iterator[Mistake]:
    """Checks that fields of strategies that are counted in epochs fall on a report, where strategies decide."""
    every = draft.spec.report_every_epochs
    for path, strategy in draft.strategies():
        for name in type(strategy).model_fields:
            value = getattr(strategy, name)
            if name.endswith("_epochs") and isinstance(value, float) and not _is_multiple(value, every):
                step = "a strategy decides only when a trial reports"
                yield Mistake(
                    join_path(path, name), f"must be a multiple of report_every_epochs: {every:g}", value, step
                )


def _endless(draft: Draft) -> Iterator[Mistake]:
    """Finds strategies that propose until the budget is spent, without a budget."""
    for path, strategy in draft.strategies():
        if draft.spec.limit_of(strategy) is None and getattr(strategy, "trials", 0) is None:
            step = "give a number, or a limit under `budget`"
            yield Mistake(join_path(path, "trials"), "nothing would ever end the study", None, step)


def _budget(draft: Draft) -> Iterator[Mistake]:
    """Checks that a budget in epochs lasts to the first report; what one in seconds pays for is not known yet."""
    spec, epochs = draft.spec, draft.spec.budget.epochs
    if epochs is not None and epochs < spec.report_every_epochs - ROUNDING:
        step = "of all trials of a study together; raise it"
        rule = f"ends every study before the first report, at {spec.report_every_epochs:g}"
        yield Mistake("budget.epochs", rule, epochs, step)


def _seeds(draft: Draft) -> Iterator[Mistake]:
    """Checks the seeds: those of trials are drawn from `seed` and the study's own together."""
    spec = draft.spec
    for position, own in enumerate(spec.seeds):
        if spec.seed + own > LARGEST_SEED:
            rule = f"with seed: {spec.seed} it is more than {LARGEST_SEED}, and trials are drawn from their sum"
            yield Mistake(join_path("seeds", position), rule, own, "lower one of them")


def _until(draft: Draft) -> Iterator[Mistake]:
    """Checks the planned verdicts: each added seed takes one, and the first is one on strategies."""
    spec = draft.spec
    if spec.until is None:
        return
    from tuning.comparison.power import FEWEST

    if spec.verdicts == 1:
        rule = "adds seeds after the first of several verdicts, and one alone is planned (verdicts: 1)"
        yield Mistake("until", rule, spec.until, "plan more, such as verdicts: 5")
    if len(spec.seeds) < FEWEST or not spec.test:
        rule = f"judges by test scores, and no verdict on strategies rests on fewer than {FEWEST} seeds"
        yield Mistake("until", rule, spec.until, "name three seeds or more to begin with, and leave test: true")


def _is_multiple(value: float, unit: float) -> bool:
    count = round(value / unit)
    return count >= 1 and abs(value - count * unit) < ROUNDING


CHECKS: tuple[tuple[Callable[[Draft], Iterator[Mistake]], frozenset[str]], ...] = tuple(
    (check, frozenset(reads.split()))
    for check, reads in (
        (_task, "task trainable"),
        (user_code.check_trainable, "trainable"),
        (user_code.check_confirm, "confirm trainable"),
        (user_code.check_measure, "measure trainable"),
        (user_code.check_suggested_space, ""),
        (_model, "model revision trainable trust_remote_code"),
        (_model_values, "model revision trainable trust_remote_code fixed space strategies"),
        (_max_length, "data fixed model space strategies trainable"),
        (_two_lengths, "data fixed trainable"),
        (space_checks.check_space, "space trainable"),
        (_unread, "task trainable space fixed strategies"),
        (_compiled, "compile trainable space strategies"),
        (space_checks.check_fixed, "fixed space trainable"),
        (_strategy_names, "strategies"),
        (_baseline, "baseline strategies strategies.*"),
        (space_checks.check_strategy_spaces, "strategies space space.* epochs"),
        (space_checks.check_changes, "strategies space space.* in_flight trainable"),
        (space_checks.check_in_flight, "in_flight strategies strategies.* space space.* fixed fixed.* trainable"),
        (knowledge_checks.check_use, "strategies strategies.* points priors start_from space"),
        (knowledge_checks.check_points, "strategies points space space.* fixed fixed.* task data trainable"),
        (knowledge_checks.check_priors, "strategies priors space space.* trainable"),
        (_epochs, "epochs report_every_epochs fixed"),
        (_endless, "strategies budget"),
        (_seeds, "seed seeds"),
        (_until, "until verdicts seeds test"),
        (_budget, "budget report_every_epochs"),
        (_strategy_epochs, "strategies report_every_epochs"),
        (objective_checks.check_reported, "objective objectives constraints task trainable"),
        (objective_checks.check_direction, "objective objectives task trainable"),
        (objective_checks.check_several, "objective objectives constraints scalarisation"),
        (objective_checks.check_followers, "objectives scalarisation strategies"),
        (objective_checks.check_after_search, "objectives confirm until"),
        (value_checks.check_warmup, "task data epochs fixed space strategies trainable space.* fixed.* strategies.*"),
        (machine_checks.check_run_storage, "cluster"),
        (machine_checks.check_tokens, "cluster trainable"),
        (machine_checks.check_packing, "cluster trainable"),
        (machine_checks.check_resources, "cluster"),
        (store_checks.check_url, "store"),
        (store_checks.check_user_studies, "strategies"),
        (store_checks.check_disk, "store cluster name"),
        (machine_checks.check_wandb, "wandb"),
    )
)
