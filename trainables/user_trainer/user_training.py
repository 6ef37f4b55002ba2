"""One trial of a user's own Trainer, as a `Training`.

The factory is called with the trial's values, so every argument of the Trainer is in force by construction. Its one
`train()` is paused at each evaluation (`paused_training`), and everything that the Trainer does runs on one thread
(`trial_thread`).
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import Trainer, set_seed
from transformers.trainer_utils import has_length
from transformers.utils import logging as transformers_logging

from trainables.distributed.replicas import Replicas
from trainables.epochs import horizon_of, next_position
from trainables.finetune.arguments import as_int
from trainables.finetune.garbage import freeze_what_is_imported
from trainables.machine.devices import training_device
from trainables.metrics import LATENCY
from trainables.models.size import model_size
from trainables.progress import mark_progress
from trainables.reporting import NonFiniteScore
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores
from trainables.user_trainer import custom_optimizer, ddp, in_force, reuse_check, rules, state
from trainables.user_trainer.construction import configure_accelerate, trainer_construction
from trainables.user_trainer.evaluation_metrics import EVAL, TEST, computed_objectives, metrics_of
from trainables.user_trainer.hp_space import ResolvedParams, suggested_params
from trainables.user_trainer.isolated_evaluation import undisturbed
from trainables.user_trainer.latency import trainer_latency
from trainables.user_trainer.paused_training import Evaluated, PausedTraining
from trainables.user_trainer.scratch import Scratch
from trainables.user_trainer.trial_thread import TrialThread

Factory = Callable[[dict[str, Any]], Trainer]


class UserTraining:
    """A user's Trainer as a `Training`. On a CPU equal params, spec and data give equal numbers, bit for bit.

    Args:
        factory: builds a Trainer from a trial's values, not yet trained.
        params: the values that the factory gets; with an `hp_space`, what that returns (`lookup.build_training`).
        spec: its epochs, seeds and objective.

    Raises:
        InputError: the Trainer cannot be used as a trial.
        DeviceError: the GPU of this process cannot be used.
        Exception: what the factory raised.
    """

    def __init__(self, factory: Factory, params: Params, spec: FineTuneSpec) -> None:
        self.params, self.spec = dict(params), spec
        self.horizon = horizon_of(params, spec)
        self.epoch = 0.0  # of the last report
        self.provenance: Mapping[str, Value] = {}
        self._scratch = Scratch()
        self._thread = TrialThread("trainer")
        self._held: list[PausedTraining] = []
        weakref.finalize(self, _end, self._thread, self._held, self._scratch, torch.get_default_dtype()).atexit = False
        self._weights_only = False
        self._live: PausedTraining = self._thread.call(
            functools.partial(_build, factory, params, spec, self.horizon, self._thread, self._scratch.folder)
        )
        self._held.append(self._live)
        self.provenance = in_force.provenance(self._live.trainer)

    @property
    def trainer(self) -> Trainer:
        """The live Trainer; use it only while no method of this object runs."""
        return self._live.trainer

    def advance(self, epochs: float) -> Evaluation:
        """Trains for `epochs`, at most to the horizon or until a callback stops the training, and evaluates.

        Raises:
            NonFiniteScore: the loss of a step was NaN or infinite.
            FileNotFoundError: it was restored with weights only.
            Exception: what the user's code raised.
        """
        if self._weights_only:
            raise FileNotFoundError("restored without moments: it can be scored, not trained on")
        live = self._live
        live.target = target = next_position(self.epoch, epochs, self.horizon)
        if live.running and live.is_due:  # `epochs` is less than half an optimizer step
            self.epoch = target
            return Evaluation(target, self.score("validation").metrics, self.in_force())
        came: Evaluated = self._thread.go_on() if live.running else self._thread.call(live.run)
        self.epoch = target if came.reached_target else round(came.trained, 9)
        if came.finished:
            self.horizon = self.epoch
        if not math.isfinite(came.loss):
            raise NonFiniteScore.of("training loss", came.loss, self.epoch, self.in_force())
        return Evaluation(self.epoch, self._metrics(came.metrics, EVAL), self.in_force())

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Evaluates without an effect on the training. The test split is `trainer.test_dataset`.

        Returns:
            The scores; no metrics if there is no such data set.
        """
        rows = self.trainer.eval_dataset if split == "validation" else getattr(self.trainer, "test_dataset", None)
        if rows is None:
            return Scores({}, 0)
        prefix = EVAL if split == "validation" else TEST
        evaluated = self._thread.call(functools.partial(_evaluate, self._live, rows, prefix))
        sets = rows.values() if isinstance(rows, dict) else (rows,)
        return Scores(self._metrics(evaluated, prefix), sum(len(one) for one in sets if has_length(one)))

    def model_costs(self, names: Collection[str], seconds: float) -> dict[str, float]:
        """Measures what the model costs; see `trainables.training.MeasurableTraining`.

        Raises:
            InputError: the latency is wanted, and there are no validation rows.
        """
        costs: dict[str, float] = self._thread.call(functools.partial(_model_costs, self._live, names, seconds))
        return costs

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Writes weights and position and, unless `weights_only`, all that a continued training needs."""
        position = state.TrainerPosition(self.epoch, self._live.trained, self.params)
        self._thread.call(functools.partial(_save, self._live, folder, position, weights_only))

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Restores weights, optimizer state, random state and position; the trial keeps its own hyperparameters.

        Raises:
            InputError: a value differs that cannot change during a training of this Trainer.
        """
        position = state.TrainerPosition.read(folder)
        self._live.changed = set() if weights_only else position.changed(self.params)
        if refused := rules.refusals(self.trainer, self._live.changed):
            raise refused[0]
        self._thread.call(functools.partial(_restore, self._live, folder, position, weights_only))
        self.epoch, self._weights_only = position.epoch, weights_only

    def save_model(self, folder: Path) -> None:
        """Writes the model into the existing `folder` with `Trainer.save_model`."""
        self._thread.call(lambda: self.trainer.save_model(str(folder)))

    def in_force(self) -> dict[str, Value]:
        """The trial's values read off its live objects, under the names of its params."""
        return in_force.values(self.trainer, self.params)

    def _metrics(self, evaluated: Mapping[str, Any], prefix: str) -> dict[str, float]:
        sets = self.trainer.eval_dataset if isinstance(self.trainer.eval_dataset, dict) else ()
        metrics = metrics_of(evaluated, prefix, sets, self.spec.required_metrics)
        if (compute := getattr(self.trainer, "compute_objective", None)) is not None:
            metrics |= computed_objectives(compute, evaluated, prefix)
        return metrics


# These functions run on the trial's thread.


def _build(
    factory: Factory, params: Params, spec: FineTuneSpec, horizon: float, thread: TrialThread, scratch: Path
) -> PausedTraining:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    training_device()  # an error if it has a GPU that cannot be used: the Trainer would take the CPU
    freeze_what_is_imported()
    set_seed(spec.training_seeds.head)
    configure_accelerate(Replicas.here())
    with trainer_construction(params, spec, scratch) as built:
        values = {name: _exact(name, value, spec) for name, value in params.items()}
        trainer = factory(ResolvedParams(values, suggested_params(params)))
    mark_progress()
    rules.require_usable(trainer)
    reuse_check.require_fresh(trainer)
    ddp.require_distributed(trainer)
    rules.apply_rules(trainer, params, spec, horizon, scratch)
    custom_optimizer.call_custom_optimizer(trainer)
    return PausedTraining(trainer, thread, horizon, next((one for one in built if one.model is trainer.model), None))


def _exact(name: str, value: Value, spec: FineTuneSpec) -> Value:
    """Converts the value of an integer tunable to int, because searchers may propose 16.0."""
    known = spec.tunable(name)
    return as_int(value) if known is not None and known.kind == "int" else value


def _evaluate(live: PausedTraining, rows: Any, prefix: str) -> dict[str, Any]:
    trainer = live.trainer
    with undisturbed(trainer, live.callback):
        scores = trainer.evaluate(rows, metric_key_prefix=prefix) if prefix == TEST else trainer.evaluate()
    return dict(scores)


def _model_costs(live: PausedTraining, names: Collection[str], seconds: float) -> dict[str, float]:
    costs = model_size(live.trainer.model, names)
    if LATENCY in names:
        with undisturbed(live.trainer, live.callback):
            costs[LATENCY] = trainer_latency(live.trainer, seconds)
    return costs


def _save(live: PausedTraining, folder: Path, position: state.TrainerPosition, weights_only: bool) -> None:
    kept = None if weights_only else live.moments_now()  # gathers from all processes
    if live.replicas.rank:
        return
    state.save_trained_weights(folder, live.trainer)
    position.write(folder)
    if kept is not None:
        state.save_moments(folder, kept)


def _restore(live: PausedTraining, folder: Path, position: state.TrainerPosition, weights_only: bool) -> None:
    with state.explain_mismatch(live.changed):
        state.load_trained_weights(folder, live.trainer)
    live.trained = live.begun = position.trained
    if not weights_only:
        live.moments = state.load_moments(folder)
        live.trainer.args.eval_on_start = False  # it continues


def _end(thread: TrialThread, held: list[PausedTraining], scratch: Scratch, dtype: torch.dtype) -> None:
    """Ends a training that is garbage-collected: unwinds its thread, frees what it holds, restores torch's dtype."""
    thread.end()
    torch.set_default_dtype(dtype)
    try:
        while held:
            held.pop().release()
    finally:
        scratch.remove()
