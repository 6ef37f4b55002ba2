"""The store's record of a study when a run begins or resumes: facts, read once, from which a resume is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tuning.outcome import StudyOutcome


@dataclass(frozen=True)
class ResumableStudy:
    """One study as it is recorded, with all that a resume needs.

    Args:
        outcome: its trials, its cost, its confirmations and its test score.
        written: the number of events in the store by trial id, with those that no longer count; it never shrinks.
        interrupted_at: the last record of a run that was killed, in seconds since 1970 (UTC); None: the newest run has
            recorded its end.
        stopped_for_failures: True if the run stopped because its first trials failed alike.
    """

    outcome: StudyOutcome
    written: Mapping[str, int] = field(default_factory=dict)
    interrupted_at: float | None = None
    stopped_for_failures: bool = False
