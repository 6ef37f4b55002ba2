"""The `TrainingArguments` of one trial: everything that the Trainer would save, log or report by itself is off."""

from __future__ import annotations

from transformers import TrainingArguments

from trainables.errors import InputError
from trainables.finetune.numerics import computes_in_bf16
from trainables.machine.devices import training_device
from trainables.spec import FineTuneSpec, Params, Value
from trainables.tunables import TUNABLES

# These are passed to TrainingArguments under their own names; the other tunables are handled one by one.
TRAINING_ARGUMENTS = (
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "label_smoothing_factor",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "optim",
)
# Of a batch in an evaluation, padding included. Small batches pad less; a GPU is faster with large ones.
EVALUATION_TOKENS = {"cpu": 2048, "cuda": 32768}
# Tensor cores are faster at multiples of 8. Compiled code is specialised per shape, so fewer shapes are better.
PAD_TO_MULTIPLE_OF = {"cpu": 1, "cuda": 8}
PAD_COMPILED_TO_MULTIPLE_OF = 32


def training_arguments(spec: FineTuneSpec, params: Params) -> TrainingArguments:
    """Builds the arguments for the GPU that this process has, or for the CPU if it has none.

    Args:
        spec: its seeds and precision.
        params: complete values (defaults filled in).

    Raises:
        DeviceError: the GPU of this process cannot be used.
    """
    device = training_device()
    cuda = device == "cuda"
    args = TrainingArguments(
        output_dir=".",  # the Trainer makes this folder even when it saves nothing
        num_train_epochs=1,  # one pass over the segment
        seed=spec.training_seeds.head,
        bf16=computes_in_bf16(spec, device),
        label_names=["labels"],  # the Trainer drops what a model's forward does not name, and some do not name labels
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        accelerator_config={"non_blocking": cuda},  # copies from pinned memory overlap with the device's work
        report_to="none",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it would wait for the device at every step
        disable_tqdm=True,
        **{name: as_declared(name, params[name]) for name in TRAINING_ARGUMENTS},
    )
    args._n_gpu = min(args.n_gpu, 1)  # a slot is one device; more visible ones would switch DataParallel on
    return args


def padding_multiple(spec: FineTuneSpec, max_length: int, limit: int) -> int:
    """The number of tokens to whose multiples batches are padded: the spec's, else the device's default.

    Args:
        spec: its `pad_to_multiple_of` and `compile`.
        max_length: tokens of the longest row.
        limit: tokens that the model has positions for. A default is halved until padding stays within it.

    Raises:
        InputError: the spec's multiple pads beyond the model's positions.
    """
    device = training_device()
    multiple = spec.pad_to_multiple_of or (PAD_COMPILED_TO_MULTIPLE_OF if spec.compile else PAD_TO_MULTIPLE_OF[device])
    while (padded := -(-max_length // multiple) * multiple) > limit:
        if spec.pad_to_multiple_of:
            rule = f"pads rows of {max_length} tokens to {padded}; the model takes at most {limit}"
            raise InputError("pad_to_multiple_of", multiple, rule, "lower it or data.max_length, or leave it null")
        multiple //= 2
    return multiple


def as_declared(name: str, value: Value) -> Value:
    """Converts the value of an integer tunable to int, because searchers may propose 16.0."""
    return as_int(value) if TUNABLES[name].kind == "int" else value


def as_int(value: Value) -> int | None:
    """Converts `value` to int; None stays None."""
    return None if value is None else int(value)
