"""Hints for keys and kinds that users know by another name, or write in another place."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import get_origin

from pydantic import BaseModel

from trainables.errors import close_match, nearest
from trainables.spec import FINETUNE_FIELDS
from trainables.tunables import TUNABLES, find_tunable
from tuning.space.aliases import SLIP, meant_tunable, nearest_tunable
from tuning.strategies import find_strategies

FRONT = (
    "random_moasha stops random trials by non-dominated rank; optuna proposes for several objectives (sampler: tpe, "
    "gp, nsga2)"
)
MODELLED = "hyperopt has TPE, hyperopt_asha the same with early stopping; optuna has Optuna's TPE, a GP and CMA-ES"
STOPPED = (
    "random_asha stops random trials by successive halving, hyperopt_asha those of TPE, custom those of any sampler by "
    "asha, hyperband or median"
)
# Strategies by the names of other libraries, without dashes and underscores: what there is instead.
STRATEGIES = {
    **dict.fromkeys(("tpe", "bayesian", "bayes", "bayesopt", "bayesianoptimization"), MODELLED),
    **dict.fromkeys(
        ("ax", "gp", "gaussianprocess", "skopt", "botorch", "smac", "hebo"), "write {kind: optuna, sampler: gp}"
    ),
    **dict.fromkeys(("cmaes", "cma", "nevergrad"), "write {kind: optuna, sampler: cmaes}"),
    **dict.fromkeys(("sobol", "qmc", "halton"), "write {kind: optuna, sampler: qmc}"),
    "bohb": "write {kind: custom, sampler: tpe, stopping: hyperband}",
    **dict.fromkeys(("dehb", "mobster"), f"none here; nearest to it: {MODELLED}"),
    **dict.fromkeys(("asha", "hyperband", "asynchyperband", "sha", "successivehalving", "median"), STOPPED),
    **dict.fromkeys(("moasha", "nsga2", "nsgaii", "motpe", "multiobjective", "pareto"), FRONT),
    **dict.fromkeys(("populationbasedtraining", "population", "evolution", "genetic"), "did you mean pbt?"),
    **dict.fromkeys(("pbt2", "populationbasedbandits", "populationbasedbandit"), "did you mean pb2?"),
    **dict.fromkeys(("randomsearch", "rs", "basicvariant"), "did you mean random?"),
    **dict.fromkeys(("default", "baseline", "none", "untuned"), "did you mean defaults?"),
    **dict.fromkeys(("gridsearch", "gs", "bruteforce"), "did you mean grid?"),
}
# Keys by the names of other tools, TrainingArguments' among them: the dotted key of a spec.
KEYS = {
    **dict.fromkeys(("num_epochs", "num_train_epochs", "n_epochs", "max_epochs", "max_steps"), "epochs"),
    **dict.fromkeys(("model_name", "model_name_or_path", "pretrained", "checkpoint_path", "model_path"), "model"),
    **dict.fromkeys(("num_samples", "n_trials", "num_trials", "max_trials", "samples"), "strategies.N.trials"),
    **dict.fromkeys(("output_dir", "run_dir", "runs", "output", "storage_path"), "cluster.storage"),
    **dict.fromkeys(("text_column", "text_columns", "text_col"), "data.text"),
    **dict.fromkeys(("label_column", "labels", "target", "label_col", "label_names"), "data.label"),
    **dict.fromkeys(("train_file", "train_path"), "data.train"),
    **dict.fromkeys(("validation_file", "valid", "dev", "eval_file"), "data.validation"),
    **dict.fromkeys(("dataset", "data_path", "dataset_path", "csv", "file"), "data.path"),
    **dict.fromkeys(("dataset_name", "hub_id"), "data.hub"),
    **dict.fromkeys(("max_concurrent_trials", "concurrency", "parallelism", "n_jobs"), "cluster.max_concurrent"),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpus", "use_cpu", "no_cuda", "device"), "cluster.gpus_per_trial"),
    **dict.fromkeys(("cpus", "num_cpus", "cores"), "cluster.cpus_per_trial"),
    **dict.fromkeys(("time_budget", "timeout", "time_budget_s", "max_time"), "budget.wall_seconds"),
    **dict.fromkeys(("direction", "maximize", "goal", "greater_is_better"), "objective.mode"),
    **dict.fromkeys(("metrics", "metric_for_best_model", "eval_metric"), "objective.metric"),
    **dict.fromkeys(("directions", "multi_objective"), "objectives"),
    **dict.fromkeys(("search_space", "hyperparameters", "hparams", "params", "param_space"), "space"),
    **dict.fromkeys(("strategy", "search", "searcher", "search_alg", "algorithms"), "strategies"),
    **dict.fromkeys(("trainer", "make_trainer", "factory", "train_function"), "trainable"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("eval_steps", "eval_every_epochs", "evaluation", "logging_steps"), "report_every_epochs"),
    **dict.fromkeys(("eval_strategy", "evaluation_strategy", "logging_strategy"), "report_every_epochs"),
    **dict.fromkeys(("per_device_eval_batch_size", "val_batch_size"), "eval_batch_size"),
    **dict.fromkeys(("fp16", "bf16", "fp16_full_eval", "bf16_full_eval", "mixed_precision", "dtype"), "precision"),
    **dict.fromkeys(("save_strategy", "save_steps"), "checkpoint.every_epochs"),
    **dict.fromkeys(("save_total_limit", "load_best_model_at_end"), "checkpoint.keep_best"),
    **dict.fromkeys(("run_name", "experiment", "experiment_name", "study_name"), "name"),
    **dict.fromkeys(("points_to_evaluate", "initial_points", "initial_params", "enqueue_trial"), "points"),
    **dict.fromkeys(("prior", "beliefs", "expert_priors"), "priors"),
    **dict.fromkeys(("warm_start", "previous_studies", "load_study"), "start_from"),
    "data_seed": "data_order_seed",
    "full_determinism": "deterministic",
    "gradient_checkpointing": "fixed.model.gradient_checkpointing",
    "report_to": "wandb.mode",
    "tf32": "precision",
    "torch_compile": "compile",
    "train_sampling_strategy": "group_by_length",
}
PATIENCE = "poor trials are stopped early by the strategies random_asha and hyperopt_asha, a study by its budget"
PUSHED = "remove it: `tunefleet train-final` has the option --push-to-hub USER/NAME"
# Names of other tools for what is no key of a spec: what there is instead.
ELSEWHERE = {
    **dict.fromkeys(("patience", "early_stopping", "early_stopping_patience", "early_stopping_threshold"), PATIENCE),
    **dict.fromkeys(("num_labels", "num_classes", "n_classes"), "remove it: the classes are those of the label column"),
    **dict.fromkeys(("push_to_hub", "hub_model_id", "hub_revision"), PUSHED),
    "eval_accumulation_steps": "remove it: eval_batch_size, at the top level, bounds the memory of an evaluation",
    "resume_from_checkpoint": "remove it: `tunefleet resume` takes an interrupted experiment up where it was",
}
WRITTEN = ("extended", "earlier")  # sections that no user writes
OF_FINETUNE = ("num_labels", "num_classes", "n_classes", "eval_accumulation_steps")  # of `ELSEWHERE`


def suggest_strategy(kind: str, known: Collection[str]) -> str:
    """The hint for an unknown strategy `kind`: which one to write."""
    plain = kind.lower().replace("_", "").replace("-", "")
    return STRATEGIES.get(plain) or nearest(kind, known, cutoff=SLIP)


def suggest_key(key: str, known: Collection[str], root: type[BaseModel], *, inside: str = "", own: bool = False) -> str:
    """The hint for an unknown `key`: where it belongs, or which known key it is likely to be.

    A name that means something here goes before one that only looks alike: `batch_size` is no slip for
    `eval_batch_size`.

    Args:
        key: as the user has typed it, without its section.
        known: the keys of that section.
        root: the model of a whole spec.
        inside: the dotted path of that section, such as "data"; "strategies.N" within one of the strategies.
        own: the trainable is the user's own: it is given what stands under `fixed`, and reads no setting of `finetune`.
    """
    if own and inside.partition(".")[0] not in FINETUNE_FIELDS and _is_of_finetune(key, root):
        return f"write fixed.{key}, which your trainable is given"
    if _section_of(meant := _meant_key(key)) == inside and meant:
        return f"did you mean {meant.rpartition('.')[2]}?"
    if (elsewhere := ELSEWHERE.get(_plain(key))) is not None:
        return elsewhere
    in_strategy = inside == "strategies.N"
    if key in _dotted(root):
        return f"nest it: {_nested(key)}"
    places = [place for place in _places(root).get(key) or (meant,) if place and place not in known]
    if in_strategy:
        places = [place for place in places if not place.startswith("strategies.N.")]  # of other kinds
    tunable = key if find_tunable(key) is not None else meant_tunable(key)
    if not places and tunable == "data.max_length":
        places = [tunable]
    if not places and tunable is None and (close := close_match(key, known, cutoff=SLIP)):
        return f"did you mean {close}?"
    if not places and (tunable := tunable or close_match(key, TUNABLES, cutoff=SLIP)):
        places = [f"space.{tunable}{' of it' if in_strategy else ''}", f"fixed.{tunable}"]
    if places:
        return f"write {' or '.join(map(_written, places))}"
    given = f"write fixed.{key} if your trainable is to be given it; " if own and inside == "" else ""
    return f"{given}known: {', '.join(sorted(known))}" if known else "remove it"


def suggest_hyperparameter(name: str, root: type[BaseModel]) -> str:
    """The hint for a name under `space` or `fixed` that is no hyperparameter: another name, or where it belongs.

    Args:
        root: the model of a whole spec.
    """
    if _meant_key(name) == "seed" or name == "seed":
        return "write seed at the top level; what can be searched are head_seed and data_order_seed"
    if meant_tunable(name) is None:
        if (elsewhere := ELSEWHERE.get(_plain(name))) is not None:
            return elsewhere
        meant = name if name in root.model_fields else _meant_key(name)
        if places := (meant,) if meant else _places(root).get(name, ()):
            return f"write {' or '.join(map(_written, places))}"
    return nearest_tunable(name)


def _is_of_finetune(key: str, root: type[BaseModel]) -> bool:
    """True if `key` can only mean what the built-in fine-tuning reads: one of its settings or of its tunables."""
    meant = _meant_key(key) or meant_tunable(key)
    places = (meant,) if meant else _places(root).get(key, (key,))
    sections = {place.removeprefix("fixed.").partition(".")[0] for place in places}
    return sections <= set(FINETUNE_FIELDS) or _plain(key) in OF_FINETUNE


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _meant_key(key: str) -> str:
    """The dotted key of a spec for which `key` is a name of another tool; empty if it is none."""
    return KEYS.get(_plain(key), "")


def _section_of(place: str) -> str:
    return place.rpartition(".")[0]


def _written(place: str) -> str:
    if place.startswith("strategies.N."):
        return f"{place}, in each strategy (N counts from 0)"
    return place if "." in place else f"{place} at the top level"


def _nested(path: str) -> str:
    *sections, name = path.split(".")
    return "".join(f"{section}: {{" for section in sections) + f"{name}: ..." + "}" * len(sections)


def _dotted(root: type[BaseModel]) -> frozenset[str]:
    """The paths of all keys in sections of a spec."""
    return frozenset(path for path in _paths(root) if "." in path)


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
        if name not in WRITTEN and (inner := section(field.annotation)) is not None:
            yield from _paths(inner, f"{prefix}{name}.")


def section(annotation: object) -> type[BaseModel] | None:
    """The model behind a field's annotation, also of an optional field; None if the field is no section of keys."""
    if get_origin(annotation) is dict:
        return None
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    models = (one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    return next((one for one in models if "root" not in one.model_fields), None)
