"""The callback by which the engine evaluates a user's Trainer where it wants, and notes its progress."""

from __future__ import annotations

from typing import Any, Protocol

from transformers import Trainer, TrainerCallback, TrainerControl

from trainables.progress import step_done
from trainables.user_trainer import optimizer_state, state
from trainables.user_trainer.ddp import agree_on_control, require_averaged
from trainables.user_trainer.steps import Steps
from trainables.user_trainer.trial_thread import TrialThread


class EvaluatedTraining(Protocol):
    """The part of `paused_training.PausedTraining` that the callback uses."""

    trainer: Trainer
    thread: TrialThread
    steps: Steps | None  # set before the first step
    fresh: dict[str, Any]  # `optimizer_state.initial_values`; empty until the training begins
    no_step_follows: bool  # set by the callback at the end of a pass
    passes: int  # passes over the rows before the current one
    evaluated_at: int  # optimizer step of the last evaluation

    @property
    def is_due(self) -> bool:
        """True if the training has reached its next evaluation."""

    def begin_pass(self) -> None:
        """Called when a pass over the rows begins."""


class TrialCallback(TrainerCallback):  # type: ignore[misc]
    """Requests evaluations where they are due, and records progress.

    It is the last of the callbacks: what those before it request in one process, `agree_on_control` requests in all.
    """

    def __init__(self, training: EvaluatedTraining) -> None:
        self.training = training

    def on_train_begin(self, *args: Any, optimizer: Any, lr_scheduler: Any, **kwargs: Any) -> None:
        """Checks what the optimizer trains, and notes its initial values unless a state was restored."""
        training = self.training
        require_averaged(training.trainer, optimizer)
        state.require_held(training.trainer, optimizer)
        training.fresh = training.fresh or optimizer_state.initial_values(optimizer, lr_scheduler)

    def on_epoch_begin(self, args: Any, now: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer when a pass over the rows begins."""
        self.training.begin_pass()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Ends the training here if its caller has gone."""
        self.training.thread.check()

    def on_substep_end(self, args: Any, now: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Called after a batch whose gradients are accumulated."""
        step_done()
        agree_on_control(control)

    def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
        """Called after a batch of an evaluation."""
        step_done()
        self.training.thread.check()

    def on_step_end(self, args: Any, now: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Requests an evaluation that is due within a pass; at the end of one `on_epoch_end` does."""
        step_done()
        agree_on_control(control)
        training = self.training
        assert training.steps is not None
        ends = training.steps.ends_pass(now.global_step) or control.should_training_stop or control.should_epoch_stop
        control.should_evaluate = control.should_evaluate or (training.is_due and not ends)

    def on_epoch_end(self, args: Any, now: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Requests an evaluation at the end of a pass, if it is due or the training ends."""
        agree_on_control(control)
        self.training.no_step_follows = control.should_training_stop or self.training.passes + 1 >= now.num_train_epochs
        due = self.training.is_due or self.training.no_step_follows
        if due and self.training.evaluated_at != now.global_step:
            control.should_evaluate = True
