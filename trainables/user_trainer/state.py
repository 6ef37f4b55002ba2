"""The state of a user's Trainer in a folder, written and read back.

    weights.safetensors   the model's weights; of a model with adapters (PEFT) what is trained alone
    beside.safetensors    what is trained besides, if anything, such as a loss with weights of its own; with its buffers
    position.json         epoch, and what the factory was given
    moments.pt            optimizer, scheduler, scaler, what the Trainer and its callbacks count, random states; tensors
                          and plain values only (`weights_only` loads it); only going on needs it

A state can be a donor's. What it may not bring is values: `own_values` puts them together with the trial's own.
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
    """Where a training stands."""

    epoch: float  # of the report
    trained: float  # epochs of rows seen: optimizer steps end where they end
    given: Mapping[str, Any]  # what the factory got; of what JSON has no kind for the type

    def write(self, folder: Path) -> None:
        """Into the existing `folder`."""
        (folder / POSITION).write_text(json.dumps(dataclasses.asdict(self), default=_kind))

    def changed(self, given: Mapping[str, Any]) -> set[str]:
        """The names whose values are others than these."""
        own = json.loads(json.dumps(dict(given), default=_kind))
        return {name for name in own.keys() | self.given.keys() if own.get(name) != self.given.get(name)}

    @classmethod
    def read(cls, folder: Path) -> TrainerPosition:
        """What `write` has written.

        Raises:
            FileNotFoundError: the folder holds no state.
        """
        return cls(**json.loads((folder / POSITION).read_text()))


def _kind(value: object) -> str:
    return type(value).__name__


def save_weights(folder: Path, trainer: Trainer) -> None:
    """Write what the Trainer trains into the existing `folder`."""
    model = trainer.model
    if has_adapters(model):
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        kept = trained | {name for name, _ in model.named_buffers()}
        save_file({n: t.contiguous() for n, t in model.state_dict().items() if n in kept}, str(folder / WEIGHTS))
    else:
        save_model(model, str(folder / WEIGHTS))
    if others := extra_tensors(trainer, _trained(trainer)):
        save_file({name: tensor.detach().contiguous() for name, tensor in others.items()}, str(folder / EXTRA_TENSORS))


def load_weights(folder: Path, trainer: Trainer) -> None:
    """Load them in place.

    Raises:
        FileNotFoundError: the folder holds none.
        RuntimeError: they are of another architecture.
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
    """In the block a state is taken over by a trial of which the values `changed` are others.

    Raises:
        InputError: what it trains is not what the state holds, as one of them decides about that.
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
    """What the optimizer trains is found where a state is written from.

    Raises:
        InputError: other weights would be lost wherever a training is gone on with or its best is loaded.
    """
    held = {id(tensor) for tensor in (*trainer.model.parameters(), *extra_tensors(trainer).values())}
    lost = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in held]
    if lost:
        rule = "no checkpoint would hold them: they are neither the model's nor in an attribute of the Trainer"
        step = "keep them on the Trainer, such as `self.loss = loss`, or make them part of the model"
        raise InputError("optimizer", f"{len(lost)} weights beside the model", rule, step)


def _trained(trainer: Trainer) -> set[int] | None:
    """The weights that the optimizer has, by identity; None: there is none yet."""
    if trainer.optimizer is None:
        return None
    return {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}


def extra_tensors(trainer: Trainer, trained: set[int] | None = None) -> dict[str, torch.Tensor]:
    """Weights that are no part of the model, and the buffers of their modules, by where the Trainer has them: an
    attribute that is a parameter or a module, or a list or a dictionary of such.

    Args:
        trained: of which weights; None: of all that may be.
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
            if id(tensor) not in own:  # a module may have been found in another place
                own.add(id(tensor))
                found[f"{place}.{name}"] = tensor
    return found


def _parts(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    """The parameters and modules that the Trainer holds besides the model."""
    for attribute, value in vars(trainer).items():
        several = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in [("", value), *several]:
            if isinstance(part, torch.nn.Module | torch.nn.Parameter):
                yield f"{attribute}.{key}", part


def generators_of(model: torch.nn.Module) -> list[torch.Generator]:
    """Generators of random numbers that the model has for itself."""
    return [
        value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Generator)
    ]


def has_adapters(model: Any) -> bool:
    """Whether PEFT trains a few weights beside those of a base that stays as it is."""
    return bool(getattr(model, "peft_config", None))


def save_moments(folder: Path, moments: Mapping[str, Any]) -> None:
    """Write them into the existing `folder`."""
    torch.save(dict(moments), folder / MOMENTS)


def load_moments(folder: Path) -> dict[str, Any]:
    """What `save_moments` was given.

    Raises:
        FileNotFoundError: the state was written without moments: it can be scored, not continued.
    """
    moments: dict[str, Any] = torch.load(folder / MOMENTS, map_location="cpu", weights_only=True)
    return moments


def capture_counts(state: TrainerState, callbacks: Iterable[Any]) -> str:
    """As JSON: what the Trainer counts, and callbacks that tell what they do (`ExportableState`)."""
    counted = {k: v for k, v in vars(state).items() if k in COUNTED}
    told = [[type(c).__name__, c.state()["attributes"]] for c in callbacks if isinstance(c, ExportableState)]
    # What a compute_metrics returns besides numbers (figures per class, texts) is logged as well.
    log = json.loads(json.dumps(counted.pop("log_history"), default=_listed))
    return json.dumps({"state": {**counted, "log_history": log}, "callbacks": told}, default=float)


def _listed(value: Any) -> Any:
    """An array as its numbers, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


COUNTED = ("num_input_tokens_seen", "total_flos", "log_history", "best_metric")  # the rest follows from own values


def restore_counts(text: str, state: TrainerState, callbacks: Iterable[Any]) -> None:
    """Put into `state` and `callbacks` what `capture_counts` has told; callbacks keep what they were built with."""
    saved = json.loads(text)
    for name, value in saved["state"].items():
        setattr(state, name, value)
    told = list(saved["callbacks"])
    for callback in callbacks:
        if not isinstance(callback, ExportableState):
            continue
        if (found := next((one for one in told if one[0] == type(callback).__name__), None)) is not None:
            told.remove(found)
            for name, value in found[1].items():
                setattr(callback, name, value)
