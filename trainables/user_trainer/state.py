"""Saves and restores the state of a user's Trainer in a folder.

    weights.safetensors   the model's weights; of a model with adapters (PEFT) only the trained ones
    beside.safetensors    other trained weights, if any, such as those of a loss; with the buffers of their modules
    position.json         epoch, and the values that the factory got
    moments.pt            optimizer, scheduler, scaler, counts of the Trainer and its callbacks, random states; tensors
                          and plain values only (`torch.load(weights_only=True)`); not needed for scoring

The state may be a donor's. It must not bring hyperparameters: see `optimizer_state`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from transformers import Trainer, TrainerState
from transformers.trainer_callback import ExportableState

from trainables.checkpoints.manifest import MOMENTS
from trainables.checkpoints.tensors import POSITION, WEIGHTS
from trainables.errors import InputError

EXTRA_TENSORS = "beside.safetensors"


@dataclass(frozen=True)
class TrainerPosition:
    """The position of a training, and the values that led there."""

    epoch: float  # of the report
    trained: float  # epochs of rows seen, which differs from `epoch` by less than an optimizer step
    given: Mapping[str, Any]  # the values that the factory got; for other types than JSON's the name of the type

    def write(self, folder: Path) -> None:
        """Writes the position into the existing `folder`."""
        (folder / POSITION).write_text(json.dumps(dataclasses.asdict(self), default=_kind))

    def changed(self, given: Mapping[str, Any]) -> set[str]:
        """The names whose values differ from those in `given`."""
        own = json.loads(json.dumps(dict(given), default=_kind))
        return {name for name in own.keys() | self.given.keys() if own.get(name) != self.given.get(name)}

    @classmethod
    def read(cls, folder: Path) -> TrainerPosition:
        """Reads what `write` wrote.

        Raises:
            FileNotFoundError: the folder holds no state.
        """
        return cls(**json.loads((folder / POSITION).read_text()))


def _kind(value: object) -> str:
    return type(value).__name__


def save_trained_weights(folder: Path, trainer: Trainer) -> None:
    """Writes all weights that the Trainer trains into the existing `folder`."""
    model = trainer.model
    if has_adapters(model):
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        kept = trained | {name for name, _ in model.named_buffers()}
        save_file({n: t.contiguous() for n, t in model.state_dict().items() if n in kept}, str(folder / WEIGHTS))
    else:
        save_model(model, str(folder / WEIGHTS))
    if others := extra_tensors(trainer, _trained(trainer)):
        save_file({name: tensor.detach().contiguous() for name, tensor in others.items()}, str(folder / EXTRA_TENSORS))


def load_trained_weights(folder: Path, trainer: Trainer) -> None:
    """Loads the weights into the Trainer's model and its other modules.

    Raises:
        FileNotFoundError: the folder holds no weights.
        RuntimeError: they do not fit the architecture.
    """
    model = trainer.model
    device = str(next(model.parameters()).device)
    if has_adapters(model):
        tensors = load_file(str(folder / WEIGHTS), device=device)
        if unknown := model.load_state_dict(tensors, strict=False).unexpected_keys:
            raise RuntimeError(f"the weights are of another architecture: this model has no {unknown[0]}")
    else:
        load_model(model, str(folder / WEIGHTS), device=device)
    if not (folder / EXTRA_TENSORS).exists():
        return
    others = extra_tensors(trainer)
    with torch.no_grad():
        for name, saved in load_file(str(folder / EXTRA_TENSORS), device=device).items():
            if name not in others:
                raise RuntimeError(f"the weights are of another Trainer: this one has no {name}")
            others[name].copy_(saved)


@contextlib.contextmanager
def explain_mismatch(changed: Collection[str]) -> Iterator[None]:
    """In the block, a state is restored by a trial whose values of the names `changed` differ from the donor's.

    Raises:
        InputError: the state does not fit, because one of these values determines which weights are trained.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not changed or isinstance(error, InputError):
            raise
        rule = f"with these values other weights are trained than the donor has: {str(error).splitlines()[0]}"
        step = "take what decides about the weights out of in_flight: it is then drawn once and inherited"
        raise InputError("in_flight", ", ".join(sorted(changed)), rule, step) from error


def require_held(trainer: Trainer, optimizer: torch.optim.Optimizer) -> None:
    """Requires that all weights which the optimizer trains are saved with the state.

    Raises:
        InputError: some are not, and would be lost when the training continues, or its best state is loaded.
    """
    held = {id(tensor) for tensor in (*trainer.model.parameters(), *extra_tensors(trainer).values())}
    lost = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in held]
    if lost:
        rule = "no checkpoint would hold them: they are neither the model's nor in an attribute of the Trainer"
        step = "keep them on the Trainer, such as `self.loss = loss`, or make them part of the model"
        raise InputError("optimizer", f"{len(lost)} weights beside the model", rule, step)


def _trained(trainer: Trainer) -> set[int] | None:
    """The ids of the weights that the optimizer trains; None if there is no optimizer yet."""
    if trainer.optimizer is None:
        return None
    return {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}


def extra_tensors(trainer: Trainer, trained: set[int] | None = None) -> dict[str, torch.Tensor]:
    """Trainable weights outside of the model, and the buffers of their modules, by where the Trainer holds them.

    They are found in attributes of the Trainer: parameters, modules, and lists and dictionaries of these.

    Args:
        trainer: the Trainer.
        trained: the ids of the weights to return; None: all that are trainable.
    """
    own = {id(tensor) for tensor in (*trainer.model.parameters(), *trainer.model.buffers())}
    found: dict[str, torch.Tensor] = {}
    for place, part in _parts(trainer):
        whole = isinstance(part, torch.nn.Module)
        weights = dict(part.named_parameters()) if whole else {"": part}
        weights = {
            name: weight
            for name, weight in weights.items()
            if weight.requires_grad and id(weight) not in own and (trained is None or id(weight) in trained)
        }
        buffers = dict(part.named_buffers()) if whole and weights else {}
        for name, tensor in {**weights, **buffers}.items():
            if id(tensor) not in own:  # a module may have been found in another attribute already
                own.add(id(tensor))
                found[f"{place}.{name}"] = tensor
    return found


def _parts(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    """Yields the parameters and modules in the Trainer's attributes, with their places."""
    for attribute, value in vars(trainer).items():
        several = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in [("", value), *several]:
            if isinstance(part, torch.nn.Module | torch.nn.Parameter):
                yield f"{attribute}.{key}", part


def generators_of(model: torch.nn.Module) -> list[torch.Generator]:
    """The random generators that modules of the model hold."""
    return [
        value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Generator)
    ]


def has_adapters(model: Any) -> bool:
    """True for a PEFT model, which trains a few weights beside those of a frozen base."""
    return bool(getattr(model, "peft_config", None))


def save_moments(folder: Path, moments: Mapping[str, Any]) -> None:
    """Writes optimizer state, counts and random states into the existing `folder`."""
    torch.save(dict(moments), folder / MOMENTS)


def load_moments(folder: Path) -> dict[str, Any]:
    """Reads what `save_moments` wrote.

    Raises:
        FileNotFoundError: the state was saved with weights only: it can be scored, not continued.
    """
    moments: dict[str, Any] = torch.load(folder / MOMENTS, map_location="cpu", weights_only=True)
    return moments


def capture_counts(state: TrainerState, callbacks: Iterable[Any]) -> str:
    """Captures, as JSON, what the Trainer counts, and the attributes of callbacks that export them."""
    counted = {k: v for k, v in vars(state).items() if k in COUNTED}
    exported = [[type(c).__name__, c.state()["attributes"]] for c in callbacks if isinstance(c, ExportableState)]
    # What a compute_metrics returns besides numbers (figures per class, texts) is logged as well.
    log = json.loads(json.dumps(counted.pop("log_history"), default=_listed))
    return json.dumps({"state": {**counted, "log_history": log}, "callbacks": exported}, default=float)


def _listed(value: Any) -> Any:
    """Converts an array to a list, anything else to text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


COUNTED = ("num_input_tokens_seen", "total_flos", "log_history", "best_metric")  # the rest is computed from own values


def restore_counts(text: str, state: TrainerState, callbacks: Iterable[Any]) -> None:
    """Restores what `capture_counts` captured; callbacks keep the arguments that they were built with."""
    saved = json.loads(text)
    for name, value in saved["state"].items():
        setattr(state, name, value)
    exported = list(saved["callbacks"])
    for callback in callbacks:
        if not isinstance(callback, ExportableState):
            continue
        if (found := next((one for one in exported if one[0] == type(callback).__name__), None)) is not None:
            exported.remove(found)
            for name, value in found[1].items():
                setattr(callback, name, value)
