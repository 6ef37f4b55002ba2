"""From a user's Trainer to a factory that makes it anew for each trial, with the trial's values.

The instance itself never travels, and nothing of it is changed: after a `train()` it could not be pickled at all, and
before that its model would go along three times. In a callback that holds it, the trial's Trainer takes its place.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

from trainables.errors import InputError
from trainables.user_trainer.argument_values import fields_of, parameters_of
from trainables.user_trainer.originals import Originals
from trainables.user_trainer.rebuilt import RebuiltTrainer, TrialForm
from trainables.user_trainer.rebuilt_arguments import assigned_names, attributes_beside_fields
from trainables.user_trainer.rules import require_usable

FACTORY = "pass a factory instead: a function `def make_trainer(params)` that returns the Trainer with these values"
# The parameters of `transformers.Trainer` that stand in attributes of their name, as they were given.
KEPT = (
    "data_collator",
    "train_dataset",
    "eval_dataset",
    "processing_class",
    "compute_loss_func",
    "compute_metrics",
    "optimizer_cls_and_kwargs",
    "preprocess_logits_for_metrics",
)
OTHERS = {"model", "args", "model_init", "callbacks", "optimizers"}
BROUGHT = ("transformers.integrations.integration_utils", "transformers.utils.notebook")  # the modules of callbacks


def factory_of(trainer: Any, trial_form: TrialForm = "optuna") -> RebuiltTrainer:
    """A factory that makes Trainers like this one.

    Args:
        trial_form: what `model_init` is called with; see `RebuiltTrainer`.

    Raises:
        InputError: the Trainer has a feature that trials do not support, or does not show all that it was made of;
            the next step is then to pass a factory.
    """
    kind = type(trainer)
    if trainer.model_init is None:
        rule = f"this {kind.__name__} was made with a model, and each trial needs a new one"
        step = f"make it with model_init=...; or {FACTORY}" if "model_init" in parameters_of(kind) else FACTORY
        raise InputError("trainer.model_init", None, rule, step)
    if (model_parameters := len(inspect.signature(trainer.model_init).parameters)) > 1:
        rule = f"takes {model_parameters} parameters"
        raise InputError("trainer.model_init", trainer.model_init.__name__, rule, "take none, or the trial alone")
    require_usable(trainer)
    if trainer.args.world_size > 1:
        step = "start the script as one process, and give cluster={'gpus_per_trial': 2} for trials of two processes"
        raise InputError("args.world_size", trainer.args.world_size, "each process would search", step)
    parameters = parameters_of(kind)
    given = {name: getattr(trainer, name) for name in KEPT}
    _refuse_lost(kind, parameters, given)
    given = {name: value for name, value in given.items() if value is not None}
    given |= {name: _extra(trainer, parameter) for name, parameter in _extras(parameters)}
    collator = given["data_collator"]
    of_model = getattr(collator, "model", None) is not None and collator.model is trainer.model
    if of_model:  # as in DataCollatorForSeq2Seq(tokenizer, model=model): it would carry the weights
        given["data_collator"] = copy.copy(collator)
        given["data_collator"].model = None
    return RebuiltTrainer(
        trainer_class=kind,
        arguments_class=type(trainer.args),
        arguments=fields_of(trainer.args),
        argument_attributes=attributes_beside_fields(trainer.args),
        model_init=trainer.model_init,
        callbacks=[_fresh(callback) for callback in _own_callbacks(trainer)],
        given=given,
        attributes=_set_from_outside(trainer, set(parameters) | set(given)),
        collator_has_model=of_model,
        trial_form=trial_form,
        originals=Originals(trainer),
    )


def _refuse_lost(kind: type, parameters: dict[str, inspect.Parameter], given: dict[str, Any]) -> None:
    """Refuse an instance that has something which its constructor does not take.

    Raises:
        InputError: which attribute.
    """
    needed = {name for name, value in given.items() if value is not None} | {"args", "model_init"}
    for name in sorted(needed - set(parameters) - {"data_collator"}):
        rule = f"the constructor of {kind.__name__} does not take it"
        raise InputError(f"trainer.{name}", kind.__name__, rule, FACTORY)
    if "data_collator" not in parameters:
        given.pop("data_collator", None)


def _extras(parameters: dict[str, inspect.Parameter]) -> Iterator[tuple[str, inspect.Parameter]]:
    """The parameters that a subclass adds."""
    for name, parameter in parameters.items():
        if name not in OTHERS and name not in KEPT:
            yield name, parameter


def _extra(trainer: Any, parameter: inspect.Parameter) -> Any:
    """The value of a parameter of a subclass: the attribute of its name.

    Raises:
        InputError: there is no such attribute, or it is a module.
    """
    import torch

    name, kind = parameter.name, type(trainer).__name__
    if name not in vars(trainer):
        rule = f"the constructor of {kind} takes it, and the instance has no attribute of that name to read it from"
        raise InputError(f"trainer.{name}", kind, rule, f"keep it (`self.{name} = {name}`); or {FACTORY}")
    if isinstance(value := vars(trainer)[name], torch.nn.Module):
        raise InputError(
            f"trainer.{name}", type(value).__name__, "is a module, which a trial needs for itself", FACTORY
        )
    return value


def _own_callbacks(trainer: Any) -> list[Any]:
    """The user's callbacks: without those that every Trainer has, and those that `report_to` brings."""
    from transformers.trainer_callback import DefaultFlowCallback, PrinterCallback, ProgressCallback

    common = (DefaultFlowCallback, PrinterCallback, ProgressCallback)
    return [
        callback
        for callback in trainer.callback_handler.callbacks
        if type(callback) not in common and type(callback).__module__ not in BROUGHT
    ]


def _fresh(callback: Any) -> Any:
    """A callback without the counts of an earlier `train()`, where it exports them; all else of it stays.

    Raises:
        InputError: where a count begins is not known.
    """
    from transformers.trainer_callback import ExportableState

    if not isinstance(callback, ExportableState):
        return callback
    counts, beginning = callback.state()["attributes"], _beginning(callback)
    fresh = copy.copy(callback)
    for name in counts:
        if name not in beginning:
            kind = type(callback).__name__
            rule = "state() exports it, and the constructor does not take what state() gives as args"
            step = f"have it take them, so that {kind}.from_state can make it anew; or {FACTORY}"
            raise InputError(f"trainer.callbacks: {kind}.{name}", counts[name], rule, step)
        setattr(fresh, name, beginning[name])
    return fresh


def _beginning(callback: Any) -> dict[str, Any]:
    """The attributes of a callback as its constructor sets them; those of its base if it takes other arguments."""
    from transformers import EarlyStoppingCallback

    try:
        return dict(vars(type(callback)(**callback.state()["args"])))
    except TypeError:
        if not isinstance(callback, EarlyStoppingCallback):
            return {}
        return dict(vars(EarlyStoppingCallback(**EarlyStoppingCallback.state(callback)["args"])))


def _set_from_outside(trainer: Any, known: set[str]) -> dict[str, Any]:
    """The attributes that the user has set on the instance: no method of its classes assigns them.

    Raises:
        InputError: one of them replaces a method.
    """
    kind = type(trainer)
    assigned = {name for base in kind.__mro__ for method in vars(base).values() for name in assigned_names(method)}
    found = {}
    for name, value in vars(trainer).items():
        if hasattr(kind, name) and callable(getattr(kind, name)):
            step = f"make it a method of a subclass of {kind.__name__}; or {FACTORY}"
            raise InputError(f"trainer.{name}", kind.__name__, "is a method that was replaced on the instance", step)
        if name not in assigned and name not in known:
            found[name] = value
    return found
