"""The functions of `tunefleet`: estimate and run an experiment, extend or open one, compare, show it, keep its model.

An experiment that was run is given by its outcome, or by its name, the path of its run folder, or s3://BUCKET/FOLDER/NAME.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError
from tuning import core_yaml
from tuning.argument_checks import check_experiment, check_positive, check_score, check_seed, shortened
from tuning.comparison import Comparison
from tuning.outcome import ExperimentOutcome
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from tuning.across import Across
    from tuning.estimate.types import ExperimentEstimate

STORAGE = "runs"  # where the run folders are, as for the command line


def run(
    spec: str | Path | Mapping[str, Any] | ExperimentSpec,
    overrides: str | Sequence[str] | Mapping[str, Any] = (),
    *,
    resume: bool = False,
    force: bool = False,
    take_over: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> ExperimentOutcome:
    """Run an experiment to its end, and return all that was recorded.

    Args:
        spec: a YAML file, the name of a preset, a dictionary as YAML would give it, or an `ExperimentSpec`.
        overrides: changes to it: `{"epochs": 2, "strategies.0.trials": 8}`, or texts such as `"epochs=2"`.
        resume: continue a run that was interrupted; what is finished is not run again.
        force: with `resume`, continue also with other versions of libraries or other code; both are recorded.
        take_over: of a run in a bucket, or in a PostgreSQL store, continue also if a driver of another machine, or of a
            copy, seems to be alive; it stops.
        fresh: begin anew where an experiment of this name was run before; all that is left of that one is removed.
        progress: show each study while it runs: a live table in a notebook or a terminal, else one line per report.

    Raises:
        SpecError: every mistake in the spec, before anything is started.
        RunFolderError: the experiment was run already (without `resume` and `fresh`), or was not (with `resume`).
        ClusterError: the cluster cannot be reached or cannot hold a trial.
    """
    from tuning.estimate.expectation import expectation
    from tuning.experiment import run_experiment

    loaded = load_spec(spec, overrides)
    if progress and not resume:
        print(f"{loaded.name}: {expectation(loaded)}", flush=True)
    return run_experiment(loaded, resume=resume, force=force, take_over=take_over, fresh=fresh, progress=progress)


def estimate(
    spec: str | Path | Mapping[str, Any] | ExperimentSpec,
    overrides: str | Sequence[str] | Mapping[str, Any] = (),
    *,
    slots: int | Sequence[int] = (),
    calibrate: bool = True,
    progress: bool = True,
) -> ExperimentEstimate:
    """Return what an experiment will take, before it takes it; `print` shows a table. Nothing is run but a calibration.

    Args:
        spec, overrides: as in `run`.
        slots: how many trials run at a time, one number or several; default: as many as the cluster of the spec holds.
        calibrate: train for about a minute on that cluster; False: use what is known of earlier runs.
        progress: print a line when something takes a while.

    Raises:
        SpecError: every mistake in the spec.
        InputError: `slots` is no number above 0; without a calibration, nothing is known.
        ClusterError: the cluster cannot be reached or cannot hold a trial.
    """
    from tuning.estimate.estimate import estimate_experiment

    loaded, numbers = load_spec(spec, overrides), [slots] if isinstance(slots, int) else list(slots)

    def say(line: str) -> None:
        print(f"{loaded.name}: {line}", flush=True)

    return estimate_experiment(loaded, slots=numbers, calibrate=calibrate, say=say if progress else lambda line: None)


def extend(
    experiment: str | Path,
    overrides: str | Sequence[str] | Mapping[str, Any],
    *,
    force: bool = False,
    take_over: bool = False,
    progress: bool = True,
    storage: str | Path = STORAGE,
) -> ExperimentOutcome:
    """Add seeds or strategies to an experiment that has run, run what is new, and return all that is recorded.

    Args:
        experiment: its name, its run folder, or its URI in a bucket.
        overrides: what is added: `{"seeds": [0, 1, 2, 3, 4]}`, or texts such as `"seeds=[0,1,2,3,4]"`.
        force, take_over, progress: as in `run`.
        storage: as in `load_outcome`.

    Raises:
        InputError: nothing is added, a seed or a strategy of before is left out, or something else would change.
        UnknownExperiment: there is no such experiment.
        RunFolderError: another process runs it, or its run folder cannot be gone on with.
        ClusterError: the cluster cannot be reached or cannot hold a trial.
    """
    from tuning.extension import extend_experiment

    return extend_experiment(
        experiment, overrides, storage=storage, force=force, take_over=take_over, progress=progress
    )


def experiments(storage: str | Path = STORAGE) -> list[str]:
    """The names of the experiments in `storage`, sorted.

    Raises:
        ClusterError: it is a bucket that cannot be read.
    """
    from tuning.run_folder.experiments import experiment_names

    return experiment_names(storage)


def load_outcome(
    experiment: str | Path, *, storage: str | Path = STORAGE, store: str | None = None
) -> ExperimentOutcome:
    """Load everything that was recorded of an experiment, finished or not.

    Args:
        experiment: its name, its run folder, or its URI in a bucket.
        storage: where the run folders are, for a name.
        store: the URL of the study store, where it is not the run folder's own.

    Raises:
        UnknownExperiment: there is no such experiment.
        StoreError: the store cannot be read.
    """
    outcome, _ = _recorded(experiment, storage, store)
    return outcome


def compare(
    experiment: ExperimentOutcome | str | Path,
    *,
    target: float | None = None,
    price: float | None = None,
    storage: str | Path = STORAGE,
    store: str | None = None,
) -> Comparison:
    """Compare the strategies: which was worth its cost; `print` shows the tables and the verdict.

    Args:
        experiment: an outcome, or an experiment's name, run folder or URI.
        target: a validation score; the comparison shows what it cost each strategy to reach it.
        price: of a device-hour; default: that of the experiment's budget.
        storage, store: as in `load_outcome`.

    Raises:
        InputError: `experiment` is neither, or holds no study.
        UnknownExperiment: there is no such experiment.
    """
    from tuning.budget import Price
    from tuning.comparison import compare as compared

    spec: Mapping[str, Any] | None = None
    if isinstance(experiment, ExperimentOutcome):
        outcome = experiment
    else:
        outcome, text = _recorded(experiment, storage, store)
        spec = _plain(text)
    if not outcome.studies:
        raise InputError("experiment", outcome.name, "holds no study: there is nothing to compare", "run it first")
    currency = next((study.price.currency for study in outcome.studies if study.price), "")
    per_hour = None if price is None else Price(check_positive("price", price), currency)
    return compared(
        outcome, spec=spec, target=None if target is None else check_score("target", target), price=per_hour
    )


def compare_across(
    experiments: Sequence[ExperimentOutcome | str | Path], *, storage: str | Path = STORAGE, store: str | None = None
) -> Across:
    """Compare the strategies over several experiments, each a task; `print` shows the tables and the verdict.

    Args:
        experiments: two or more, each an outcome, or a name, run folder or URI. An outcome does not know the
            `baseline` of its spec: a strategy of kind `defaults` is its baseline, if it has one.
        storage, store: as in `load_outcome`.

    Raises:
        InputError: they cannot be compared: see `tuning.across.compare_across`.
        UnknownExperiment: there is no such experiment.
    """
    from tuning.across import compare_across as compared

    if isinstance(experiments, str | Path | ExperimentOutcome):
        raise InputError("experiments", shortened(experiments), "is one, not a list of several", "give [one, another]")
    outcomes: list[ExperimentOutcome] = []
    specs: list[Mapping[str, Any] | None] = []
    for each in experiments:
        if isinstance(each, ExperimentOutcome):
            outcomes.append(each)
            specs.append(None)
        else:
            outcome, text = _recorded(each, storage, store)
            outcomes.append(outcome)
            specs.append(_plain(text))
    return compared(outcomes, specs=specs)


def report(
    experiment: str | Path,
    out: str | Path | None = None,
    *,
    target: float | None = None,
    storage: str | Path = STORAGE,
    store: str | None = None,
) -> Path:
    """Write an experiment as one HTML page that opens offline; returns the file.

    Args:
        experiment: its name, its run folder, or its URI in a bucket.
        out: default: EXPERIMENT.html in the working directory.
        target, storage, store: as in `compare`.

    Raises:
        InputError: the file cannot be written.
        UnknownExperiment: there is no such experiment.
    """
    from tuning.report.page.document import page_content, render_page

    outcome, spec_text = _recorded(experiment, storage, store)
    file = Path(out or f"{outcome.name}.html").expanduser()
    text = render_page(
        page_content(outcome, spec_text, target=None if target is None else check_score("target", target))
    )
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("out", str(file), f"cannot be written: {error.strerror}", "choose another place") from error
    return file


def train_final(
    experiment: ExperimentOutcome | str | Path,
    *,
    strategy: str | None = None,
    pick: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    force: bool = False,
    address: str | None = None,
    reveal_test: bool = False,
    storage: str | Path = STORAGE,
    store: str | None = None,
) -> Path:
    """Train the best configuration on the training and validation rows; returns the folder of the model.

    Args:
        experiment: its outcome, name, run folder or URI.
        strategy: of this strategy; default: the best of all, by validation.
        pick: the id of a trial, or ID@EPOCH, in place of the best; of several objectives one is picked from the front.
        seed: of the training; default: the first that confirmations use.
        out: the folder; default: NAME-model.
        force: replace a model that train_final has written there.
        address: of another Ray than the spec's.
        reveal_test: show its test score, and record the evaluation; a model that is there already is not trained again.
        storage, store: as in `load_outcome`.

    Raises:
        InputError: the folder is taken, no trial has a score yet, or model or data cannot be loaded any more.
        UnknownExperiment: there is no such experiment.
        ClusterError: the cluster cannot be reached.
    """
    from tuning.selection.keep_model import keep_model

    name = experiment.name if isinstance(experiment, ExperimentOutcome) else check_experiment(experiment)
    return keep_model(
        name,
        strategy=strategy,
        pick=pick,
        seed=None if seed is None else check_seed("seed", seed),
        out=out,
        force=force,
        address=address,
        reveal_test=reveal_test,
        storage=storage,
        store=store,
    )


def _recorded(experiment: str | Path, storage: str | Path, store_url: str | None) -> tuple[ExperimentOutcome, str]:
    """The outcome of an experiment, and its resolved spec as YAML."""
    from tuning.run_folder.experiments import load_experiment

    return load_experiment(check_experiment(experiment), storage, store_url)


def _plain(text: str) -> Mapping[str, Any]:
    return core_yaml.parse_recorded_spec(text)
