"""The rules for a user's Trainer in a trial: which of its settings are replaced, and what is refused.

load_best_model_at_end, save_strategy   off: the engine keeps the best; `metric_for_best_model` stays
eval_strategy, eval_steps, eval_delay   replaced: evaluations follow `report_every_epochs`
these and others of `REPLACED`          refused in a space, where they would not be in force
num_train_epochs                        the experiment's `epochs`, or the trial's own
seed                                    the study's, unless it is searched
report_to, push_to_hub, output_dir      none, off, a scratch folder
EarlyStoppingCallback                   ends a trial as completed; refused where values change in flight
ReduceLROnPlateau, GreedyLR             follow scores: refused to change `learning_rate` in flight
IterableDataset, max_steps              progress is counted in steps: refused to change the batch size in flight
num_train_epochs, optim                 refused to change in flight, as anywhere
DeepSpeed, FSDP, auto_find_batch_size   refused
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, Trainer, set_seed
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_jit_checkpoint import JITCheckpointCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, has_length

from trainables.errors import InputError
from trainables.spec import FineTuneSpec, Params
from trainables.tunables import TUNABLES
from trainables.user_trainer.optimizer_state import follows_scores

NEVER_DUE = 10**12  # steps
# Arguments that are replaced in every trial, or that nothing reads there: the reason, and what to do instead.
REPLACED: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("eval_strategy", "eval_steps", "eval_delay"),
        (
            "trials are compared at equal progress, so each is evaluated at the same epochs",
            "leave it out, and set it in TrainingArguments (or report_every_epochs=... in the search)",
        ),
    ),
    **dict.fromkeys(
        (
            *("save_strategy", "save_steps", "save_total_limit", "save_only_model", "save_on_each_node"),
            *("load_best_model_at_end", "enable_jit_checkpoint", "restore_callback_states_from_checkpoint"),
            *("ignore_data_skip", "resume_from_checkpoint"),
        ),
        (
            "a trial saves nothing by itself: the search keeps what it continues from, and the best weights",
            "leave it out; `checkpoint.keep_best` in the spec (overrides={'checkpoint.keep_best': 3}) is their number",
        ),
    ),
    **dict.fromkeys(
        (
            *("report_to", "run_name", "project", "disable_tqdm"),
            *("trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        ),
        (
            "a trial prints nothing and reports to the search alone",
            "leave it out; `wandb` in the spec (overrides={'wandb.project': 'mine'}) tracks all trials",
        ),
    ),
    **dict.fromkeys(
        ("logging_strategy", "logging_steps", "logging_first_step", "logging_nan_inf_filter", "log_on_each_node"),
        (
            "no score depends on what a trial logs, which its callbacks alone read",
            "leave it out, and set it in TrainingArguments if a callback of yours reads logs",
        ),
    ),
    **dict.fromkeys(
        (
            *("push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo", "hub_always_push"),
            "hub_revision",
        ),
        ("a trial pushes nothing to the Hub", "leave it out, and push the best model after the search"),
    ),
    "output_dir": ("a trial has a scratch folder of its own", "leave it out; `storage` is where the search writes"),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), ("no Trainer reads it, only scripts do", "leave it out")),
}
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")
QUIET = (PrinterCallback, ProgressCallback, JITCheckpointCallback, *INTEGRATION_TO_CALLBACK.values())


def require_usable(made: Any) -> None:
    """Requires that the object from a factory is a Trainer that can be a trial.

    Raises:
        InputError: it is no Trainer, or one with a feature that trials do not support.
    """
    if not isinstance(made, Trainer):
        kind = f"{type(made).__module__}.{type(made).__qualname__}".removeprefix("builtins.")
        rule = f"the factory returned a {kind}, which is no transformers.Trainer"
        step = "return one, not yet trained; what is none can be trained in a function `def train(params, *, spec)`"
        raise InputError("trainable", made, rule, step)
    args = made.args
    for name, feature in (("deepspeed", "DeepSpeed"), ("fsdp", "FSDP")):
        if getattr(args, name, None):
            rule = f"{feature} shards the optimizer, whose state a trial could not take over"
            raise InputError(name, getattr(args, name), rule, "remove it: a trial has one process per device, or DDP")
    if args.auto_find_batch_size:
        rule = "another batch size than the trial's own would be in force, from a training that began anew"
        raise InputError("auto_find_batch_size", True, rule, "remove it, and search batch sizes that fit")
    parameters = inspect.signature(made.train).parameters.values()
    if not any(one.name == "resume_from_checkpoint" or one.kind is one.VAR_KEYWORD for one in parameters):
        name, rule = (
            f"{type(made).__name__}.train",
            "cannot go on from a checkpoint, as a trial does after an interruption",
        )
        raise InputError(name, made.train, rule, "give it the parameter `resume_from_checkpoint=None`, and pass it on")
    if made.eval_dataset is None:
        step = "pass eval_dataset=, on which each trial is scored"
        raise InputError("eval_dataset", None, "the Trainer has none", step)


def require_in_force(names: Collection[str]) -> None:
    """Requires that every hyperparameter is in force in a trial.

    Args:
        names: of the values that trials get.

    Raises:
        InputError: one is an argument that a trial replaces or does not read.
    """
    for name, (rule, step) in REPLACED.items():
        if name in names:
            raise InputError("space", name, rule, step)


def apply_rules(trainer: Trainer, params: Params, spec: FineTuneSpec, horizon: float, scratch: Path) -> None:
    """Switches off what the Trainer would write, report or decide by itself; sets horizon and seeds.

    Args:
        trainer: from the factory; changed in place.
        params: the trial's values; `seed` and `data_seed` among them are kept.
        spec: its seeds.
        horizon: epochs.
        scratch: an existing folder for what callbacks may write.

    Raises:
        InputError: a value is one of `REPLACED`.
    """
    require_in_force(params)
    args = trainer.args
    args.output_dir = str(scratch)
    args.report_to, args.push_to_hub, args.disable_tqdm = [], False, True
    args.save_strategy, args.load_best_model_at_end = SaveStrategy.NO, False
    args.restore_callback_states_from_checkpoint = args.ignore_data_skip = args.enable_jit_checkpoint = False
    args.eval_strategy, args.eval_steps, args.eval_delay = (
        IntervalStrategy.STEPS,
        NEVER_DUE,
        NEVER_DUE,
    )  # valid, never due
    args.logging_nan_inf_filter = False  # a loss that is not finite ends the trial, and is not left out
    args.num_train_epochs = horizon
    args._n_gpu = min(args.n_gpu, 1)  # a process is one device; more visible ones would switch DataParallel on
    trainer._train_batch_size = args.train_batch_size
    for callback in [one for one in trainer.callback_handler.callbacks if isinstance(one, QUIET)]:
        trainer.remove_callback(callback)
    seeds = spec.training_seeds
    if "seed" not in params and args.seed != seeds.head:  # its arguments were created before the factory was called
        args.seed = seeds.head
        set_seed(args.seed)
    if "data_seed" not in params and seeds.data_order != seeds.head:
        args.data_seed = trainer.accelerator.dataloader_config.data_seed = seeds.data_order


def refusals(trainer: Trainer, perturbed: Collection[str]) -> list[InputError]:
    """Returns why values of these names cannot change during a trial of this Trainer; empty if they can.

    Args:
        trainer: from the factory, trained or not.
        perturbed: names, as in `space:`.
    """
    found = []
    for name in sorted(perturbed):
        known = TUNABLES.get(name)
        if known is not None and not known.in_flight:
            found.append(_refused(name, known.why_not_in_flight, "keep it fixed, or search it without PBT"))
    if "learning_rate" in perturbed and follows_scores(trainer):
        rule = "the scheduler lowers the rate by the scores it has seen, so that its own rate means nothing in between"
        found.append(_refused("learning_rate", rule, "keep it fixed, or use a scheduler that follows from the step"))
    for name in BATCH:
        if name in perturbed and counts_steps(trainer):
            rule = "progress is counted in steps (max_steps, or rows without a length), which would mean other rows"
            found.append(_refused(name, rule, "keep it fixed, or train by epochs over rows with a length"))
    if perturbed and any(isinstance(c, EarlyStoppingCallback) for c in trainer.callback_handler.callbacks):
        rule = "its patience counts scores of other values, and would end members of a population for them"
        step = "remove the callback, or use a strategy that stops trials (hyperopt_asha)"
        found.append(InputError("EarlyStoppingCallback", sorted(perturbed), rule, step))
    return found


def counts_steps(trainer: Trainer) -> bool:
    """True if the Trainer's progress is counted in steps: it has `max_steps`, or rows without a length."""
    return bool(
        trainer.args.max_steps > 0 or (trainer.train_dataset is not None and not has_length(trainer.train_dataset))
    )


def _refused(name: str, rule: str, step: str) -> InputError:
    return InputError(name, "perturbed in the middle of a trial", rule, step)
