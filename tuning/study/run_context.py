"""Holds what the studies of one run share: Ray, the stores, the options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainables.tasks.summary import DataSummary
from tuning.run_folder.run_storage import RunStorage
from tuning.store.study_store import StudyStore
from tuning.study.progress import Screens
from tuning.tracking.tracking import Tracking

if TYPE_CHECKING:
    from cluster.session import Session


@dataclass
class RunContext:
    """The session, the stores and the options that the studies of one run share.

    Args:
        session: Ray, and what one trial holds of it.
        store: where the studies are recorded.
        storage: where the run lies.
        tracking: W&B, if it is used.
        data: the summary of the data, for the record; None: unknown.
        progress: True: show a live table or lines.
        new: True: refuse a study that another run has recorded.
        screens: says whose table is on the screen.
        shown_failures: failures that were shown, with the trial that was first to have each.
    """

    session: Session
    store: StudyStore
    storage: RunStorage
    tracking: Tracking
    data: DataSummary | None = None
    progress: bool = False
    new: bool = False
    screens: Screens = field(default_factory=Screens)
    shown_failures: dict[str, str] = field(default_factory=dict)
