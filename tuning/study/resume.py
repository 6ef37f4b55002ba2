"""The resume plan: what of an experiment is kept and what is owed. Pure, no I/O.

In: the studies of the spec, in their order; what the study store has recorded of them (`ResumableStudy`);
what lies on the storage (`Saved`): Tune's snapshots and the checkpoints. Out: one `StudyPlan` per study. A run makes
its plan before it starts anything, and again after the searches, when it is known which configurations to confirm.

A study is kept whole once it has finished. One that has not is owed: it goes on from the newest snapshot that is whole.
What is recorded after that snapshot is computed again, or reported again where its checkpoint is there.

Which checkpoint a trial goes on from is not decided here: Tune's own record of the trial in that snapshot names it.
What the plan has of checkpoints (`RecordedCheckpoints`) tells the keeper which files on the storage still count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from trainables.reporting import Report
from tuning.checkpoints.kept_checkpoints import RecordedCheckpoints
from tuning.errors import RunFolderError
from tuning.outcome import StudyOutcome, StudyState, TrialOutcome, TrialState
from tuning.pareto import LossPoint
from tuning.spec.store_url import StoreError
from tuning.store.resumable_study import ResumableStudy
from tuning.study.budget_tracker import Spent, spent_by
from tuning.tune_compat.snapshots import FoundSnapshots


class Search(StrEnum):
    """The three things that a run may do with the search of a study."""

    BEGIN = "begin"  # from its first trial
    CONTINUE = "continue"  # from a snapshot
    KEEP = "keep"  # it has finished


@dataclass(frozen=True)
class SpecifiedStudy:
    """A study of the spec, with what the spec wants after its search.

    Args:
        strategy, seed: its strategy's label and its search seed.
        trainings: rank and training seed of each confirmation; () without `confirm:`, or while the search is not over.
        test: True if its chosen models are to be scored on the test split.
    """

    strategy: str
    seed: int
    trainings: tuple[tuple[int, int], ...] = ()
    test: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """The strategy and the seed, under which records and files are found."""
        return self.strategy, self.seed


@dataclass(frozen=True)
class Saved:
    """The files of one study that lie on the storage.

    Args:
        snapshots: Tune's snapshots.
        checkpoints: the recorded paths at which a checkpoint is there.
    """

    snapshots: FoundSnapshots = field(default_factory=FoundSnapshots)
    checkpoints: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StudyPlan:
    """The plan of one study: what is kept, and what is owed.

    Args:
        study: of the spec.
        recorded: its outcome so far; None: nothing is recorded.
        search: what to do with its search. Of one that is kept the fields from `snapshot` to `checkpoints` are empty.
        snapshot: the name of the snapshot that Tune goes on from.
        positions: by trial id, the number of recorded events that stay; later ones are replaced as they come again.
        unsaved: ids of trials that are recorded, and in no snapshot: the strategy will propose them again.
        retry_failed: True if trials that have failed run again, since the run stopped because they failed alike.
        spent: what it has cost.
        checkpoints: those that are recorded, by what a resume does with them, in the order of the trials.
        warning: why it does not go on from the newest snapshot; "" if it does.
        trainings: rank and training seed of each confirmation that is owed.
        test: True if an evaluation on the test split is owed.
    """

    study: SpecifiedStudy
    recorded: StudyOutcome | None = None
    search: Search = Search.BEGIN
    snapshot: str | None = None
    positions: Mapping[str, int] = field(default_factory=dict)
    unsaved: frozenset[str] = frozenset()
    retry_failed: bool = False
    spent: Spent = field(default_factory=Spent)
    checkpoints: tuple[RecordedCheckpoints, ...] = ()
    warning: str = ""
    trainings: tuple[tuple[int, int], ...] = ()
    test: bool = False


def plan(
    studies: Sequence[SpecifiedStudy],
    recorded: Sequence[ResumableStudy] = (),
    saved: Mapping[tuple[str, int], Saved] | None = None,
    store: str = "",
) -> tuple[StudyPlan, ...]:
    """Decide what is kept and what is owed of each study.

    Args:
        studies: of the spec, in the order in which a new experiment runs them.
        recorded: what the store holds, in any order; other studies are passed over.
        saved: by strategy and seed; nothing is there of a study that is not in it.
        store: the store as users see it, for errors.

    Returns:
        In the order in which they run: those that were interrupted come first.

    Raises:
        RunFolderError: the search of a study has begun, and no snapshot of it is whole; or the newest is of a version
            with other names.
        StoreError: the store has lost events that a snapshot knows.
    """
    known = {(one.outcome.strategy, one.outcome.seed): one for one in recorded}
    plans = [_study_plan(one, known.get(one.key), (saved or {}).get(one.key, Saved()), store) for one in studies]
    return tuple(sorted(plans, key=lambda one: one.recorded is None))  # stable


def recorded_checkpoints(study: StudyOutcome, there: frozenset[str]) -> tuple[RecordedCheckpoints, ...]:
    """Sort the recorded checkpoints of a study by what a resume does with each.

    Args:
        there: the paths at which a checkpoint lies on the storage.

    Returns:
        One per trial, in their order; see `RecordedCheckpoints`.
    """
    return tuple(_checkpoints_of(trial, study, there) for trial in study.trials)


def _study_plan(study: SpecifiedStudy, recorded: ResumableStudy | None, saved: Saved, store: str) -> StudyPlan:
    if recorded is not None and recorded.outcome.state is StudyState.FINISHED:
        return _after_the_search(study, recorded.outcome)
    snapshots, name = saved.snapshots, f"{study.strategy}, seed {study.seed}"
    if snapshots.newest is None and (snapshots.damaged or snapshots.begun):
        raise RunFolderError(f"{name}: {_without_a_snapshot(snapshots)}")
    if snapshots.missing:
        raise RunFolderError(f"{name}: {_of_another_version(snapshots)}")
    _refuse_lost_events(snapshots.positions, recorded, name, store)
    search = Search.BEGIN if snapshots.newest is None else Search.CONTINUE
    if recorded is None:
        return StudyPlan(study, search=search, snapshot=snapshots.newest, test=study.test)
    return StudyPlan(
        study,
        recorded.outcome,
        search,
        snapshot=snapshots.newest,
        positions={trial: number for trial, number in snapshots.positions.items() if trial in recorded.written},
        unsaved=frozenset(recorded.written.keys() - snapshots.positions.keys()),
        retry_failed=recorded.stopped_for_failures,
        spent=spent_by(recorded.outcome, recorded.interrupted_at),
        checkpoints=recorded_checkpoints(recorded.outcome, saved.checkpoints),
        warning=_passed_over(snapshots, recorded.outcome, name) if snapshots.damaged else "",
        test=study.test,
    )


def _after_the_search(study: SpecifiedStudy, outcome: StudyOutcome) -> StudyPlan:
    """Plan the confirmations and the evaluation of a study whose search has finished."""
    done = {(one.rank, one.seed) for one in outcome.confirmations}
    trainings = tuple(one for one in study.trainings if one not in done)
    evaluated = outcome.test is not None or any(one.test is not None for one in outcome.confirmations)
    evaluated = evaluated or bool(outcome.front_tests)
    return StudyPlan(study, outcome, Search.KEEP, trainings=trainings, test=study.test and not evaluated)


def _without_a_snapshot(found: FoundSnapshots) -> str:
    problem = "; ".join(found.damaged) or f"{found.folder}/snapshots holds no snapshot, but the study has begun"
    return (
        f"{problem}, so the study cannot go on. Remove the folder {found.folder} to run its trials again; what is "
        "recorded stays, as lost"
    )


def _of_another_version(found: FoundSnapshots) -> str:
    return (
        f"begun by a version of tunefleet whose code had other names ({found.folder}/snapshots/{found.newest} needs "
        f"{', '.join(found.missing)}), so this version cannot go on with it, not with --force either. Go on with the "
        "version that began it, or begin anew with `tunefleet run --fresh`, which removes what is there. Until then "
        "all that is recorded stays readable: `tunefleet compare`, `report`, `results`, `export`"
    )


def _refuse_lost_events(positions: Mapping[str, int], recorded: ResumableStudy | None, name: str, store: str) -> None:
    """Refuse a store that holds fewer events than a snapshot has counted.

    Raises:
        StoreError: it does.
    """
    written = {} if recorded is None else recorded.written
    for trial, position in positions.items():
        if written.get(trial, 0) < position:
            raise StoreError(
                f"study store {store}: damaged, or an older copy: of trial {trial} of {name} it holds "
                f"{written.get(trial, 0)} events, and {position} were recorded. Bring a good copy back, or give the "
                "store that its run was given (TUNEFLEET_STORE)"
            )


def _passed_over(found: FoundSnapshots, outcome: StudyOutcome, name: str) -> str:
    """Warn that newer snapshots are damaged."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.taken))
    later = sum(
        place >= found.positions.get(trial.id, 0) for trial in outcome.trials for place in _places_of_reports(trial)
    )
    return (
        f"{name}: {'; '.join(found.damaged)}; going on from {found.newest} of {when}: {later} reports come again, from "
        "their checkpoints where those are whole, else by training"
    )


def _places_of_reports(trial: TrialOutcome) -> Iterator[int]:
    """The index of each report among the trial's events, which are reports and exploits."""
    for number in range(len(trial.reports)):
        yield number + sum(exploit.reports <= number for exploit in trial.lineage)


def _checkpoints_of(trial: TrialOutcome, study: StudyOutcome, there: frozenset[str]) -> RecordedCheckpoints:
    sign = 1 if study.mode == "max" else -1
    reports: dict[float, Report] = {}
    for report in trial.reports:  # of an epoch that was passed twice the better one's checkpoint is recorded
        before = reports.setdefault(report.epoch, report)
        if sign * report.metrics[study.metric] > sign * before.metrics[study.metric]:
            reports[report.epoch] = report
    running = trial.state is TrialState.RUNNING
    recorded = sorted(trial.checkpoints.items())
    found = [(epoch, path) for epoch, path in recorded if path in there]
    return RecordedCheckpoints(
        trial.id,
        running,
        kept=tuple((epoch, path, _score(study, reports[epoch])) for epoch, path in found if epoch in reports),
        ahead=tuple((epoch, path) for epoch, path in found if running and epoch not in reports),
        gone=tuple(epoch for epoch, path in recorded if path not in there),
    )


def _score(study: StudyOutcome, report: Report) -> float | LossPoint:
    return report.metrics[study.metric] if study.goal is None else LossPoint.of(study.goal, report.metrics)
