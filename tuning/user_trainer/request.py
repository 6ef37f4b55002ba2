"""A search as it is asked for, and the experiment that it becomes."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from time import localtime, strftime
from typing import Any, NamedTuple

from cluster.spec import ClusterSpec
from cluster.storage import is_uri, uri_mistake, without_credentials
from trainables.errors import InputError
from trainables.lookup import load_trainable
from trainables.lookup import trainable_kind as kind_of_trainable
from trainables.machine import clock
from trainables.spec import TUNABLES
from trainables.user_trainer.extended import Extended
from trainables.user_trainer.rebuilt import RebuiltTrainer
from trainables.user_trainer.shipped import is_shipped, ship
from tuning.given import kind_of, short
from tuning.run_folder.experiments import UnknownExperiment, find_experiment
from tuning.space import Space
from tuning.spec.file import parse, read_text
from tuning.spec.loading import load_spec
from tuning.spec.models import SPEC_FILE, ExperimentSpec
from tuning.spec.validation.machine import why_not_writable
from tuning.user_trainer.from_trainer import factory_of
from tuning.user_trainer.keywords import read_keywords
from tuning.user_trainer.lengths import Lengths, evaluates_at_the_end_only, lengths_of, most_epochs
from tuning.user_trainer.objectives import Chosen, named_objective, objective_of
from tuning.user_trainer.spaces import (
    SearchedSpace,
    enter_sweep,
    in_spec,
    perturbable,
    require_read,
    searched_space,
    with_mutations,
)
from tuning.user_trainer.strategies import strategies_of
from tuning.user_trainer.wishes import Wishes

BACKENDS = ("optuna", "ray", "wandb")


@dataclass(frozen=True)
class Request:
    """The arguments of `hyperparameter_search`; see there."""

    trainer: Any
    hp_space: Any
    compute_objective: Callable[[dict[str, float]], float] | None
    n_trials: int | None
    direction: Any
    backend: str | None
    objective: Any = None
    strategies: Any = None
    seeds: Sequence[int] | None = None
    budget: Mapping[str, Any] | None = None
    epochs: float | None = None
    report_every_epochs: float | None = None
    test_dataset: Any = None
    in_flight: str | Sequence[str] = ()
    resume: bool | str = False
    cluster: Mapping[str, Any] | None = None
    overrides: Mapping[str, Any] | None = None
    progress: bool = True
    keywords: Mapping[str, Any] = field(default_factory=dict)


OWN = tuple(one.name for one in fields(Request) if one.name != "keywords")


class Prepared(NamedTuple):
    """Everything that a run needs, checked."""

    spec: ExperimentSpec
    factory: Any  # makes Trainers in this process, too
    space: Space
    resume: bool
    progress: bool


def prepare(request: Request) -> Prepared:
    """The experiment of a request. The objects that it trains with are written below its storage.

    Raises:
        InputError, SpecError: every mistake that can be told before a trial starts.
    """
    if isinstance(request.in_flight, str):
        request = replace(request, in_flight=(request.in_flight,))
    factory = _factory_of(request.trainer)
    searched = searched_space(request.hp_space, request.backend)
    wishes = _wishes_of(request, factory, searched.space)
    enter_sweep(request.hp_space, searched.space, wishes)
    if wishes.mutations:
        space = with_mutations(searched.space, wishes.mutations)
    else:
        space = perturbable(searched.space, request.in_flight)
    if isinstance(factory, RebuiltTrainer):
        factory.trial_form = searched.trial_form
        require_read(factory, space)
    objective = objective_of(
        request.direction,
        request.compute_objective,
        wishes.objective,
        scored=getattr(factory, "compute_metrics", None) is not None or not isinstance(factory, RebuiltTrainer),
    )
    strategies = strategies_of(request.strategies, wishes, space, request.keywords)
    _require_evaluations(getattr(request.trainer, "args", None), strategies, wishes)
    storage, name = _storage(request, wishes), _name(wishes)
    before = _recorded(name, storage) if wishes.resume or wishes.go_on else None
    raw = {
        **_shipped(request, factory, searched, space, storage),
        **_sections(request, factory, wishes, objective, strategies, space),
        "name": name,
    }
    raw |= {key: before[key] for key in ("trainable", "space") if before and _was_shipped(before[key], raw[key])}
    spec = load_spec(_merged(raw, {**wishes.spec, "name": name}), request.overrides or ())
    resume = wishes.resume or (wishes.go_on and before is not None)
    return Prepared(spec, factory, space, resume, wishes.progress)


def _factory_of(trainer: Any) -> Any:
    """What makes a Trainer of a trial's values.

    Raises:
        InputError: it is neither a Trainer nor a factory of Trainers.
    """
    from transformers import Trainer

    if isinstance(trainer, Trainer):
        return factory_of(trainer)
    if isinstance(trainer, str):
        if kind_of_trainable(trainer) != "factory":
            raise InputError("trainer", trainer, "names no factory", "write one: `def make_trainer(params)`")
        return load_trainable(trainer)
    if callable(trainer) and not isinstance(trainer, type):
        return trainer
    step = "give a transformers.Trainer with a model_init, or a function `def make_trainer(params)` that makes one"
    raise InputError("trainer", short(trainer), f"{kind_of(trainer)} is no Trainer and makes none", step)


def _wishes_of(request: Request, factory: Any, space: Space) -> Wishes:
    lengths = _lengths(request, factory, space)
    resume, go_on = _resumed(request.resume)
    wishes = Wishes(*lengths, _count(request.n_trials), resume=resume, go_on=go_on, progress=request.progress)
    read_keywords(request.keywords, request.backend, wishes, own=(*OWN, "fresh"))
    if request.backend == "ray" and wishes.proposes is None and request.strategies is None and not wishes.population:
        wishes.proposes = "random"  # as Ray does without a search_alg
    if request.objective is not None:
        wishes.objective = named_objective(request.objective)
    return wishes


def _resumed(asked: Any) -> tuple[bool, bool]:
    """Whether an experiment must be there to go on with, and whether one that is there is gone on with."""
    if isinstance(asked, str):
        if asked != "AUTO":
            raise InputError("resume", asked, "must be True, False or 'AUTO'", "write one of them")
        return False, True
    return bool(asked), False


def _count(trials: Any) -> int | None:
    if trials is None or (isinstance(trials, int) and not isinstance(trials, bool) and trials >= 1):
        return trials
    step = "such as 20; None searches until a budget (timeout) is spent"
    raise InputError("n_trials", short(trials), "must be a whole number, at least 1", step)


def _lengths(request: Request, factory: Any, space: Space) -> Lengths:
    if isinstance(factory, RebuiltTrainer):
        arguments = request.trainer.args
        data = request.trainer.train_dataset
        rows = len(data) if hasattr(data, "__len__") else None
        told = lengths_of(arguments, rows, space)
    else:
        epochs = most_epochs(space, request.epochs or 0)
        if epochs <= 0:
            rule, step = "a factory does not tell how long its Trainers train", "write epochs=3"
            raise InputError("epochs", request.epochs, rule, step)
        told = Lengths(epochs, min(1.0, epochs))
    return Lengths(request.epochs or told.epochs, request.report_every_epochs or told.report_every_epochs)


def _require_evaluations(arguments: Any, strategies: list[dict[str, Any]], wishes: Wishes) -> None:
    """A strategy that stops or clones trials decides between evaluations."""
    deciding = [one["kind"] for one in strategies if str(one.get("kind")).endswith("asha") or one.get("kind") == "pbt"]
    if not deciding or arguments is None:
        return
    rule = f"{deciding[0]} decides after evaluations on the way"
    if evaluates_at_the_end_only(arguments):
        raise InputError("args.eval_strategy", "no", rule, 'set eval_strategy="epoch" (or "steps")')
    if arguments.max_steps > 0 and wishes.report_every_epochs >= wishes.epochs:
        step = f'set eval_strategy="steps" and eval_steps to less than {arguments.max_steps}'
        raise InputError("args.max_steps", arguments.max_steps, f"no evaluation falls before its end, and {rule}", step)


def _storage(request: Request, wishes: Wishes) -> str:
    """Where run folders are; judged here, as objects are written there before the spec is.

    Raises:
        InputError: nothing can be written there.
    """
    given = wishes.spec.get("cluster.storage") or (request.cluster or {}).get("storage") or ClusterSpec().storage
    storage = str(given)
    if is_uri(storage):
        if refused := uri_mistake(storage):
            raise InputError("storage", without_credentials(storage), *refused)
    elif why := why_not_writable(Path(storage).expanduser().absolute()):
        raise InputError("storage", storage, why, "name a folder of yours: storage=FOLDER")
    return storage


def _name(wishes: Wishes) -> str:
    if (name := wishes.spec.get("name")) is not None:
        return str(name)
    if wishes.resume or wishes.go_on:
        raise InputError("name", None, "which experiment is to go on?", "write name=... (or study_name=...)")
    return strftime(f"search-%Y%m%d-%H%M%S-{secrets.token_hex(2)}", localtime(clock.time()))


def _recorded(name: str, storage: str) -> Mapping[str, Any] | None:
    """The spec of the experiment of that name; None: there is none."""
    with contextlib.suppress(UnknownExperiment):
        kept = find_experiment(name, storage) / SPEC_FILE
        return parse(read_text(kept), str(kept))
    return None


def _was_shipped(before: Any, now: Any) -> bool:
    """A run goes on with the objects that it began with: pickled again, they may be other bytes."""
    return all(isinstance(name, str) and is_shipped(name) for name in (before, now))


def _shipped(request: Request, factory: Any, searched: SearchedSpace, space: Space, storage: str) -> dict[str, Any]:
    """What trials train with, and what is searched, as they stand in the spec."""
    trained = factory
    if request.compute_objective is not None or request.test_dataset is not None:
        trained = Extended(factory, request.compute_objective, request.test_dataset)
    by_name = isinstance(request.trainer, str) and trained is factory
    kind = "trainer" if isinstance(factory, RebuiltTrainer) else "make_trainer"
    return {
        "trainable": request.trainer if by_name else ship(trained, storage, kind),
        "space": in_spec(searched, space, storage),
    }


def _sections(
    request: Request, factory: Any, wishes: Wishes, objective: Chosen, strategies: list[dict[str, Any]], space: Space
) -> dict[str, Any]:
    seeds = request.seeds or (0 if wishes.seed is None else wishes.seed,)
    own = {name for name in wishes.mutations if name not in TUNABLES}
    held = {}
    if isinstance(factory, RebuiltTrainer):  # as each trial of the original has them, unless they are searched
        held = {"data_order_seed": factory.args["seed"], "head_seed": factory.args["seed"]}
    return {
        "epochs": wishes.epochs,
        "report_every_epochs": wishes.report_every_epochs,
        "objective": {"metric": objective.metric, "mode": objective.mode},
        "strategies": strategies,
        "seeds": list(seeds),
        "in_flight": sorted({*request.in_flight, *own}),
        "test": request.test_dataset is not None,
        "cluster": dict(request.cluster or {}),
        "budget": dict(request.budget or {}),
        **held,
    }


def _merged(raw: dict[str, Any], paths: Mapping[str, Any]) -> dict[str, Any]:
    """`raw` with what keywords say, by dotted path; a section that was given beside them keeps its other keys."""
    for path, value in paths.items():
        section, _, key = path.rpartition(".")
        place = raw.setdefault(section, {}) if section else raw
        if section and place.get(key, value) != value:
            raise InputError(path, value, f"is said to be {place[key]!r}, too", "say it once")
        place[key] = value
    return raw
