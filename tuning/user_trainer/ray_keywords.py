"""The keywords of backend="ray": those of `ray.tune.run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import InputError
from trainables.tunables import TUNABLES
from tuning.tune_compat.scheduler_settings import asha_settings, metric_and_mode_of, pbt_settings, points_of, sampler_of
from tuning.user_trainer.optuna_keywords import read_sampler
from tuning.user_trainer.search_options import (
    Keyword,
    SearchOptions,
    class_names,
    needless_keyword,
    refused_keyword,
    seconds,
    spec_keyword,
)


def _scheduler(options: SearchOptions, scheduler: Any) -> None:
    kinds = class_names(scheduler)
    if kinds[0] == "FIFOScheduler":
        return
    if "AsyncHyperBandScheduler" in kinds:
        _asha(options, scheduler)
    elif kinds[0] in ("PopulationBasedTraining", "PB2"):
        _pbt(options, scheduler, modelled=kinds[0] == "PB2")
    else:
        rule = "no strategy here schedules as it does"
        step = "give ASHAScheduler, PopulationBasedTraining or PB2, or leave it out"
        raise InputError("scheduler", kinds[0], rule, step)
    options.name_objective(*metric_and_mode_of(scheduler), "scheduler.metric")


def _asha(options: SearchOptions, scheduler: Any) -> None:
    given = asha_settings(scheduler)
    if given.brackets > 1:
        step = f"leave them at 1, or write strategies={{'kind': 'custom', 'brackets': {given.brackets}}}"
        raise InputError("scheduler.brackets", given.brackets, "the strategies that it becomes have one", step)
    grace = options.epochs_of(given.first_rung, given.time_attr, "scheduler")
    if grace < options.epochs:
        grace = options.at_evaluation(given.first_rung, given.time_attr, "scheduler", "grace_period")
    most = options.epochs_of(given.max_t, given.time_attr, "scheduler")
    if most < options.epochs:
        rule = f"ends trials after {most:g} epochs, and their learning rates are planned for {options.epochs:g}"
        raise InputError("scheduler.max_t", given.max_t, rule, "set num_train_epochs, or leave max_t out")
    options.decided_by = "scheduler"
    options.written |= {f"strategies.0.{ours}": f"scheduler.{theirs}" for ours, theirs in _ASHA_KEYS.items()}
    options.asha = {"grace_epochs": min(grace, options.epochs), "reduction_factor": given.reduction_factor}


def _pbt(options: SearchOptions, scheduler: Any, *, modelled: bool) -> None:
    given = pbt_settings(scheduler)
    mutations, keyword = given.hyperparam_mutations, "hyperparam_bounds" if modelled else "hyperparam_mutations"
    if given.custom_explore_fn is not None:
        rule = "values move by the space's own rules here"
        raise InputError("scheduler.custom_explore_fn", "a function", rule, "leave it out, and give ranges or choices")
    if given.burn_in_period:
        rule = "the first generation ends after perturbation_interval"
        raise InputError("scheduler.burn_in_period", given.burn_in_period, rule, "leave it out")
    _require_movable(mutations, keyword)
    interval = options.at_evaluation(given.perturbation_interval, given.time_attr, "scheduler", "perturbation_interval")
    if options.report_every_epochs < options.epochs <= interval:
        unit = "evaluations" if given.time_attr == "training_iteration" else "epochs"
        rule = f"comes at epoch {interval:g}, and trials end at {options.epochs:g}, so nothing would ever be perturbed"
        step = f"give a number of {unit} that a trial has, such as perturbation_interval=1"
        raise InputError("scheduler.perturbation_interval", given.perturbation_interval, rule, step)
    options.decided_by = "scheduler"
    options.written |= {f"strategies.0.{ours}": f"scheduler.{theirs}" for ours, theirs in _PBT_KEYS.items()}
    options.mutations = {name: _range_of(name, one) if modelled else one for name, one in mutations.items()}
    perturbing = {"resample_probability": given.resample_probability, "factors": sorted(given.perturbation_factors)}
    options.pbt = {
        "kind": "pb2" if modelled else "pbt",
        "perturb_every_epochs": interval,
        "quantile": given.quantile_fraction,
        "synchronous": bool(given.synch),
        **({} if modelled else perturbing),
    }


def _require_movable(mutations: Mapping[str, Any], keyword: str) -> None:
    """Require that each name can change in the middle of a trial, and has bounds or choices.

    Raises:
        InputError: one does not; `keyword` is the scheduler's argument that names it.
    """
    for name, domain in mutations.items():
        if (known := TUNABLES.get(name)) is not None and not known.in_flight:
            step = f"take it out of {keyword}; returned from hp_space it is drawn once for each member"
            rule = f"cannot change in the middle of a trial: {known.why_not_in_flight}"
            raise InputError(f"scheduler.{keyword}.{name}", str(domain), rule, step)
        if callable(domain) or isinstance(domain, Mapping):
            rule = "a function has no bounds to keep to" if callable(domain) else "nested names are not searched"
            step = "give a Ray domain such as tune.uniform(low, high), or a list of choices"
            raise InputError(f"scheduler.{keyword}.{name}", type(domain).__name__, rule, step)


def _range_of(name: str, bounds: Sequence[float]) -> Any:
    """The two bounds that PB2 is given, as a domain of Ray's; of whole numbers where the hyperparameter is one."""
    from ray import tune

    low, high = bounds
    known = TUNABLES.get(name)
    return tune.randint(low, high + 1) if known is not None and known.kind == "int" else tune.uniform(low, high)


_ASHA_KEYS = {"grace_epochs": "grace_period", "reduction_factor": "reduction_factor"}
_PBT_KEYS = {
    "perturb_every_epochs": "perturbation_interval",
    "quantile": "quantile_fraction",
    "synchronous": "synch",
    "resample_probability": "resample_probability",
    "factors": "perturbation_factors",
}


def _search_alg(options: SearchOptions, searcher: Any) -> None:
    kinds = class_names(searcher)
    if kinds[0] == "ConcurrencyLimiter":
        options.spec["cluster.max_concurrent"] = searcher.max_concurrent
        options.written["cluster.max_concurrent"] = "search_alg.max_concurrent"
        _search_alg(options, searcher.searcher)
    elif kinds[0] in ("HyperOptSearch", "OptunaSearch"):
        options.searcher = "hyperopt" if kinds[0] == "HyperOptSearch" else "optuna"
        if kinds[0] == "OptunaSearch" and (sampler := sampler_of(searcher)) is not None:
            read_sampler(options, sampler)
        options.name_objective(searcher.metric, searcher.mode, "search_alg.metric")
    elif kinds[0] == "BasicVariantGenerator":
        options.searcher = "random"
    else:
        rule, step = (
            "no strategy here proposes as it does",
            "give HyperOptSearch or OptunaSearch, or leave it out",
        )
        raise InputError("search_alg", kinds[0], rule, step)
    if kinds[0] != "ConcurrencyLimiter":
        _points(options, searcher)


def _points(options: SearchOptions, searcher: Any) -> None:
    points = points_of(searcher)
    if points is None:
        rule = "a searcher with a space of its own has made its own records of them, which nobody can read"
        raise InputError(
            "search_alg.points_to_evaluate", "set", rule, "leave the searcher's space out: hp_space declares it"
        )
    if points:
        options.spec["points"] = points
        options.written["points"] = "search_alg.points_to_evaluate"


def _resources(options: SearchOptions, resources: Any) -> None:
    if not isinstance(resources, Mapping) or not set(map(str.lower, resources)) <= {"cpu", "gpu"}:
        rule, step = "a trial holds CPU cores and GPUs of one node", "write {'cpu': 2, 'gpu': 1}"
        raise InputError("resources_per_trial", str(resources), rule, step)
    for name, count in resources.items():
        key = "cpus_per_trial" if name.lower() == "cpu" else "gpus_per_trial"
        if name.lower() == "gpu" or count:
            options.spec[f"cluster.{key}"] = float(count)
            options.written[f"cluster.{key}"] = f"resources_per_trial.{name}"


def _trials(options: SearchOptions, count: int) -> None:
    options.trials = count
    options.written["trials"] = "num_samples"


def _metric(options: SearchOptions, metric: str) -> None:
    mode = options.objective.mode if options.objective and options.objective.by == "mode" else None
    options.name_objective(metric, mode, "metric")


def _mode(options: SearchOptions, mode: str) -> None:
    metric = options.objective.metric if options.objective else None
    options.name_objective(metric, mode, "mode")


def _resume(options: SearchOptions, value: Any) -> None:
    options.resume = bool(value)


def _verbose(options: SearchOptions, level: Any) -> None:
    options.progress = bool(level)


_KEEPING = ("checkpoint.keep_best", lambda config: config.num_to_keep)
_OURS = "files and names of a run are tunefleet's own"
RAY: tuple[Keyword, ...] = (
    Keyword(
        "scheduler",
        "ASHAScheduler: `random_asha`, with HyperOptSearch `hyperopt_asha`, with OptunaSearch `optuna` with "
        "`pruner: asha`; PopulationBasedTraining: `pbt` over its hyperparam_mutations, PB2: `pb2` over its "
        "hyperparam_bounds, each synchronous only with `synch`; FIFOScheduler: none; others are refused",
        _scheduler,
    ),
    Keyword(
        "search_alg",
        "HyperOptSearch: `hyperopt`; OptunaSearch: `optuna` with its sampler; BasicVariantGenerator: `random`; others "
        "are refused; their points_to_evaluate: `points`",
        _search_alg,
    ),
    Keyword("resources_per_trial", "`cluster.cpus_per_trial` and `cluster.gpus_per_trial`", _resources),
    Keyword("num_samples", "the number of trials, as n_trials", _trials),
    spec_keyword("time_budget_s", "`budget: {wall_seconds: ...}`", "budget.wall_seconds", seconds),
    spec_keyword("name", "`name`, of the experiment and its run folder", "name"),
    spec_keyword("storage_path", "`storage`: where run folders are", "cluster.storage", str),
    spec_keyword("local_dir", "`storage`: where run folders are", "cluster.storage", str),
    spec_keyword("keep_checkpoints_num", "`checkpoint.keep_best`", "checkpoint.keep_best"),
    spec_keyword(
        "checkpoint_config", "its num_to_keep: `checkpoint.keep_best`; the best by the objective stay", *_KEEPING
    ),
    spec_keyword("max_failures", "`max_failures`", "max_failures"),
    spec_keyword(
        "max_concurrent_trials", "`cluster.max_concurrent`", "cluster.max_concurrent", lambda count: count or None
    ),
    Keyword("metric", "the objective, where compute_objective gives none", _metric),
    Keyword("mode", "whether more or less of the metric is better", _mode),
    Keyword("resume", '`resume`; "AUTO": where there is an experiment of that name', _resume),
    Keyword("verbose", "0: without `progress`", _verbose),
    needless_keyword(
        "progress_reporter", "nothing: a live table in a terminal or a notebook, else a line per evaluation"
    ),
    needless_keyword("log_to_file", "nothing: what a trial prints and raises is in its folder"),
    needless_keyword("reuse_actors", "nothing: a slot keeps its process from trial to trial"),
    needless_keyword("raise_on_failed_trial", "nothing: a failed trial is recorded, and the search goes on"),
    needless_keyword("checkpoint_score_attr", "nothing: the best checkpoints by the objective stay"),
    needless_keyword("checkpoint_freq", "nothing: a state is kept at each evaluation as long as it may be needed"),
    needless_keyword("checkpoint_at_end", "nothing: the best checkpoints by the objective stay"),
    refused_keyword(
        "stop", "trials end where their arguments end them", "set num_train_epochs or max_steps, or give a budget"
    ),
    refused_keyword("config", "what is searched is hp_space", "return these values from hp_space"),
    refused_keyword(
        "callbacks", "they would be called inside another controller", "read BestRun.run_summary, or `tunefleet export`"
    ),
    refused_keyword(
        "fail_fast", "one failed trial proves little", "leave it out: three first trials that fail alike end the search"
    ),
    refused_keyword("storage_filesystem", "a bucket is opened by its URI", "write storage='s3://BUCKET/FOLDER'"),
    refused_keyword("sync_config", "nothing is synchronised: the storage is one folder or bucket", "leave it out"),
    refused_keyword("trial_name_creator", _OURS, "leave it out: trials have numbers"),
    refused_keyword("trial_dirname_creator", _OURS, "leave it out"),
    refused_keyword(
        "chdir_to_trial_dir", "a slot serves many trials and keeps its working directory", "use absolute paths"
    ),
    refused_keyword("export_formats", "the best model is in the Trainer afterwards", "call trainer.save_model()"),
    refused_keyword("restore", "a run is resumed as a whole", "write name=... and resume=True"),
    refused_keyword("resume_config", "a resume goes on with what is unfinished", "write resume=True"),
    refused_keyword("run_or_experiment", "what is run is the Trainer", "leave it out"),
    refused_keyword("_remote", "it is Ray's own", "leave it out"),
    refused_keyword("_remote_string_queue", "it is Ray's own", "leave it out"),
    refused_keyword("_entrypoint", "it is Ray's own", "leave it out"),
)
