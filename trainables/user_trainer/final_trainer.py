"""A user's Trainer for the final training: on its training and validation rows together.

The search has chosen how long it trains, so early stopping is removed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import datasets
import torch.utils.data as torch_data
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_utils import has_length

from trainables.errors import InputError

LOADER = "get_train_dataloader"


def on_all_rows(factory: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Wraps a factory: its Trainers train on training and validation rows.

    The returned factory raises an InputError if the two data sets cannot be concatenated.
    """
    return functools.partial(_made, factory)


def _made(factory: Callable[[dict[str, Any]], Any], params: dict[str, Any]) -> Any:
    trainer = factory(params)
    if not isinstance(trainer, Trainer) or trainer.train_dataset is None or trainer.eval_dataset is None:
        return trainer  # `rules.require_usable` refuses it
    trainer.train_dataset = concatenate_rows(trainer.train_dataset, trainer.eval_dataset)
    _require_read(trainer)
    while any(isinstance(callback, EarlyStoppingCallback) for callback in trainer.callback_handler.callbacks):
        trainer.remove_callback(EarlyStoppingCallback)
    return trainer


def concatenate_rows(train: Any, validation: Any) -> Any:
    """Concatenates the rows of `train` and `validation`; dictionaries of data sets are concatenated by name.

    Raises:
        InputError: validation rows lack a column, only one of the two has a length, or names differ.
    """
    if isinstance(train, Mapping):
        others = validation if isinstance(validation, Mapping) else {}
        if train.keys() != others.keys():
            rule = f"has the sets {', '.join(others) or 'without names'}, and train_dataset {', '.join(train)}"
            raise _refused(validation, rule, "name the same sets in both")
        kind: Any = type(train)
        return kind({name: concatenate_rows(rows, others[name]) for name, rows in train.items()})
    parts = [train, *(validation.values() if isinstance(validation, Mapping) else [validation])]
    if all(isinstance(part, datasets.Dataset | datasets.IterableDataset) for part in parts):
        return _tables(parts)
    countless = [isinstance(part, torch_data.IterableDataset) for part in parts]
    if all(countless):
        return torch_data.ChainDataset(parts)
    if any(countless):
        raise _refused(
            validation, "can be counted and train_dataset not, or the other way round", "make both of one kind"
        )
    return torch_data.ConcatDataset(parts)


def _tables(parts: list[Any]) -> Any:
    columns = parts[0].column_names
    for part in parts[1:]:
        lacking = [name for name in columns or () if name not in (part.column_names or columns)]
        if lacking:
            raise _refused(part, f"has no column {lacking[0]}, and train_dataset has", "prepare both alike")
    kept = [part if columns is None else part.select_columns(columns) for part in parts]
    try:
        return datasets.concatenate_datasets(kept)
    except ValueError as error:
        raise _refused(parts[1], f"cannot be put behind train_dataset: {error}", "prepare both alike") from error


def _require_read(trainer: Trainer) -> None:
    """Refuses an overridden `get_train_dataloader` that does not read all rows of `train_dataset`."""
    if getattr(type(trainer), LOADER) is getattr(Trainer, LOADER):
        return
    read = getattr(trainer.get_train_dataloader(), "dataset", None)
    if read is None or not has_length(read) or not has_length(trainer.train_dataset):
        return
    rows = trainer.train_dataset
    there = sum(map(len, rows.values())) if isinstance(rows, Mapping) else len(rows)
    if len(read) < there:
        rule = f"reads {len(read):,} rows, and train_dataset with the validation rows has {there:,}"
        step = "have it read self.train_dataset, so that it can be trained on all of them"
        raise InputError(LOADER, f"{type(trainer).__name__}.{LOADER}", rule, step)


def _refused(rows: Any, rule: str, step: str) -> InputError:
    return InputError("eval_dataset", type(rows).__name__, rule, step)
