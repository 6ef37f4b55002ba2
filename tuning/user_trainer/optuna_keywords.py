"""The keywords of backend="optuna": those of `optuna.create_study` and `Study.optimize`."""

from __future__ import annotations

import copy
from typing import Any

from trainables.errors import InputError
from tuning.user_trainer.search_options import (
    Keyword,
    SearchOptions,
    class_names,
    needless_keyword,
    refused_keyword,
    seconds,
    spec_keyword,
)

LARGEST = 2**31 - 1
PRUNER_KEYS = ("grace_epochs", "reduction_factor", "startup_trials", "percentile", "patience")
HALVING_PRUNERS = {"SuccessiveHalvingPruner": "asha", "HyperbandPruner": "hyperband"}
SAMPLERS = {"TPESampler": "tpe", "GPSampler": "gp", "CmaEsSampler": "cmaes", "QMCSampler": "qmc"}


def read_sampler(options: SearchOptions, sampler: Any) -> None:
    kinds = class_names(sampler)
    if (name := next((SAMPLERS[kind] for kind in kinds if kind in SAMPLERS), None)) is not None:
        options.searcher, options.sampler = "optuna", {"sampler": name}
        if name == "tpe":
            options.sampler |= {"multivariate": sampler._multivariate is not False, "group": sampler._group or None}
    elif "RandomSampler" in kinds:
        options.searcher = "random"
    elif "BruteForceSampler" in kinds:
        options.searcher = "grid"
    elif "GridSampler" in kinds:
        options.searcher, options.grid = "grid", dict(sampler._search_space)
    else:
        rule = "no strategy here proposes as this sampler does"
        step = f"leave it out (TPE), or give {', '.join(SAMPLERS)}, RandomSampler or GridSampler"
        raise InputError("sampler", kinds[0], rule, step)
    options.seed = _seed(sampler)


def _seed(sampler: Any) -> int | None:
    """A seed that follows from the sampler's own; None: it was given none."""
    state = getattr(getattr(sampler, "_rng", None), "_rng", None)
    return None if state is None else int(copy.deepcopy(state).randint(LARGEST))


def _pruner(options: SearchOptions, pruner: Any) -> None:
    kind = class_names(pruner)[0]
    options.decided_by = "pruner"
    options.written |= {f"strategies.0.{key}": "pruner" for key in PRUNER_KEYS}
    if kind == "NopPruner":
        options.pruner = None
    elif kind in HALVING_PRUNERS:
        factor, least = float(pruner._reduction_factor), pruner._min_resource
        first = options.report_every_epochs * (least if isinstance(least, int) else 1)
        options.pruner = {"pruner": HALVING_PRUNERS[kind], "grace_epochs": first, "reduction_factor": factor}
    elif kind in ("MedianPruner", "PercentilePruner"):
        options.pruner = _below_others(options, pruner, "median" if kind == "MedianPruner" else "percentile")
    elif kind == "PatientPruner" and class_names(pruner._wrapped_pruner)[0] == "MedianPruner" and not pruner._min_delta:
        waits = {"patience": vars(pruner)["_patience"] + 1}  # Optuna's waits for one evaluation more than it says
        options.pruner = {**_below_others(options, pruner._wrapped_pruner, "patient"), **waits}
    else:
        rule = "no strategy here stops trials as this pruner does"
        step = f"leave it out, or give {', '.join(HALVING_PRUNERS)}, MedianPruner, PercentilePruner or PatientPruner"
        raise InputError("pruner", kind, rule, f"{step} around a MedianPruner")


def _below_others(options: SearchOptions, pruner: Any, name: str) -> dict[str, Any]:
    """The keys of a percentile pruner; it never stops before the first evaluation."""
    first = min(options.report_every_epochs * max(1, pruner._n_warmup_steps), options.epochs)
    keys = {"pruner": name, "grace_epochs": first, "startup_trials": max(1, pruner._n_startup_trials)}
    return {**keys, "percentile": vars(pruner)["_percentile"]} if name == "percentile" else keys


def _storage(options: SearchOptions, storage: Any) -> None:
    """Set the store for a database, as Optuna means it, else the folder or bucket of the run folders."""
    if isinstance(storage, str) and not _is_database(storage):
        options.spec["cluster.storage"] = storage
        options.written["cluster.storage"] = "storage"
        return
    url = storage if isinstance(storage, str) else getattr(getattr(storage, "_backend", storage), "url", None)
    if url is not None:
        options.spec["store"] = str(url)
        options.written["store"] = "storage"
    elif "InMemoryStorage" not in class_names(storage):
        rule = "is no database that an experiment can be recorded into"
        raise InputError(
            "storage", class_names(storage)[0], rule, "give a URL: sqlite:///FILE or postgresql://HOST/NAME"
        )


def _is_database(text: str) -> bool:
    return "://" in text and text.split("://")[0].split("+")[0] in ("sqlite", "postgresql", "postgres", "mysql")


def _jobs(count: int) -> int | None:
    return count if count > 0 else None


def _catch(options: SearchOptions, errors: Any) -> None:
    if errors:
        options.spec["alike_failures"] = None


def _resume(options: SearchOptions, value: bool) -> None:
    options.resume_if_exists = bool(value)


def _shown(options: SearchOptions, value: bool) -> None:
    options.progress = bool(value)


STORAGE = Keyword(
    "storage",
    "a database URL or an RDBStorage: `store`, which Optuna and its dashboard open; else where run folders are",
    _storage,
)
OPTUNA: tuple[Keyword, ...] = (
    Keyword(
        "sampler",
        "TPESampler, GPSampler, CmaEsSampler, QMCSampler: `optuna` with that sampler; RandomSampler: `random`; "
        "GridSampler, BruteForceSampler: `grid`; others are refused",
        read_sampler,
    ),
    Keyword(
        "pruner",
        "SuccessiveHalvingPruner, HyperbandPruner, MedianPruner, PercentilePruner, PatientPruner of a MedianPruner: "
        "`optuna` with `pruner: asha`, hyperband, median, percentile or patient; NopPruner: none; others are refused",
        _pruner,
    ),
    STORAGE,
    spec_keyword(
        "study_name",
        "`name`, of the experiment and its run folder; in a database (`storage`) the study of that name gets a copy of "
        "every trial, with its intermediate values; `optuna` learns from what it holds already (load_if_exists)",
        "name",
    ),
    Keyword("load_if_exists", "`resume`: goes on with the experiment of that name where there is one", _resume),
    spec_keyword("timeout", "`budget: {wall_seconds: ...}`", "budget.wall_seconds", seconds),
    spec_keyword(
        "n_jobs",
        "`cluster.max_concurrent`: the number of trials at a time, each in a process of its own",
        "cluster.max_concurrent",
        _jobs,
    ),
    Keyword(
        "catch", "`alike_failures: null`: the search goes on, however many trials fail, whatever they raised", _catch
    ),
    needless_keyword("gc_after_trial", "nothing: what a trial held is freed before the next one is built"),
    Keyword("show_progress_bar", "`progress`", _shown),
    refused_keyword(
        "directions",
        "several objectives have another name here",
        "write direction=[...], with as many numbers from compute_objective, or objective=['accuracy', 'latency_ms']",
    ),
    refused_keyword(
        "callbacks",
        "Optuna's callbacks are called in the driver with a study of Optuna's",
        "read BestRun.run_summary afterwards, or open `store` with Optuna while it runs",
    ),
)
