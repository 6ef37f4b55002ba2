"""One trial of a user's own Trainer, behind the four verbs of a `Training`.

The factory is called with the trial's values, once per life: every argument of the Trainer is in force by construction.
Its one `train()` is paused at each evaluation (`paused`), and all that the Trainer does, it does on one thread.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Mapping
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
from trainables.progress import mark_progress
from trainables.reporting import NonFiniteScore
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores
from trainables.user_trainer import custom_optimizer, ddp, in_force, reuse_check, rules, state
from trainables.user_trainer.construction import configure_accelerate, trainer_construction
from trainables.user_trainer.evaluation_metrics import COMPUTED, EVAL, TEST, computed_objective, metrics_of
from trainables.user_trainer.hp_space import ResolvedParams, suggested_params
from trainables.user_trainer.isolated_evaluation import undisturbed
from trainables.user_trainer.paused_training import Evaluated, PausedTraining
from trainables.user_trainer.scratch import Scratch
from trainables.user_trainer.trial_thread import TrialThread

Factory = Callable[[dict[str, Any]], Trainer]


class UserTraining:
    """One trial, in each of the processes that compute it. Two with equal params, spec and data give equal numbers on
    a CPU, bit for bit.

    Args:
        factory: makes the Trainer of a trial's values, not yet trained.
        params: the values that the factory is given; with a `hp_space` what that returns (`training.build`).
        spec: its epochs, seeds and objective.

    Raises:
        InputError: the Trainer is none that a trial can be made of.
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
        """The live Trainer; it may be used while nothing of this object runs."""
        return self._live.trainer

    def advance(self, epochs: float) -> Evaluation:
        """Train on by `epochs`, at most to the horizon or to where a callback ends the training, and evaluate.

        Raises:
            NonFiniteScore: the loss of a step was NaN or infinite.
            FileNotFoundError: it was restored for scoring alone.
            Exception: what the user's code raised.
        """
        if self._weights_only:
            raise FileNotFoundError("restored without moments: it can be scored, not trained on")
        live = self._live
        live.target = target = next_position(self.epoch, epochs, self.horizon)
        if live.running and live.is_due:  # less than half a step was asked for
            self.epoch = target
            return Evaluation(target, self.score("validation").metrics, self.in_force())
        came: Evaluated = self._thread.go_on() if live.running else self._thread.call(live.run)
        self.epoch = target if came.reached else round(came.trained, 9)
        if came.ended:
            self.horizon = self.epoch
        if not math.isfinite(came.loss):
            raise NonFiniteScore.of("training loss", came.loss, self.epoch, self.in_force())
        return Evaluation(self.epoch, self._metrics(came.told, EVAL), self.in_force())

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """The metrics as it stands; what follows is the same as without. The test split is `trainer.test_dataset`.

        Returns:
            On test without such a dataset: no metrics.
        """
        rows = self.trainer.eval_dataset if split == "validation" else getattr(self.trainer, "test_dataset", None)
        if rows is None:
            return Scores({}, 0)
        prefix = EVAL if split == "validation" else TEST
        told = self._thread.call(functools.partial(_evaluate, self._live, rows, prefix))
        sets = rows.values() if isinstance(rows, dict) else (rows,)
        return Scores(self._metrics(told, prefix), sum(len(one) for one in sets if has_length(one)))

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Write weights and position; with moments all that it takes to go on undisturbed."""
        position = state.TrainerPosition(self.epoch, self._live.trained, self.params)
        self._thread.call(functools.partial(_save, self._live, folder, position, weights_only))

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Take over weights, moments, random state and position; the values in force stay this trial's own.

        Raises:
            InputError: a value has changed that cannot in the middle of a training of this Trainer.
        """
        position = state.TrainerPosition.read(folder)
        self._live.changed = set() if weights_only else position.changed(self.params)
        if refused := rules.refusals(self.trainer, self._live.changed):
            raise refused[0]
        self._thread.call(functools.partial(_restore, self._live, folder, position, weights_only))
        self.epoch, self._weights_only = position.epoch, weights_only

    def save_model(self, folder: Path) -> None:
        """Write the model as it stands, as the Trainer itself does, into the existing `folder`."""
        self._thread.call(lambda: self.trainer.save_model(str(folder)))

    def in_force(self) -> dict[str, Value]:
        """The trial's values as its live objects hold them, under the names that the trial was given."""
        return in_force.values(self.trainer, self.params)

    def _metrics(self, told: Mapping[str, Any], prefix: str) -> dict[str, float]:
        asked = self.spec.objective.metric if self.spec.objective else ""
        sets = self.trainer.eval_dataset if isinstance(self.trainer.eval_dataset, dict) else ()
        metrics = metrics_of(told, prefix, sets, asked)
        if (compute := getattr(self.trainer, "compute_objective", None)) is not None:
            metrics[COMPUTED] = computed_objective(compute, told, prefix)
        return metrics


# On the thread


def _build(
    factory: Factory, params: Params, spec: FineTuneSpec, horizon: float, thread: TrialThread, scratch: Path
) -> PausedTraining:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
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
    """Whole numbers as int: a searcher may have handed over 16.0."""
    known = spec.tunable(name)
    return as_int(value) if known is not None and known.kind == "int" else value


def _evaluate(live: PausedTraining, rows: Any, prefix: str) -> dict[str, Any]:
    trainer = live.trainer
    with undisturbed(trainer, live.asking):
        scores = trainer.evaluate(rows, metric_key_prefix=prefix) if prefix == TEST else trainer.evaluate()
    return dict(scores)


def _save(live: PausedTraining, folder: Path, position: state.TrainerPosition, weights_only: bool) -> None:
    kept = None if weights_only else live.moments_now()  # every process has a part in them
    if live.replicas.rank:
        return
    state.save_weights(folder, live.trainer)
    position.write(folder)
    if kept is not None:
        state.save_moments(folder, kept)


def _restore(live: PausedTraining, folder: Path, position: state.TrainerPosition, weights_only: bool) -> None:
    with state.explain_mismatch(live.changed):
        state.load_weights(folder, live.trainer)
    live.trained = live.begun = position.trained
    if not weights_only:
        live.moments = state.load_moments(folder)
        live.trainer.args.eval_on_start = False  # it goes on


def _end(thread: TrialThread, held: list[PausedTraining], scratch: Scratch, dtype: torch.dtype) -> None:
    """The training is needed no more: leave it, and let go of what it holds before another one is built. Numbers are of
    the kind again that they were of before it."""
    thread.end()
    torch.set_default_dtype(dtype)
    try:
        while held:
            held.pop().release()
    finally:
        scratch.remove()
