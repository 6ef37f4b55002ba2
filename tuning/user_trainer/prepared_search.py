"""The experiment of a search: a spec, and the objects that its trials train with.

In: a `SearchRequest`. Out: a `PreparedSearch`; objects are written below the storage of the experiment.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import localtime, strftime
from typing import Any, NamedTuple

from cluster.spec import ClusterSpec
from cluster.storage import is_uri, uri_mistake, without_credentials
from trainables.errors import InputError
from trainables.machine import clock
from trainables.tunables import TUNABLES
from trainables.user_trainer.extended import Extended
from trainables.user_trainer.rebuilt import RebuiltTrainer
from trainables.user_trainer.shipped import is_shipped, ship
from tuning.run_folder.experiments import UnknownExperiment, find_experiment
from tuning.space import Space
from tuning.spec.file import parse, read_spec_text
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import SPEC_FILE, ExperimentSpec, folder_name
from tuning.spec.validation.machine import why_not_writable
from tuning.user_trainer.keyword_mistakes import in_keywords
from tuning.user_trainer.lengths import warn_of_delay
from tuning.user_trainer.objectives import SearchObjective, objectives_of, require_reported
from tuning.user_trainer.request import SearchRequest, factory_of_request, read_options, require_evaluations
from tuning.user_trainer.search_options import SearchOptions
from tuning.user_trainer.spaces import (
    SearchedSpace,
    enter_sweep,
    perturbable,
    require_read,
    searched_space,
    space_entry,
    with_mutations,
)
from tuning.user_trainer.strategies import require_equal_schedules, strategies_of


class PreparedSearch(NamedTuple):
    """Everything that a run needs, checked."""

    spec: ExperimentSpec
    factory: Any  # makes Trainers in this process, too
    space: Space
    resume: bool
    progress: bool


def prepare_search(request: SearchRequest) -> PreparedSearch:
    """Make the experiment of a request; the objects that it trains with are written below its storage.

    Raises:
        InputError, SpecError: every mistake that can be found before a trial starts.
    """
    if isinstance(request.in_flight, str):
        request = replace(request, in_flight=(request.in_flight,))
    factory = factory_of_request(request.trainer)
    searched = searched_space(request.hp_space, request.backend)
    options = read_options(request, factory, searched.space)
    if options.mutations:
        space = with_mutations(searched.space, options.mutations)
        options = read_options(request, factory, space)  # members may have other batch sizes than the space alone
    else:
        space = perturbable(searched.space, request.in_flight)
    enter_sweep(request.hp_space, searched.space, options)
    if isinstance(factory, RebuiltTrainer):
        if request.report_every_epochs is None:
            warn_of_delay(request.trainer.args)
        factory.trial_form = searched.trial_form
        require_read(factory, space)
    objectives = objectives_of(
        request.direction,
        request.compute_objective,
        options.objective,
        options.several,
        scored=getattr(factory, "compute_metrics", None) is not None or not isinstance(factory, RebuiltTrainer),
    )
    for objective in objectives:
        require_reported(getattr(request.trainer, "eval_dataset", None), request.trainer, objective)
    strategies = strategies_of(request.strategies, options, space, request.keywords, several=len(objectives) > 1)
    require_equal_schedules(strategies, options, space, request.overrides or {})
    require_evaluations(getattr(request.trainer, "args", None), strategies, options)
    storage, name = _storage(request, options), _name(options)
    before = _recorded(name, storage) if options.resume or options.resume_if_exists else None
    raw = {
        **_shipped(request, factory, searched, space, storage),
        **_sections(request, factory, options, objectives, strategies),
        "name": name,
    }
    raw |= {key: before[key] for key in ("trainable", "space") if before and _was_shipped(before[key], raw[key])}
    overrides = request.overrides or {}
    merged = _merged(raw, {**options.spec, "name": name}, options.written)
    try:
        spec = load_spec(merged, overrides)
    except SpecError as error:
        raise in_keywords(error, options, request.strategies, len(strategies), overrides) from None
    resume = options.resume or (options.resume_if_exists and before is not None)
    return PreparedSearch(spec, factory, space, resume, options.progress)


def _storage(request: SearchRequest, options: SearchOptions) -> str:
    """The folder or bucket of the run folders; checked here, since objects are written there before the spec is.

    Raises:
        InputError: nothing can be written there.
    """
    given = options.spec.get("cluster.storage") or (request.cluster or {}).get("storage") or ClusterSpec().storage
    storage = str(given)
    if is_uri(storage):
        if refused := uri_mistake(storage):
            raise InputError("storage", without_credentials(storage), *refused)
    elif why := why_not_writable(Path(storage).expanduser().absolute()):
        raise InputError("storage", storage, why, "name a folder of yours: storage=FOLDER")
    return storage


def _name(options: SearchOptions) -> str:
    """The name of the experiment.

    Raises:
        InputError: no folder can have it, or there is none and one is needed.
    """
    if (name := options.spec.get("name")) is not None:
        try:
            return folder_name(str(name))
        except ValueError as error:
            step = "write such a name"
            raise InputError(options.written.get("name", "name"), name, str(error), step) from error
    if options.resume or options.resume_if_exists:
        raise InputError("name", None, "which experiment is to go on?", "write name=... (or study_name=...)")
    return strftime(f"search-%Y%m%d-%H%M%S-{secrets.token_hex(2)}", localtime(clock.time()))


def _recorded(name: str, storage: str) -> Mapping[str, Any] | None:
    """The recorded spec of the experiment of that name; None: there is none."""
    with contextlib.suppress(UnknownExperiment):
        kept = find_experiment(name, storage) / SPEC_FILE
        return parse(read_spec_text(kept), str(kept))
    return None


def _was_shipped(before: Any, now: Any) -> bool:
    """True if both name shipped objects: a resumed run uses those that it began with."""
    return all(isinstance(name, str) and is_shipped(name) for name in (before, now))


def _shipped(
    request: SearchRequest, factory: Any, searched: SearchedSpace, space: Space, storage: str
) -> dict[str, Any]:
    """The entries `trainable` and `space` of the spec; objects are written to the storage."""
    trained = factory
    if request.compute_objective is not None or request.test_dataset is not None:
        trained = Extended(factory, request.compute_objective, request.test_dataset)
    by_name = isinstance(request.trainer, str) and trained is factory
    kind = "trainer" if isinstance(factory, RebuiltTrainer) else "make_trainer"
    entry = space_entry(searched, space, storage)  # first: where it is refused, nothing large is written
    return {"trainable": request.trainer if by_name else ship(trained, storage, kind), "space": entry}


def _sections(
    request: SearchRequest,
    factory: Any,
    options: SearchOptions,
    objectives: Sequence[SearchObjective],
    strategies: list[dict[str, Any]],
) -> dict[str, Any]:
    seeds = request.seeds or (0 if options.seed is None else options.seed,)
    own = {name for name in options.mutations if name not in TUNABLES}
    held = {}
    if isinstance(factory, RebuiltTrainer):  # as each trial of the original has them, unless they are searched
        held = {"data_order_seed": factory.args["seed"], "head_seed": factory.args["seed"]}
    return {
        "epochs": options.epochs,
        "report_every_epochs": options.report_every_epochs,
        **_declared(objectives),
        "strategies": strategies,
        "seeds": list(seeds),
        "in_flight": sorted({*request.in_flight, *own}),
        "test": request.test_dataset is not None,
        "cluster": dict(request.cluster or {}),
        "budget": dict(request.budget or {}),
        **held,
    }


def _declared(objectives: Sequence[SearchObjective]) -> dict[str, Any]:
    listed = [one._asdict() for one in objectives]
    return {"objective": listed[0]} if len(listed) == 1 else {"objectives": listed}


def _merged(raw: dict[str, Any], paths: Mapping[str, Any], written: Mapping[str, str]) -> dict[str, Any]:
    """`raw` with the values of keywords at their dotted paths; other keys of a section stay.

    Args:
        written: the keyword of each path, for the error.

    Raises:
        InputError: an argument and a keyword give different values.
    """
    for path, value in paths.items():
        section, _, key = path.rpartition(".")
        place = raw.setdefault(section, {}) if section else raw
        if section and place.get(key, value) != value:
            rule = f"{path} is {place[key]!r} in another argument"
            raise InputError(written.get(path, path), value, rule, "give it once")
        place[key] = value
    return raw
