"""The private parts of transformers' Trainer that `paused_training` and `custom_optimizer` rely on.

Read off the installed release: one that has moved any of it fails here, with the name, and not in a trial.
"""

from __future__ import annotations

import inspect

import pytest
from transformers import Trainer

from tests.support.user_trainers import trainer

pytestmark = pytest.mark.unit

LOOP = {  # a method, and what it calls in this order
    Trainer.train: [
        "set_seed(args.seed)",
        "self.call_model_init(trial)",
        "self._load_from_checkpoint(resume_from_checkpoint)",
        "TrainerState.load_from_json(",
        "self._inner_training_loop",
    ],
    Trainer._inner_training_loop: [
        "self.get_train_dataloader()",
        "self.set_initial_training_values(args, train_dataloader)",
        "self._init_training_state(",
        "self._prepare_for_training(",
        "self._tr_loss = torch.tensor(0.0",
        "callback_handler.on_train_begin(",
        "for epoch in range(epochs_trained, num_train_epochs)",
        "callback_handler.on_epoch_begin(",
        "self._run_epoch(",
        "if self.control.should_training_stop",
        "self._finalize_training(",
    ],
    Trainer._init_training_state: [
        "self.state = TrainerState.load_from_json(",
        "self._load_callback_state()",
        "steps_trained_in_current_epoch *= self.args.gradient_accumulation_steps",
        "self.state.init_training_references(",
        "return epochs_trained, steps_trained_in_current_epoch",
    ],
    Trainer._prepare_for_training: [
        "if self._created_lr_scheduler",
        "self.create_optimizer()",
        "self.create_scheduler(num_training_steps=max_steps)",
        "self._load_optimizer_and_scheduler(resume_from_checkpoint)",
        "self._load_scaler(resume_from_checkpoint)",
    ],
    Trainer._run_epoch: [
        "skip_first_batches(train_dataloader, steps_trained_in_current_epoch)",
        "elif steps_trained_in_current_epoch == 0",
        "self._load_rng_state(resume_from_checkpoint)",
        "iter(train_dataloader)",
        "self.get_batch_samples(",
        "if rng_to_sync",
        "self._load_rng_state(resume_from_checkpoint)",
        "callback_handler.on_step_begin(",
        "self.training_step(",
        "self._tr_loss += tr_loss_step",
        "callback_handler.on_pre_optimizer_step(",
        "self.optimizer.step()",
        "self.lr_scheduler.step()",
        "callback_handler.on_step_end(",
        "self._maybe_log_save_evaluate(",
        "callback_handler.on_epoch_end(",
        "self._maybe_log_save_evaluate(",
    ],
    Trainer._maybe_log_save_evaluate: [
        "if self.control.should_log",
        "if self.control.should_evaluate",
        "self._evaluate(",
        "self._determine_best_metric(",
        "if self.control.should_save",
    ],
    Trainer._evaluate: ["self.evaluate(", "self.lr_scheduler.step(metrics[metric_to_check])"],
    Trainer._load_callback_state: ["if not self.args.restore_callback_states_from_checkpoint", "return"],
}


@pytest.mark.parametrize("method", list(LOOP), ids=lambda method: method.__name__)
def test_the_training_loop_calls_what_a_paused_one_overrides_in_this_order(method: object) -> None:
    source = inspect.getsource(method)  # type: ignore[arg-type]
    place = 0
    for call in LOOP[method]:  # type: ignore[index]
        found = source.find(call, place)
        assert found >= 0, f"{method} has no {call} after {place} characters"
        place = found + len(call)


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("_prepare_for_training", "max_steps, train_dataloader, resume_from_checkpoint"),
        ("_load_from_checkpoint", "resume_from_checkpoint, model"),
        ("_load_optimizer_and_scheduler", "checkpoint"),
        ("_evaluate", "trial, ignore_keys_for_eval, skip_scheduler"),
        ("_load_scaler", "checkpoint"),
        ("_load_rng_state", "checkpoint"),
        ("set_initial_training_values", "args, dataloader"),
        ("call_model_init", "trial"),
        ("init_hf_repo", "token, private"),
    ],
)  # fmt: skip
def test_what_is_overridden_takes_what_it_took(name: str, takes: str) -> None:
    assert ", ".join(list(inspect.signature(getattr(Trainer, name)).parameters)[1:]) == takes


def test_the_counts_of_steps_are_returned_where_they_were() -> None:
    made = trainer({}, args={"gradient_accumulation_steps": 2})
    values = made.set_initial_training_values(made.args, made.get_train_dataloader())
    assert (values[1], values[6]) == (2, 8)  # steps per pass, and in all


def test_the_parts_of_a_trainer_that_are_set_from_outside_are_there() -> None:
    made = trainer({})
    assert made._train_batch_size == made.args.train_batch_size
    assert made.args._n_gpu == 0
    assert made.accelerator.dataloader_config.data_seed is None
    assert made.accelerator.scaler is None
    assert "ReduceLROnPlateau, GreedyLR)" in inspect.getsource(Trainer._evaluate)
