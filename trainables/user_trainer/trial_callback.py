"""The callback that asks a Trainer for the evaluations that the engine wants, and gives signs of life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl

from trainables.progress import step_done
from trainables.user_trainer import optimizer_state, state
from trainables.user_trainer.ddp import agree_on_control, require_averaged

if TYPE_CHECKING:
    from trainables.user_trainer.paused_training import PausedTraining


class TrialCallback(TrainerCallback):  # type: ignore[misc]
    """Asks for evaluations where they are due, and gives signs of life. The last of the callbacks: what those before it
    have asked for in one process of several holds in all."""

    def __init__(self, training: PausedTraining) -> None:
        self.training = training

    def on_train_begin(self, *args: Any, optimizer: Any, lr_scheduler: Any, **kwargs: Any) -> None:
        """Note the optimizer's values, if no state was taken over."""
        training = self.training
        require_averaged(training.trainer, optimizer)
        state.require_held(training.trainer, optimizer)
        training.fresh = training.fresh or optimizer_state.initial_values(optimizer, lr_scheduler)

    def on_epoch_begin(self, args: Any, now: Any, control: Any, **kwargs: Any) -> None:
        """A pass over the rows."""
        self.training.begin_pass()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Nobody may wait for it any more."""
        self.training.thread.check()

    def on_substep_end(self, args: Any, now: Any, control: TrainerControl, **kwargs: Any) -> None:
        """A batch whose gradients are added up."""
        step_done()
        agree_on_control(control)

    def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
        """A batch of an evaluation."""
        step_done()
        self.training.thread.check()

    def on_step_end(self, args: Any, now: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Within a pass; at its end `on_epoch_end` follows."""
        step_done()
        agree_on_control(control)
        training = self.training
        assert training.steps is not None
        ends = training.steps.ends_pass(now.global_step) or control.should_training_stop or control.should_epoch_stop
        control.should_evaluate = control.should_evaluate or (training.is_due and not ends)

    def on_epoch_end(self, args: Any, now: Any, control: TrainerControl, **kwargs: Any) -> None:
        """At the end of a pass, or of the training."""
        agree_on_control(control)
        self.training.ends = control.should_training_stop or self.training.passes + 1 >= now.num_train_epochs
        due = self.training.is_due or self.training.ends
        if due and self.training.evaluated_at != now.global_step:
            control.should_evaluate = True
