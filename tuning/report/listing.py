"""The experiments of a storage folder or a store as rows, for `tunefleet ls`: state, studies, trials, best score.

In: run folders and study stores. Out: `ListedExperiment`s, and their rows of text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.capacity import ClusterError
from trainables.machine import clock
from tuning.run_folder.experiments import experiment_names, find_experiment, store_location
from tuning.spec.file import parse, read_spec_text
from tuning.spec.mistakes import SpecError
from tuning.spec.store_url import StoreError

if TYPE_CHECKING:
    from tuning.store.summaries import StudySummary

EXPERIMENT_COLUMNS = ("EXPERIMENT", "STATE", "STUDIES", "TRIALS", "BEST", "LAST SIGN")
STUDY_COLUMNS = ("EXPERIMENT", "STRATEGY", "SEED", "STATE", "TRIALS", "BEST")


@dataclass(frozen=True)
class ListedExperiment:
    """An experiment as it was found.

    Args:
        planned: the number of studies that its spec asks for.
        driver: True if a process runs it now; None: its run folder is not here, so nobody knows.
        began: seconds since 1970, for an experiment that has recorded nothing newer.
        problem: why its spec or its store cannot be read; None: they can.
    """

    name: str
    studies: tuple[StudySummary, ...]
    planned: int
    driver: bool | None = None
    began: float | None = None
    problem: str | None = None

    def row(self) -> tuple[str, ...]:
        """The cells of `EXPERIMENT_COLUMNS`."""
        from tuning.outcome import StudyState
        from tuning.report.status import experiment_status

        last = max((study.last_report for study in self.studies if study.last_report is not None), default=self.began)
        finished = sum(study.state is StudyState.FINISHED for study in self.studies)
        return (
            self.name,
            str(experiment_status(self.studies, self.planned, self.driver)),
            f"{finished} of {self.planned}",
            str(sum(study.trials for study in self.studies)),
            _best(self.studies),
            "-" if last is None else f"{age(clock.time() - last)} ago",
        )

    def study_rows(self) -> Iterator[tuple[str, ...]]:
        """The cells of `STUDY_COLUMNS` for each study."""
        from tuning.report.status import study_status

        for study in self.studies:
            state = str(study_status(study, self.driver))
            yield self.name, study.strategy, str(study.seed), state, str(study.trials), _best([study])


def listed_experiments(storage: str, store: str | None = None) -> Iterator[ListedExperiment]:
    """Find every experiment whose run folder is in `storage`, or that is recorded in the store of that URL.

    Raises:
        StoreError: `store` cannot be read.
        ClusterError: `storage` is a bucket that cannot be read.
    """
    from tuning.report.status import find_driver
    from tuning.store.summaries import study_summaries

    if store:
        by_name: dict[str, list[StudySummary]] = {}
        for study in study_summaries(store):
            by_name.setdefault(study.experiment, []).append(study)
        for name, recorded in by_name.items():
            yield ListedExperiment(name, tuple(recorded), len(recorded))
        return
    for name in experiment_names(storage):
        folder = find_experiment(name, storage)
        studies: tuple[StudySummary, ...] = ()
        planned, problem = 1, None
        try:
            planned = _planned_studies(folder)
            found = study_summaries(store_location(name, storage))
            studies = tuple(study for study in found if study.experiment == name)
        except (SpecError, StoreError, ClusterError) as error:  # damaged, or stopped before anything was recorded
            problem = str(error)
        yield ListedExperiment(name, studies, planned, find_driver(folder, storage), _began(folder), problem)


def age(seconds: float) -> str:
    """A time span in its largest fitting unit: '40 s', '12 min', '5 h', '3 days'."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _planned_studies(folder: Path) -> int:
    from tuning.spec.models import SPEC_FILE

    raw: Mapping[str, Any] = parse(read_spec_text(folder / SPEC_FILE), SPEC_FILE)
    return len(raw.get("strategies") or ()) * len(raw.get("seeds") or (0,))


def _began(folder: Path) -> float | None:
    from tuning.spec.models import SPEC_FILE

    return (folder / SPEC_FILE).stat().st_mtime


def _best(studies: Sequence[StudySummary]) -> str:
    """The metric and the best validation score of `studies`, which share it."""
    scores = [study.best for study in studies if study.best is not None]
    if not scores:
        return "-"
    return f"{studies[0].metric} {(max if studies[0].mode == 'max' else min)(scores):.4f}"
