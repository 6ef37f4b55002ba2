"""Positions of a training in epochs (passes over the training split, in fractions), without rounding drift."""

from __future__ import annotations

from trainables.spec import FineTuneSpec, Params

ROUNDING = 1e-6  # epochs; positions closer than this are equal


def horizon_of(params: Params, spec: FineTuneSpec) -> float:
    """The epochs after which a trial with `params` is complete: its own `num_train_epochs`, else `spec.epochs`."""
    own = params.get("num_train_epochs")
    return float(spec.epochs if own is None else own)


def next_position(epoch: float, every: float, horizon: float) -> float:
    """The epoch at which a trial at `epoch` reports next: `every` epochs later, at most at the horizon.

    Positions do not drift: from 0, the third report at every third of an epoch is exactly at 1. So a scheduler's
    `epoch >= 1` holds there, and the last report is recognised as the last.
    """
    target = epoch + every
    for exact in (round(target / every) * every, round(target), horizon):
        if abs(exact - target) < ROUNDING:
            target = exact
    return round(float(min(target, horizon)), 9)
