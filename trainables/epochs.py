"""Positions in epochs: passes over the training split, whole or in part. Fractions add up to whole epochs here."""

from __future__ import annotations

from trainables.spec import FineTuneSpec, Params

ROUNDING = 1e-6  # epochs; positions closer than this are the same


def horizon_of(params: Params, spec: FineTuneSpec) -> float:
    """Epochs after which a trial with `params` is complete: its own `num_train_epochs`, else the spec's."""
    own = params.get("num_train_epochs")
    return float(spec.epochs if own is None else own)


def next_position(epoch: float, every: float, horizon: float) -> float:
    """Where a trial at `epoch` reports next: `every` epochs further, or at the horizon if that comes first.

    Positions do not drift: from 0, the third report at every third of an epoch is at 1 exactly, so that a scheduler's
    `epoch >= 1` sees it there and the last report is the last one.
    """
    target = epoch + every
    for exact in (round(target / every) * every, round(target), horizon):
        if abs(exact - target) < ROUNDING:
            target = exact
    return round(float(min(target, horizon)), 9)
