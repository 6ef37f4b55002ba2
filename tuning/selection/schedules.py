"""Schedules: which values were in force over which epochs on the way to a report."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.checkpoints.manifest import Segment
from trainables.reporting import Report
from trainables.tunables import TRAINING_SEEDS
from tuning.outcome import Stretch


def schedule_of(history: Iterable[Report]) -> tuple[Stretch, ...]:
    """Return the schedule behind a history; reports with equal values in a row make one stretch.

    Args:
        history: from `StudyOutcome.history`.
    """
    stretches: list[Stretch] = []
    for report in history:
        if stretches and stretches[-1].params == report.params:
            stretches[-1] = stretches[-1]._replace(end=report.epoch)
        else:
            stretches.append(Stretch(stretches[-1].end if stretches else 0.0, report.epoch, dict(report.params)))
    return tuple(stretches)


def unseeded(schedule: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Return a schedule without the training seeds that were searched with its other values."""
    return tuple(
        stretch._replace(params={name: value for name, value in stretch.params.items() if name not in TRAINING_SEEDS})
        for stretch in schedule
    )


def segments_of(schedule: Iterable[Stretch]) -> tuple[Segment, ...]:
    """Return a schedule as segments, which a replay takes."""
    return tuple(Segment(stretch.params, stretch.end) for stretch in schedule)
