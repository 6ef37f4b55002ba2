"""Hints for keys and kinds that users know by another name, or write in another place."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache

from pydantic import BaseModel

from trainables.errors import close_match, nearest
from trainables.tunables import TUNABLES
from tuning.space.aliases import meant_tunable
from tuning.strategies import find_strategies

MODELLED = "hyperopt has TPE, hyperopt_asha the same with early stopping"
STOPPED = "random_asha stops random trials by successive halving, hyperopt_asha those of TPE"
# Strategies by the names of other libraries, without dashes and underscores: what there is instead.
STRATEGIES = {
    **dict.fromkeys(("tpe", "optuna", "bayesian", "bayes", "bayesopt", "bayesianoptimization"), MODELLED),
    **dict.fromkeys(("ax", "gp", "gaussianprocess", "skopt", "botorch", "smac", "hebo", "nevergrad"), MODELLED),
    **dict.fromkeys(("bohb", "dehb", "mobster"), f"none here; nearest to it: {MODELLED}"),
    **dict.fromkeys(("asha", "hyperband", "asynchyperband", "sha", "successivehalving", "median"), STOPPED),
    **dict.fromkeys(
        ("pb2", "pbt2", "populationbasedtraining", "population", "evolution", "genetic"), "did you mean pbt?"
    ),
    **dict.fromkeys(("randomsearch", "rs", "sobol", "basicvariant"), "did you mean random?"),
    **dict.fromkeys(("default", "baseline", "none", "untuned"), "did you mean defaults?"),
    **dict.fromkeys(("gridsearch", "gs", "bruteforce"), "did you mean grid?"),
}
# Keys by the names of other tools: the dotted key of a spec.
KEYS = {
    **dict.fromkeys(("num_epochs", "num_train_epochs", "n_epochs", "max_epochs"), "epochs"),
    **dict.fromkeys(("model_name", "model_name_or_path", "pretrained", "checkpoint_path", "model_path"), "model"),
    **dict.fromkeys(("num_samples", "n_trials", "num_trials", "max_trials", "samples"), "strategies.N.trials"),
    **dict.fromkeys(("output_dir", "run_dir", "runs", "output", "storage_path"), "cluster.storage"),
    **dict.fromkeys(("text_column", "text_columns", "text_col"), "data.text"),
    **dict.fromkeys(("label_column", "labels", "target", "label_col"), "data.label"),
    **dict.fromkeys(("train_file", "train_path"), "data.train"),
    **dict.fromkeys(("validation_file", "valid", "dev", "eval_file"), "data.validation"),
    **dict.fromkeys(("dataset", "data_path", "csv", "file"), "data.path"),
    **dict.fromkeys(("dataset_name", "hub_id"), "data.hub"),
    **dict.fromkeys(("max_concurrent_trials", "concurrency", "parallelism", "n_jobs"), "cluster.max_concurrent"),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpus"), "cluster.gpus_per_trial"),
    **dict.fromkeys(("cpus", "num_cpus", "cores"), "cluster.cpus_per_trial"),
    **dict.fromkeys(("time_budget", "timeout", "time_budget_s", "max_time"), "budget.wall_seconds"),
    **dict.fromkeys(("direction", "maximize", "goal"), "objective.mode"),
    **dict.fromkeys(("search_space", "hyperparameters", "hparams", "params", "param_space"), "space"),
    **dict.fromkeys(("strategy", "search", "searcher", "search_alg", "algorithms"), "strategies"),
    **dict.fromkeys(("trainer", "make_trainer", "factory", "train_function"), "trainable"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("eval_steps", "eval_every_epochs", "evaluation"), "report_every_epochs"),
}


def suggest_strategy(kind: str, known: Collection[str]) -> str:
    """The hint for an unknown strategy `kind`: which one to write."""
    plain = kind.lower().replace("_", "").replace("-", "")
    return STRATEGIES.get(plain) or nearest(kind, known)


def suggest_key(key: str, known: Collection[str], root: type[BaseModel], *, inside: str = "") -> str:
    """The hint for an unknown `key`: where it belongs, or which known key it is likely to be.

    Args:
        key: as the user has typed it, without its section.
        known: the keys of that section.
        root: the model of a whole spec.
        inside: "strategy" within one of the strategies.
    """
    places = [place for place in _places(root).get(key, ()) if place not in known]
    if inside == "strategy":
        places = [place for place in places if not place.startswith("strategies.N.")]  # of other kinds
    meant, tunable = KEYS.get(key, ""), key if key in TUNABLES else meant_tunable(key)
    if (own := meant.rpartition(".")[2]) in known:
        return f"did you mean {own}?"
    if not places and meant and not (inside == "strategy" and meant.startswith("strategies.N.")):
        places = [meant]
    if not places and (close := close_match(key, known, cutoff=0.8)):
        return f"did you mean {close}?"
    if not places and tunable == "data.max_length":
        places = [tunable]
    if not places and tunable:
        places = [f"space.{tunable}{' of it' if inside == 'strategy' else ''}", f"fixed.{tunable}"]
    if places:
        return f"write {' or '.join(map(_written, places))}"
    return nearest(key, known) if known else "remove it"


def _written(place: str) -> str:
    if place.startswith("strategies.N."):
        return f"{place}, in each strategy (N counts from 0)"
    return place if "." in place else f"{place} at the top level"


@cache
def _places(root: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Every key of a spec, with its possible dotted paths."""
    found: dict[str, list[str]] = {}
    for path in _paths(root):
        found.setdefault(path.rpartition(".")[2], []).append(path)
    for kind in find_strategies().values():
        for name in kind.model_fields:
            if name not in root.model_fields:
                found.setdefault(name, []).append(f"strategies.N.{name}")
    return {name: tuple(dict.fromkeys(paths)) for name, paths in found.items()}


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if (inner := section(field.annotation)) is not None:
            yield from _paths(inner, f"{prefix}{name}.")


def section(annotation: object) -> type[BaseModel] | None:
    """The model behind a field's annotation, also of an optional field; None if the field is no section of keys."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    models = (one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    return next((one for one in models if "root" not in one.model_fields), None)
