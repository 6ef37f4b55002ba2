"""Checks what a run needs of this machine by importing and looking, before Ray starts.

`load_spec` leaves it out, as a spec is also read where it is not run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import InputError
from trainables.models.files import resolve_model, weight_bytes
from trainables.spec import FINETUNE_FIELDS
from tuning.spec.mistakes import Mistake, SpecError, join_path
from tuning.spec.validation.spec_checks import mistakes_in_named_space
from tuning.spec.validation.value_checks import endless_warmups

if TYPE_CHECKING:
    from trainables.tasks.summary import DataSummary
    from tuning.spec.models import ExperimentSpec

OFFLINE, TRUE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads them


def require_runnable(spec: ExperimentSpec) -> None:
    """Imports a user's own trainable and space, as every trial will; looks for packages, and an unfetchable model.

    Raises:
        SpecError: all that is missing, or cannot be imported.
    """
    if mistakes := [*_trainable(spec), *_strategies(spec), *mistakes_in_named_space(spec), *_offline_model(spec)]:
        raise SpecError(mistakes, spec.name)


def require_ending_warmups(spec: ExperimentSpec, data: DataSummary | None) -> None:
    """Checks warm-ups by the rows that were read; before, only the largest possible number is known.

    Raises:
        SpecError: in no trial the learning rate would reach its peak.
    """
    rows = data.splits["train"].rows if data is not None and "train" in data.splits else None
    if rows is not None and (mistakes := list(endless_warmups(spec, rows))):
        raise SpecError(mistakes, spec.name)


def _trainable(spec: ExperimentSpec) -> Iterator[Mistake]:
    """Checks a user's own trainable: it can be imported, and the spec has what its kind needs, and no more."""
    if not spec.own:
        return
    from trainables.lookup import trainable_kind

    try:
        kind = trainable_kind(spec.trainable)
    except ValueError as error:
        yield Mistake("trainable", str(error))
        return
    if kind == "factory":
        for name in spec.stated(FINETUNE_FIELDS):
            yield Mistake(
                name, f"{spec.trainable} is given the params alone, so nothing would read it", next_step="remove it"
            )
    elif untold := [i for i, one in enumerate(spec.strategies) if not one.searches and not one.own_values]:
        rule = f"is missing: what {spec.trainable} trains with by default is not known here"
        yield Mistake(
            join_path("strategies", untold[0], "values"), rule, next_step="such as values: {learning_rate: 5e-5}"
        )
    if kind != "factory" and spec.objective is None and not spec.objectives and spec.task is None:
        rule = f"is missing: nobody knows here what {spec.trainable} reports"
        yield Mistake("objective", rule, next_step="write objective: {metric: ..., mode: max}, or mode: min")


def _strategies(spec: ExperimentSpec) -> Iterator[Mistake]:
    """Checks that what the strategies need besides this package is installed."""
    for position, strategy in enumerate(spec.strategies):
        if command := strategy.install_command():
            rule = "needs packages that are not installed here"
            yield Mistake(join_path("strategies", position, "kind"), rule, strategy.kind, command)


def _offline_model(spec: ExperimentSpec) -> Iterator[Mistake]:
    """Checks a Hub model that may not be fetched; nodes of a cluster at an address have their own cache."""
    variable = next((name for name in OFFLINE if os.environ.get(name, "").upper() in TRUE), None)
    if variable is None or spec.trainable != "finetune" or spec.cluster.address is not None:
        return
    try:
        if Path(resolve_model(spec.model)).is_dir() or weight_bytes(spec.model, spec.revision) is not None:
            return
    except InputError:
        return  # reported when the spec is read
    from huggingface_hub.constants import HF_HUB_CACHE

    revision = f", revision {spec.revision}" if spec.revision else ""
    rule = f"is no folder here, and not whole in the Hub's cache {HF_HUB_CACHE}{revision}, which {variable} keeps to"
    step = f"unset {variable}, point HF_HOME to a cache that holds it, or name a local folder"
    yield Mistake("model", rule, spec.model, step)
