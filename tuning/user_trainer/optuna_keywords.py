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


def _sampler(options: SearchOptions, sampler: Any) -> None:
    kinds = class_names(sampler)
    if "TPESampler" in kinds:
        options.searcher = "hyperopt"
    elif "RandomSampler" in kinds or "QMCSampler" in kinds:
        options.searcher = "random"
    elif "BruteForceSampler" in kinds:
        options.searcher = "grid"
    elif "GridSampler" in kinds:
        options.searcher, options.grid = "grid", dict(sampler._search_space)
    else:
        rule = "no strategy here proposes as this sampler does"
        raise InputError(
            "sampler", kinds[0], rule, "leave it out (TPE), or give TPESampler, RandomSampler, GridSampler"
        )
    options.seed = _seed(sampler)


def _seed(sampler: Any) -> int | None:
    """A seed that follows from the sampler's own; None: it was given none."""
    state = getattr(getattr(sampler, "_rng", None), "_rng", None)
    return None if state is None else int(copy.deepcopy(state).randint(LARGEST))


def _pruner(options: SearchOptions, pruner: Any) -> None:
    kind = class_names(pruner)[0]
    options.decided_by = "pruner"
    options.written |= {"strategies.0.grace_epochs": "pruner", "strategies.0.reduction_factor": "pruner"}
    if kind == "NopPruner":
        options.asha = None
    elif kind in ("SuccessiveHalvingPruner", "HyperbandPruner"):
        factor, least = float(pruner._reduction_factor), pruner._min_resource
        first = options.report_every_epochs * (least if isinstance(least, int) else 1)
        options.asha = {"grace_epochs": first, "reduction_factor": factor}
    elif kind == "MedianPruner":
        first = options.report_every_epochs * max(1, pruner._n_warmup_steps)
        options.asha = {"grace_epochs": min(first, options.epochs), "reduction_factor": 2.0}
    else:
        rule = "no strategy here stops trials as this pruner does"
        raise InputError("pruner", kind, rule, "leave it out, or give SuccessiveHalvingPruner or MedianPruner")


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
        "TPESampler: `hyperopt`, which takes no branches; RandomSampler, QMCSampler: `random`; GridSampler, "
        "BruteForceSampler: `grid`; others are refused",
        _sampler,
    ),
    Keyword(
        "pruner",
        "SuccessiveHalvingPruner, HyperbandPruner: `hyperopt_asha` (`random_asha` under RandomSampler), one bracket; "
        "MedianPruner: the same, half goes on at each rung; NopPruner: none; others are refused",
        _pruner,
    ),
    STORAGE,
    spec_keyword(
        "study_name",
        "`name`, of the experiment and its run folder; in a database (`storage`) the study of that name gets a copy of "
        "every trial, with its intermediate values; what it holds already is not learned from",
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
        "several objectives: no strategy here searches several",
        "choose one, or combine them in compute_objective",
    ),
    refused_keyword(
        "callbacks",
        "Optuna's callbacks are called in the driver with a study of Optuna's",
        "read BestRun.run_summary afterwards, or open `store` with Optuna while it runs",
    ),
)
