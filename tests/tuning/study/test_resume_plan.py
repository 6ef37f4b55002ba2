"""A resume keeps and owes the right trials, for every combination of what is recorded and what is saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.support.outcomes import make_report, population, scored, study, trial
from tuning.budget import BudgetUse, ResourceUsage
from tuning.checkpoints.kept_checkpoints import RecordedCheckpoints
from tuning.errors import RunFolderError
from tuning.outcome import Confirmation, StudyOutcome, StudyState, TrialOutcome, TrialState
from tuning.spec.store_url import StoreError
from tuning.store.resumable_study import ResumableStudy
from tuning.study.budget_tracker import Spent
from tuning.study.resume import Saved, Search, SpecifiedStudy, StudyPlan, plan
from tuning.tune_compat.snapshots import FoundSnapshots

pytestmark = pytest.mark.unit

KEY = ("grid", 0)
TRAININGS = ((1, 1000), (1, 1001), (2, 1000), (2, 1001))
ASKED = SpecifiedStudy(*KEY, trainings=TRAININGS, test=True)
TRIALS = [
    trial(0, [make_report(1, 0.5), make_report(2, 0.6)], TrialState.COMPLETED),
    trial(1, [make_report(1, 0.4)], TrialState.RUNNING),
    trial(2, [], TrialState.RUNNING),
]
WRITTEN = {"t0": 2, "t1": 1, "t2": 0}


def confirmed(rank: int, seed: int, *, tested: bool = False) -> Confirmation:
    scores = {"accuracy": 0.5}
    return Confirmation(rank, "t0", 1.0, (), 0.5, seed, 1.0, 0.0, validation=scores, test=scores if tested else None)


def searching(trials: list[TrialOutcome] | None = None) -> StudyOutcome:
    return study("grid", TRIALS if trials is None else trials, state=StudyState.RUNNING)


FINISHED = study("grid", [trial(0, [make_report(1, 0.5)])])
RECORDED: dict[str, ResumableStudy | None] = {
    "nothing": None,
    "running": ResumableStudy(searching(), WRITTEN, interrupted_at=77.0),
    "finished": ResumableStudy(FINISHED, {"t0": 1}),
    "stopped for failures": ResumableStudy(searching(), WRITTEN, stopped_for_failures=True),
    "confirmed in part": ResumableStudy(replace(FINISHED, confirmations=(confirmed(1, 1000), confirmed(2, 1001)))),
    "tested": ResumableStudy(
        replace(FINISHED, confirmations=tuple(confirmed(rank, seed, tested=rank == 1) for rank, seed in TRAININGS))
    ),
}
SEARCHING = ("running", "stopped for failures")
OVER = ("finished", "confirmed in part", "tested")
DAMAGED = ("/s/snapshots/snapshot-000009 is damaged (checksum differs, 0 bytes)",)
SAVED: dict[str, FoundSnapshots] = {
    "no snapshot": FoundSnapshots("/s"),
    "older": FoundSnapshots("/s", "snapshot-000008", 0.0, {"t0": 1}, begun=True),
    "equal": FoundSnapshots("/s", "snapshot-000009", 0.0, WRITTEN, begun=True),
    "older behind a damaged one": FoundSnapshots("/s", "snapshot-000008", 0.0, {"t0": 1}, DAMAGED, begun=True),
    "damaged": FoundSnapshots("/s", damaged=DAMAGED, begun=True),
    "of other trials": FoundSnapshots("/s", "snapshot-000009", 0.0, {"x0": 2}, begun=True),
    "no snapshot, but begun": FoundSnapshots("/s", begun=True),
}


def plan_of(recorded: str, saved: str, asked: SpecifiedStudy = ASKED) -> StudyPlan:
    known = RECORDED[recorded]
    (one,) = plan([asked], [] if known is None else [known], {KEY: Saved(SAVED[saved])}, "study.db")
    return one


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("recorded", OVER)
def test_a_finished_search_is_kept_whatever_lies_on_the_storage(recorded: str, saved: str) -> None:
    one = plan_of(recorded, saved)
    known = RECORDED[recorded]
    assert known is not None
    assert (one.search, one.recorded, one.snapshot, one.positions) == (Search.KEEP, known.outcome, None, {})
    owed = {
        "finished": (TRAININGS, True),
        "confirmed in part": (((1, 1001), (2, 1000)), True),
        "tested": ((), False),
    }
    assert (one.trainings, one.test) == owed[recorded]


@pytest.mark.parametrize("saved", ["damaged", "no snapshot, but begun"])
@pytest.mark.parametrize("recorded", ["nothing", *SEARCHING])
def test_a_search_that_has_begun_without_a_whole_snapshot_is_refused(recorded: str, saved: str) -> None:
    problem = {"damaged": "snapshot-000009 is damaged", "no snapshot, but begun": "/s/snapshots holds no snapshot"}
    with pytest.raises(
        RunFolderError, match=rf"^grid, seed 0: .*{problem[saved]}.* cannot go on\. Remove the folder /s "
    ):
        plan_of(recorded, saved)


@pytest.mark.parametrize(
    ("recorded", "saved", "lost"),
    [
        ("nothing", "older", "trial t0 of grid, seed 0 it holds 0 events, and 1 were recorded"),
        ("nothing", "equal", "trial t0 of grid, seed 0 it holds 0 events, and 2 were recorded"),
        ("nothing", "older behind a damaged one", "trial t0"),
        ("nothing", "of other trials", "trial x0"),
        ("running", "of other trials", "trial x0"),
        ("stopped for failures", "of other trials", "trial x0"),
    ],
)
def test_a_store_that_has_lost_what_a_snapshot_knows_is_refused(recorded: str, saved: str, lost: str) -> None:
    with pytest.raises(StoreError, match=f"study store study.db: damaged, or an older copy: of {lost}"):
        plan_of(recorded, saved)


@pytest.mark.parametrize("recorded", ["nothing", *SEARCHING])
def test_a_search_that_a_version_with_other_modules_has_begun_is_refused(recorded: str) -> None:
    saved = replace(SAVED["equal"], missing=("tuning.gone", "tuning.gone.place"))
    known = RECORDED[recorded]
    with pytest.raises(RunFolderError, match=r"snapshot-000009 needs tuning.gone, tuning.gone.place.*--fresh"):
        plan([ASKED], [] if known is None else [known], {KEY: Saved(saved)}, "study.db")


@pytest.mark.parametrize("recorded", ["nothing", *SEARCHING])
def test_without_a_snapshot_a_search_begins_and_every_trial_is_proposed_again(recorded: str) -> None:
    one = plan_of(recorded, "no snapshot")
    assert (one.search, one.snapshot, one.positions, one.warning) == (Search.BEGIN, None, {}, "")
    assert one.unsaved == (frozenset() if recorded == "nothing" else {"t0", "t1", "t2"})
    assert (one.trainings, one.test) == ((), True)


@pytest.mark.parametrize("recorded", SEARCHING)
@pytest.mark.parametrize("saved", ["older", "older behind a damaged one"])
def test_from_an_older_snapshot_what_comes_after_it_is_taken_back(recorded: str, saved: str) -> None:
    one = plan_of(recorded, saved)
    assert (one.search, one.snapshot) == (Search.CONTINUE, "snapshot-000008")
    assert one.positions == {"t0": 1}
    assert one.unsaved == {"t1", "t2"}
    assert one.retry_failed == (recorded == "stopped for failures")
    if saved == "older":
        assert one.warning == ""
    else:
        assert one.warning.startswith(f"grid, seed 0: {DAMAGED[0]}; going on from snapshot-000008 of 1970-01-01 ")
        assert ": 2 reports come again" in one.warning


@pytest.mark.parametrize("recorded", SEARCHING)
def test_from_a_snapshot_of_all_that_is_recorded_nothing_is_taken_back(recorded: str) -> None:
    one = plan_of(recorded, "equal")
    assert (one.search, one.positions, one.unsaved) == (Search.CONTINUE, WRITTEN, frozenset())


def test_a_study_that_no_store_knows_goes_on_from_a_snapshot_without_events() -> None:
    empty = FoundSnapshots("/s", "snapshot-000001", 0.0, {"t0": 0}, begun=True)
    (one,) = plan([ASKED], [], {KEY: Saved(empty)})
    assert (one.search, one.snapshot, one.positions, one.unsaved) == (
        Search.CONTINUE,
        "snapshot-000001",
        {},
        frozenset(),
    )


def test_reports_behind_a_snapshot_are_counted_among_the_exploits() -> None:
    donor, member = population()  # the member's events: two reports, an exploit, two reports
    found = FoundSnapshots("/s", "snapshot-000001", 0.0, {"t0": 3, "t1": 3}, DAMAGED)
    written = ResumableStudy(searching([donor, member]), {"t0": 3, "t1": 5})
    (one,) = plan([ASKED], [written], {KEY: Saved(found)})
    assert ": 2 reports come again" in one.warning


def test_what_earlier_runs_have_cost_is_kept() -> None:
    budget = BudgetUse("epochs", 10.0, 3.0, reached=True)
    known = ResumableStudy(replace(searching(), budget=budget, slot_seconds=150.0), WRITTEN, interrupted_at=77.0)
    (one,) = plan([ASKED], [known])
    assert one.spent == Spent(
        ResourceUsage(100.0, 150.0, 75.0), {"t0": 2.0, "t1": 1.0, "t2": 0.0}, reached=True, interrupted_at=77.0
    )
    assert plan([ASKED])[0].spent == Spent()


def test_checkpoints_are_kept_wait_for_their_trial_or_are_gone() -> None:
    running = replace(
        TRIALS[1], checkpoints={1.0: "/1", 2.0: "/2", 3.0: "/3"}
    )  # the reports of 2 and 3 were taken back
    ended = replace(TRIALS[0], checkpoints={1.0: "/a", 2.0: "/b", 9.0: "/c"})
    known = ResumableStudy(searching([ended, running]), WRITTEN)
    (one,) = plan([ASKED], [known], {KEY: Saved(checkpoints=frozenset({"/a", "/c", "/1", "/2"}))})
    assert one.checkpoints == (
        RecordedCheckpoints("t0", running=False, kept=((1.0, "/a", 0.5),), gone=(2.0,)),
        RecordedCheckpoints("t1", running=True, kept=((1.0, "/1", 0.4),), ahead=((2.0, "/2"),), gone=(3.0,)),
    )


@pytest.mark.parametrize(("mode", "better"), [("max", 0.7), ("min", 0.2)])
def test_of_an_epoch_that_a_trial_passed_twice_the_better_score_counts(mode: str, better: float) -> None:
    member = replace(population()[1], state=TrialState.RUNNING, checkpoints={2.0: "/2"})
    outcome = replace(searching([member]), mode=mode)  # type: ignore[arg-type]
    (one,) = plan([ASKED], [ResumableStudy(outcome, {"t1": 5})], {KEY: Saved(checkpoints=frozenset({"/2"}))})
    assert one.checkpoints[0].kept == ((2.0, "/2", better),)


def test_without_a_test_split_or_with_a_score_no_evaluation_is_owed() -> None:
    assert not plan_of("finished", "no snapshot", replace(ASKED, test=False)).test
    looked = replace(FINISHED, test=scored("t0", 1.0, 0.5))
    (one,) = plan([SpecifiedStudy(*KEY, test=True)], [ResumableStudy(looked)])
    assert not one.test


def test_interrupted_studies_come_first_and_others_in_the_order_of_the_spec() -> None:
    asked = [SpecifiedStudy(name, seed) for seed in (0, 1) for name in ("a", "b", "c")]
    known: Mapping[tuple[str, int], StudyState] = {("b", 0): StudyState.FINISHED, ("c", 1): StudyState.RUNNING}
    recorded = [
        ResumableStudy(replace(study(name, [], seed=seed), state=state)) for (name, seed), state in known.items()
    ]
    plans = plan(asked, [*recorded, ResumableStudy(study("not asked for", []))])
    assert [one.study.key for one in plans] == [("b", 0), ("c", 1), ("a", 0), ("c", 0), ("a", 1), ("b", 1)]
    assert [one.search for one in plans] == [Search.KEEP, *[Search.BEGIN] * 5]
