"""`hyperparameter_search`: the arguments of `Trainer.hyperparameter_search`, run as an experiment of tunefleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError
from trainables.user_trainer.rebuilt import RebuiltTrainer
from tuning.user_trainer.in_flight import require_perturbable
from tuning.user_trainer.prepared_search import prepare_search
from tuning.user_trainer.request import BACKENDS, SearchRequest

if TYPE_CHECKING:
    from transformers import Trainer


def hyperparameter_search(
    trainer: Trainer | Callable[[dict[str, Any]], Trainer] | str,
    hp_space: Any = None,
    compute_objective: Callable[[dict[str, float]], Any] | None = None,
    n_trials: int | None = 20,
    direction: str | Sequence[str] | None = None,
    backend: str | None = None,
    *,
    objective: Any = None,
    strategies: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None = None,
    seeds: Sequence[int] | None = None,
    budget: Mapping[str, Any] | None = None,
    epochs: float | None = None,
    report_every_epochs: float | None = None,
    test_dataset: Any = None,
    in_flight: str | Sequence[str] = (),
    resume: bool | str = False,
    fresh: bool = False,
    cluster: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: bool = True,
    **keywords: Any,
) -> Any:
    """Search the hyperparameters of a Trainer.

    Each trial builds a Trainer of its own with its values in force from the beginning, trains it in a slot, is
    evaluated as its arguments say, and may be stopped or cloned by the strategy. Afterwards a Trainer that was given
    has the best weights and the best values: `trainer.evaluate()` gives the objective, `trainer.save_model()` saves
    that model.

    Args:
        trainer: a Trainer with a `model_init`; or a factory `make_trainer(params) -> Trainer`, or its name
            `package.module:make_trainer`.
        hp_space: a function of a trial (`suggest_*`), or one that returns Ray domains or a W&B sweep, or such a
            mapping; default: that of transformers.
        compute_objective: a function of the metrics of an evaluation, with their prefix; default: the loss. For several
            directions it returns as many numbers.
        n_trials: the number of trials; under PBT that of the members; None: until the budget is spent.
        direction: "minimize" (default) or "maximize"; a list of them for several objectives.
        backend: "optuna", "ray" or "wandb": whose `keywords` are accepted, and what `model_init` gets without an
            hp_space.
        objective: a metric by its name, with or without `eval_`, in place of `compute_objective`; or
            {"metric": "accuracy", "mode": "max"}; or a list of such, also of latency_ms, parameters, model_bytes and
            train_device_seconds.
        strategies: one or several: "hyperopt", "hyperopt_asha", "optuna", "custom", "pbt", "pb2", "random",
            "random_asha", "grid", "defaults" (one trial of the Trainer as it is), or mappings as in a spec; default:
            `hyperopt`, and `optuna` where names of the space depend on values; for several objectives `random_moasha`.
        seeds: of the search; every strategy runs once per seed.
        budget: what each strategy may cost, as in a spec: {"device_hours": 2}.
        epochs, report_every_epochs: of a factory's Trainers: their length, and the distance of evaluations.
        test_dataset: the best model is scored on it, once, at the end.
        in_flight: name or names of your own that PBT may change in the middle of a trial.
        resume: continue the experiment of that name, with the objects that it began with; "AUTO": begin it where
            there is none.
        fresh: begin anew where there is one of that name.
        cluster, overrides: other parts of the spec: {"gpus_per_trial": 1}; {"wandb.project": "mine"}.
        progress: show the search while it runs.
        keywords: `storage`, a folder that every node reaches or a bucket, for run folders and data sets; `name`, of
            the experiment, by default search-DATE-TIME; and those of the three backends: the table in
            tuning/user_trainer/README.md.

    Returns:
        A `BestRun`, the best evaluation of all: number of the trial, objective, the values that were in force, and
        `run_summary` with outcome, study, trials, schedule, checkpoint and report. Of several objectives a list of
        them, one for each configuration on the front; a Trainer that was given then stays as it is.

    Raises:
        InputError, SpecError: every mistake that can be found before a trial starts.
        RunFolderError: there is an experiment of that name (without `resume` and `fresh`).
        ClusterError: the cluster cannot be reached or cannot hold a trial.
    """
    from tuning.experiment import run_experiment
    from tuning.store.named_study import NamedStudy
    from tuning.user_trainer.best import best_run, front_runs

    backend = None if backend is None else str(getattr(backend, "value", backend))
    if backend not in (*BACKENDS, None):
        raise InputError("backend", backend, f"must be one of {', '.join(BACKENDS)}", "or leave it out")
    request = SearchRequest(
        trainer=trainer,
        hp_space=hp_space,
        compute_objective=compute_objective,
        n_trials=n_trials,
        direction=direction,
        backend=backend,
        objective=objective,
        strategies=strategies,
        seeds=seeds,
        budget=budget,
        epochs=epochs,
        report_every_epochs=report_every_epochs,
        test_dataset=test_dataset,
        in_flight=in_flight,
        resume=resume,
        cluster=cluster,
        overrides=overrides,
        progress=progress,
        keywords=keywords,
    )
    prepared = prepare_search(request)
    given = trainer if isinstance(prepared.factory, RebuiltTrainer) else None
    if given is not None:
        require_perturbable(given, prepared.spec)
    named = None
    if keywords.get("study_name") is not None and keywords.get("storage") is not None and prepared.spec.store:
        named = NamedStudy(prepared.spec.store, str(keywords["study_name"]))
        if prepared.spec.objective is None:
            step = "leave storage out; what is recorded stands in the run folder's own database"
            raise InputError("study_name", named.name, "no front is copied into a study of one's own", step)
        may_exist = prepared.resume or bool(keywords.get("load_if_exists"))
        named.check(prepared.spec.objective.mode, may_exist=may_exist)
    outcome = run_experiment(prepared.spec, progress=prepared.progress, resume=prepared.resume, fresh=fresh)
    if named is not None:
        named.add(outcome, source=named.url)
    return best_run(outcome, prepared, given) if prepared.spec.goal is None else front_runs(outcome, prepared)
