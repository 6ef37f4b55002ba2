"""Runs the `train()` of a user's Trainer in pieces: it is paused at each evaluation, and continued later.

`train()` is called once per life of a trial (from its construction, or from a restored state). These private parts of
transformers 5.23 and 5.24 are overridden or read, because there is no public way; a contract test checks them:

    _maybe_log_save_evaluate        its end is where the training is paused: a step has been logged and evaluated
    _evaluate                       the evaluation of a step
    _init_training_state            where a resumed training begins: by the trial's own steps, not the donor's
    _load_from_checkpoint           does nothing: weights are restored before
    _load_optimizer_and_scheduler   restores the donor's state with the trial's own values (`optimizer_state`)
    _load_scaler, _load_rng_state   restore from `moments.pt`
    _tr_loss                        the sum of the losses; not finite if one of them is not
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from trainables.checkpoints.tensors import random_state, set_random_state
from trainables.distributed.replicas import Replicas
from trainables.errors import InputError
from trainables.user_trainer import optimizer_state, reuse_check, state
from trainables.user_trainer.construction import BuiltModel
from trainables.user_trainer.ddp import agree_on_control, settle_loss_scale
from trainables.user_trainer.steps import Steps
from trainables.user_trainer.trial_callback import TrialCallback
from trainables.user_trainer.trial_thread import TrialThread


class Evaluated(NamedTuple):
    """The result of training to the next evaluation."""

    metrics: dict[str, Any]  # of the last evaluation of a step, as `Trainer.evaluate` returned them
    trained: float  # epochs of rows seen
    finished: bool  # `train()` has returned: at the horizon, or earlier because a callback stopped it
    reached_target: bool  # the position of the evaluation was reached; False: a callback stopped the training before it
    loss: float  # sum of the losses of its steps over all processes; not finite if one of them was not


class PausedTraining:
    """One run of `train()`, on its own thread, that pauses at evaluations.

    Args:
        trainer: from the factory, after `rules.apply_rules`; its class is replaced by a subclass that pauses.
        thread: on which all methods run.
        horizon: the epochs at its end.
        built: the model that `model_init` made in the constructor; None: there is no `model_init`.
    """

    def __init__(self, trainer: Trainer, thread: TrialThread, horizon: float, built: BuiltModel | None = None) -> None:
        self.trainer, self.thread, self.horizon = trainer, thread, horizon
        self.replicas = Replicas.here()
        self.target = 0.0  # the epoch of the next evaluation
        self.steps: Steps | None = None  # known once `train()` has counted them
        self.moments: dict[str, Any] | None = None  # optimizer state etc. to be restored; None once that is done
        self.changed: set[str] = set()  # names whose values differ from those of the restored state
        self.begun = self.trained = 0.0  # epochs of rows seen: when this life began, and now
        self.running = False
        self.no_step_follows = False  # the horizon is reached, a callback stops it, or no pass is left
        self.metrics: dict[str, Any] = {}  # of the last evaluation of a step
        self.fresh: dict[str, Any] = {}  # see `optimizer_state.initial_values`
        self.passes = self.first_of_pass = 0  # passes over the rows before the current one, and the step at its start
        self.random_of_pass: dict[str, Any] | None = None  # generators at the beginning of the pass
        self.evaluated_at = -1  # optimizer step of the last evaluation
        self.scale_is_settled = self.replicas.size == 1
        self.callback = TrialCallback(self)
        self._kind = type(trainer)
        self._begun_with = reuse_check.fingerprints(trainer)
        # A `call_model_init` of the user's own may do more than build the model, so that one is always called.
        self._built = built if self._kind.call_model_init is Trainer.call_model_init else None
        trainer.__class__ = _pausing(self._kind)
        trainer._tunefleet_training = self
        trainer.add_callback(self.callback)

    def release(self) -> None:
        """Restores the Trainer's class and callbacks, and drops the references to it."""
        trainer = self.trainer
        reuse_check.mark_changed(trainer, self._begun_with)
        trainer.__class__ = self._kind
        del trainer._tunefleet_training
        trainer.remove_callback(self.callback)
        del self.trainer, self.callback.training

    def run(self) -> Evaluated:
        """Trains from the start or from the restored state; pauses at each evaluation, and returns the last one.

        Runs on the trial's thread.
        """
        self.running = True
        if self.moments is None:
            self.trainer.train()
        else:
            held = [*self.trainer.callback_handler.callbacks, self.trainer.control]
            begins = TrainerState(  # `place` completes it
                train_batch_size=self.trainer._train_batch_size,
                stateful_callbacks=[one for one in held if isinstance(one, ExportableState)],
            )
            begins.save_to_json(os.path.join(self.trainer.args.output_dir, TRAINER_STATE_NAME))
            self.trainer.train(resume_from_checkpoint=self.trainer.args.output_dir)
        if self.steps is None:
            kind = self._kind.__name__
            rule = "returned without having come to the training loop of transformers, which is what is paused"
            step = "override training_step or compute_loss; a loop of your own goes into `def train(params, *, spec)`"
            raise InputError("trainable", f"{kind}.train", rule, step)
        return self._evaluated(finished=True)

    def pause(self) -> None:
        """Called after an evaluation: hands it to the caller, unless it was the last, which `run` returns."""
        self.evaluated_at = self.trainer.state.global_step
        if not (self.no_step_follows or self.trainer.control.should_training_stop):
            self.thread.pause(self._evaluated(finished=False))

    def _evaluated(self, *, finished: bool) -> Evaluated:
        assert self.steps is not None
        step = self.trainer.state.global_step
        self.trained = self.steps.epochs_at(step)
        # With fp16 a step may overflow: its gradient scaler skips that step and trains on, which is no failure.
        loss = 0.0 if self.trainer.accelerator.scaler is not None else float(self.trainer._tr_loss)
        loss = sum(self.replicas.gather(loss))
        return Evaluated(dict(self.metrics), self.trained, finished, step >= self.steps.step_at(self.target), loss)

    @property
    def is_due(self) -> bool:
        """True if the training has reached its next evaluation."""
        assert self.steps is not None
        return bool(self.trainer.state.global_step >= self.steps.step_at(self.target))

    def moments_now(self) -> dict[str, Any]:
        """Captures what a continued training needs besides weights."""
        drawn = self.replicas.gather((random_state(), self.random_of_pass))
        if not self.running:
            return self.moments or {"random": [now for now, _ in drawn]}
        trainer = self.trainer
        scaler = trainer.accelerator.scaler
        return {
            **optimizer_state.capture_optimizer_state(trainer.optimizer, trainer.lr_scheduler, self.fresh),
            "scaler": None if scaler is None else scaler.state_dict(),
            "counts": state.capture_counts(trainer.state, trainer.callback_handler.callbacks),
            "pass": [self.passes, trainer.state.global_step - self.first_of_pass],
            "random": [now for now, _ in drawn],
            "random_of_pass": [begun for _, begun in drawn],
            "generators": [generator.get_state() for generator in state.generators_of(trainer.model)],
        }

    # Called by the Trainer when it resumes

    def place(self, begins: tuple[int, int]) -> tuple[int, int]:
        """Sets the position in the Trainer's state.

        Args:
            begins: complete passes, and batches of the current pass, as the Trainer computed them.

        Returns:
            The same numbers for the trial's own batch size.
        """
        if self.moments is None or "counts" not in self.moments:
            return begins
        assert self.steps is not None
        trainer, steps = self.trainer, self.steps
        trainer.state.compute_steps(trainer.args, steps.total)
        state.restore_counts(self.moments["counts"], trainer.state, trainer.callback_handler.callbacks)
        step = trainer.state.global_step = steps.step_at(self.begun)
        trainer.state.epoch = self.begun
        if steps.per_pass is None:  # the steps of a pass are known only when it ends
            self.passes, left = self.moments["pass"]
        else:
            self.passes, left = divmod(step, steps.per_pass)
        self.first_of_pass = step - left
        self.evaluated_at = step
        return self.passes, left * trainer.args.gradient_accumulation_steps

    def has_model(self) -> bool:
        """True if the Trainer's model need not be built again; sets the generators to where that would leave them."""
        if self.moments is not None:
            return True
        built, self._built = self._built, None
        if built is None or built.model is not self.trainer.model or built.seed != self.trainer.args.seed:
            return False
        set_random_state(built.random)
        return True

    def restore_optimizer(self) -> None:
        """Restores the donor's optimizer and scheduler state, with the trial's own values."""
        trainer = self.trainer
        self.fresh = optimizer_state.initial_values(trainer.optimizer, trainer.lr_scheduler)
        if self.moments is not None and "optimizer" in self.moments:
            with state.explain_mismatch(self.changed):
                optimizer_state.restore_optimizer_state(
                    trainer.optimizer, trainer.lr_scheduler, self.moments, trainer.state.global_step
                )

    def restore_scaler(self) -> None:
        """Restores the donor's gradient scaler of mixed precision."""
        if self.moments is not None and self.moments.get("scaler") and self.trainer.accelerator.scaler is not None:
            self.trainer.accelerator.scaler.load_state_dict(self.moments["scaler"])

    def restore_random(self) -> None:
        """Restores the random generators; called when the first batch is loaded, as the last part of the restore."""
        if self.moments is not None:
            self._draw_from("random")
            own = state.generators_of(self.trainer.model)
            for generator, drawn in zip(own, self.moments.get("generators", ()), strict=False):
                generator.set_state(drawn)
            self.moments = None

    def begin_pass(self) -> None:
        """Called when a pass over the rows begins or continues: sets the generators that its order is drawn from."""
        step = self.trainer.state.global_step
        if self.moments is None:
            self.passes, self.first_of_pass = self.passes + (step > 0), step
        elif step > self.first_of_pass:
            self._draw_from("random_of_pass")
        else:
            self.restore_random()
        self.random_of_pass = random_state()

    def _draw_from(self, name: str) -> None:
        """Restores this process's generators; a process beyond those of the saved state keeps its own."""
        assert self.moments is not None
        if self.replicas.rank < len(self.moments[name]):
            set_random_state(self.moments[name][self.replicas.rank])


class Pausing(Trainer):  # type: ignore[misc]
    """A mixin in front of the user's Trainer class that pauses at evaluations and restores states."""

    _tunefleet_training: PausedTraining  # under a name that the user's class will not have

    def _evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates as the user's class does, and notes the metrics. Callbacks call `evaluate` instead."""
        metrics = super()._evaluate(*args, **kwargs)
        if not isinstance(metrics, Mapping):
            name = f"{type(self).__name__}.evaluate"
            raise InputError("trainable", name, f"returned {metrics!r} and no metrics", "return a dictionary by name")
        self._tunefleet_training.metrics = dict(metrics)
        return metrics

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Computes the user's loss; with several processes it is scaled as with one."""
        count, own = kwargs.get("num_items_in_batch"), super().compute_loss
        if count is not None and not self._tunefleet_training.scale_is_settled:
            self._tunefleet_training.scale_is_settled = settle_loss_scale(
                self, model, lambda number: own(model, copy.copy(inputs), num_items_in_batch=number), count
            )
        return own(model, inputs, *args, **kwargs)

    def call_model_init(self, trial: Any = None) -> Any:
        """Calls the user's `model_init`, unless weights were restored or the model is fresh already."""
        return self.model if self._tunefleet_training.has_model() else super().call_model_init(trial)

    def set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        """Computes the numbers of steps as the user's class does, and notes them."""
        values = super().set_initial_training_values(args, dataloader)
        training = self._tunefleet_training
        training.steps = Steps.of(self, dataloader, training.horizon, per_epoch=values[1], total=values[6])
        return values

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        return self._tunefleet_training.place(super()._init_training_state(*args, **kwargs))

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        return

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        self._tunefleet_training.restore_optimizer()

    def _load_scaler(self, checkpoint: str | None) -> None:
        self._tunefleet_training.restore_scaler()

    def _load_rng_state(self, checkpoint: str | None) -> None:
        self._tunefleet_training.restore_random()

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        is_last = self._tunefleet_training.no_step_follows or self.control.should_training_stop
        must_pause = self.control.should_evaluate and (self._tunefleet_training.is_due or is_last)
        control_used = self.control.should_log or self.control.should_evaluate or self.control.should_save
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if control_used:  # a callback may stop the training because of scores or logs
            agree_on_control(self.control)
        if must_pause:
            self._tunefleet_training.pause()


def _pausing(kind: Any) -> Any:
    """Derives a class that pauses from the user's, with the same name."""
    return type(kind)(
        kind.__name__, (Pausing, kind), {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    )
