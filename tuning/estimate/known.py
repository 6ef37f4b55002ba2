"""Finds the costs of a training without a calibration: in estimates of this account here, and in earlier runs.

    CACHE/estimates/EXPERIMENT.json    the newest estimate of each experiment, with the costs that it rests on

Earlier runs are those below `cluster.storage` that trained the same model on the same data; their stores have the
seconds of each report. Where both are known the runs count, since they were whole trainings; what only a calibration
measures (memory, the start of Ray) is taken from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cluster.storage import is_uri
from trainables.calibration import TrialPace
from trainables.data.cache_folder import cache_folder, private_folder
from trainables.errors import InputError
from trainables.machine.disk import write_whole
from trainables.spec import Params, Value
from tuning.core_yaml import parse_recorded_spec
from tuning.estimate.costs import FORMULA, TrainingCosts
from tuning.estimate.extremes import decides_cost
from tuning.estimate.types import SCHEMA_VERSION, ExperimentEstimate
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome
from tuning.spec.mistakes import SpecError
from tuning.spec.models import SPEC_FILE, ExperimentSpec
from tuning.spec.store_url import StoreError

FOLDER = "estimates"
# The fields of a spec on which the seconds of a trial depend.
DECIDING = (
    *("trainable", "task", "model", "revision", "eval_batch_size", "pad_to_multiple_of", "compile", "group_by_length"),
    *("precision", "deterministic", "report_every_epochs", "hp_space"),
)
NOT_IN_DATA = ("seed", "split_seed")
NEWEST = 20  # run folders that are looked into
RAY_SECONDS, DATA_SECONDS, START_SECONDS = 8.0, 2.0, 2.0  # of a local Ray on a usual machine, where nobody measured
ONE_SAMPLE = 0.2  # the spread, where a single report shows a pace
EVALUATION = 1 / 3  # of the seconds that a row takes in training: a forward pass without the backward one


class Known(NamedTuple):
    """An estimate that was made before, with what it rests on."""

    estimate: ExperimentEstimate
    costs: TrainingCosts
    made: float  # seconds since 1970 (UTC)
    experiment: str  # `experiment_key`
    training: str  # `training_key`


def training_key(plain: Mapping[str, Any]) -> str:
    """Return a digest of what decides the seconds of a trial, from a spec as YAML has it."""
    own = plain.get("trainable", "finetune") not in ("finetune", FORMULA)
    fixed = plain.get("fixed") or {}
    sizes = {name: value for name, value in fixed.items() if own or name.startswith(("model.", "data.")) or name in ALL}
    data = {name: value for name, value in (plain.get("data") or {}).items() if name not in NOT_IN_DATA}
    cluster = plain.get("cluster") or {}
    held = {name: cluster.get(name) for name in ("cpus_per_trial", "gpus_per_trial")}
    return _digest([{name: plain.get(name) for name in DECIDING}, sizes, data, held])


ALL = ("per_device_train_batch_size", "gradient_accumulation_steps", "optim")


def experiment_key(spec: ExperimentSpec) -> str:
    """Return a digest of what decides what an experiment takes."""
    cluster = spec.cluster.model_dump(mode="json", include={"address", "max_concurrent"})
    return _digest([spec.digest(), training_key(spec.plain()), cluster, spec.budget.model_dump(mode="json")])


def save_estimate(spec: ExperimentSpec, estimate: ExperimentEstimate, costs: TrainingCosts) -> None:
    """Keep an estimate in the cache of this account, so that a run can tell it at its start.

    Raises:
        CacheError: the cache's folder cannot be used.
    """
    keys = {"experiment": experiment_key(spec), "training": training_key(spec.plain())}
    plain = {"estimate": estimate.to_json(), "costs": costs.to_json(), "made": time.time(), **keys}
    folder = private_folder(cache_folder(), FOLDER)
    write_whole(folder / f"{keys['experiment']}.json", json.dumps(plain).encode())


def saved_estimate(spec: ExperimentSpec) -> Known | None:
    """Return the newest estimate of this experiment; None without one."""
    key = experiment_key(spec)
    return next((one for one in _saved() if one.experiment == key), None)


def known_costs(spec: ExperimentSpec) -> TrainingCosts | None:
    """Return what trials of this experiment cost, without a measurement; None if nothing is known."""
    if spec.trainable == FORMULA:
        return formula_costs(spec)
    training = training_key(spec.plain())
    measured = next((one.costs for one in _saved() if one.training == training), None)
    recorded = recorded_costs(spec)
    if recorded is None or measured is None:
        return recorded or measured
    kept = {name: getattr(measured.heaviest, name) for name in ("memory", "shared", "device_memory", "save", "first")}
    lightest, heaviest = (pace._replace(**kept) for pace in (recorded.lightest, recorded.heaviest))
    times = {name: getattr(measured, name) for name in ("ray", "data", "start", "assumed")}
    return replace(recorded, lightest=lightest, heaviest=heaviest, **times)


def formula_costs(spec: ExperimentSpec) -> TrainingCosts:
    """Return the costs of `learning_curve`, which its own parameter tells."""
    seconds = spec.fixed.get("model.seconds_per_epoch") or 0.0
    pace = TrialPace({}, 0.0, float(seconds), 0.0, 0.0, 0.0, 0.0, None, None, None, 0, 0, 0, "", "")
    source = "model.seconds_per_epoch, as a formula takes it"
    return TrainingCosts(pace, pace, source, 0, RAY_SECONDS, 0.0, START_SECONDS, "the start of Ray and its processes")


def recorded_costs(spec: ExperimentSpec) -> TrainingCosts | None:
    """Return what trials of the newest earlier run of the same training took; None without one."""
    from tuning.run_folder.experiments import load_experiment

    storage, training = spec.cluster.storage, training_key(spec.plain())
    if is_uri(storage):
        return None  # a bucket would keep a run waiting
    found = Path(storage).expanduser().glob(f"*/{SPEC_FILE}")
    for file in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:NEWEST]:
        with contextlib.suppress(
            OSError, SpecError, StoreError, InputError, ValueError
        ):  # no use, and another's to mend
            if training_key(parse_recorded_spec(file.read_text())) == training:
                outcome, _ = load_experiment(file.parent.name, storage)
                if (costs := costs_of(outcome, spec)) is not None:
                    return costs
    return None


def costs_of(outcome: ExperimentOutcome, spec: ExperimentSpec) -> TrainingCosts | None:
    """Return what the trials of a recorded experiment took; None if too little is recorded.

    A report has the seconds since the one before it: of training, and of an evaluation. A trial's first report has
    those of its start, too.
    """
    by_sizes: dict[str, list[_Sample]] = defaultdict(list)
    for study in outcome.studies:
        for trial in study.trials:
            for sample in _samples(study, trial):
                sizes = {name: value for name, value in sample.params.items() if decides_cost(spec, name)}
                by_sizes[json.dumps(sizes, sort_keys=True, default=str)].append(sample._replace(params=sizes))
    if not by_sizes:
        return None
    study = outcome.studies[0]
    paces = sorted((_pace(samples, study) for samples in by_sizes.values()), key=lambda pace: pace.epoch)
    slots = max(study.slots for study in outcome.studies)
    source = f"the run {outcome.name}, {slots} at a time"
    assumed = "the start of Ray and its processes"
    times = (RAY_SECONDS, DATA_SECONDS, START_SECONDS)
    return TrainingCosts(paces[0], paces[-1], source, slots, *times, assumed)


class _Sample(NamedTuple):
    params: Params
    epochs: float
    seconds: float
    first: bool  # the report is a trial's first one


def _samples(study: StudyOutcome, trial: TrialOutcome) -> Iterator[_Sample]:
    """Yield what each report of a trial shows; those after an exploit, which begin elsewhere, are left out."""
    exploited = {exploit.reports for exploit in trial.lineage}
    position = 0.0
    for number, report in enumerate(trial.reports):
        seconds = report.device_seconds / study.devices_per_trial if study.devices_per_trial else 0.0
        if number not in exploited and report.epoch > position and seconds > 0:
            yield _Sample(report.params, report.epoch - position, seconds, number == 0)
        position = report.epoch


def _pace(samples: list[_Sample], study: StudyOutcome) -> TrialPace:
    facts = study.attributes
    train, validation = _count(facts.get("train_rows")), _count(facts.get("validation_rows"))
    share = EVALUATION * validation / train if train and validation else 0.0  # of an epoch, that an evaluation takes
    later = [sample for sample in samples if not sample.first]
    epochs = [sample.seconds / (sample.epochs + share) for sample in later or samples]
    epoch = statistics.median(epochs)
    firsts = [sample.seconds - (sample.epochs + share) * epoch for sample in samples if sample.first and later]
    return TrialPace(
        params=samples[0].params,
        build=max(0.0, statistics.median(firsts)) if firsts else 0.0,
        epoch=epoch,
        evaluation=share * epoch,
        save=0.0,
        first=0.0,
        spread=statistics.stdev(epochs) / epoch / len(epochs) ** 0.5 if len(epochs) > 1 else ONE_SAMPLE,
        train_rows=train,
        validation_rows=validation,
        test_rows=_count(facts.get("test_rows")),
        memory=0,
        shared=0,
        device_memory=0,
        device=str(facts.get("device_name", "")),
        precision=str(facts.get("precision", "")),
    )


def _count(value: Value) -> int | None:
    return None if value is None else int(str(value))


def _saved() -> Iterator[Known]:
    """Yield the estimates in the cache, the newest first; a damaged one, or one of another version, is none."""
    with contextlib.suppress(InputError, OSError):
        files = sorted((cache_folder() / FOLDER).glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for file in files:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                plain = json.loads(file.read_text())
                if plain["estimate"]["schema_version"] != SCHEMA_VERSION:
                    continue
                estimate = ExperimentEstimate.from_json(plain["estimate"])
                costs = TrainingCosts.from_json(plain["costs"])
                yield Known(estimate, costs, plain["made"], plain["experiment"], plain["training"])


def _digest(plain: object) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
