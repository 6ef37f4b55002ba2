"""The keeper deletes what it should and, more important, nothing else; driven by hand as Tune and the runner do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.outcomes import make_report, study, trial
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checksums import write_checksums
from trainables.machine import clock
from trainables.spec import Objective
from tuning.checkpoints.keeper import CheckpointKeeper
from tuning.outcome import TrialOutcome, TrialState
from tuning.selection.test_scoring import choose_checkpoint
from tuning.study.resume import recorded_checkpoints

pytestmark = pytest.mark.unit


class Study:
    """A study folder, a keeper and what the keeper has told of its deletions."""

    def __init__(
        self, folder: Path, before: list[TrialOutcome] | None = None, pinned: Callable[[], set[str]] = set
    ) -> None:
        self.folder = folder
        self.dropped: list[tuple[str, float]] = []
        self.trials: dict[str, Any] = {}
        there = frozenset(str(path) for path in folder.glob("*/checkpoint_*"))
        self.keeper = CheckpointKeeper(
            Objective(metric="accuracy", mode="max"),
            lambda *deletion: self.dropped.append(deletion),
            pinned,
            recorded=recorded_checkpoints(study("grid", before or []), there),
        )

    def save(self, trial_id: str, epoch: int, accuracy: float) -> None:
        """The trial reports and its checkpoint arrives."""
        told = self.known(trial_id)
        told.last_result = {"epoch": epoch, "metrics": {"accuracy": accuracy}}
        path = folder_of(self.folder, trial_id, epoch)
        path.mkdir(parents=True, exist_ok=True)
        self.keeper.on_checkpoint(0, self.listed, told, SimpleNamespace(path=str(path)))
        told.checkpoint = SimpleNamespace(path=str(path))

    def known(self, trial_id: str) -> Any:
        """As Tune lists it, running."""
        fresh = SimpleNamespace(trial_id=trial_id, last_result={}, checkpoint=None, is_finished=lambda: False)
        return self.trials.setdefault(trial_id, fresh)

    def end(self, trial_id: str) -> None:
        self.keeper.on_trial_complete(0, self.listed, self.trials[trial_id])
        self.trials[trial_id].is_finished = lambda: True

    @property
    def listed(self) -> list[Any]:
        return list(self.trials.values())

    @property
    def left(self) -> list[str]:
        return sorted(f"{path.parent.name}{int(path.name[-6:])}" for path in self.folder.glob("*/checkpoint_*"))


def folder_of(folder: Path, trial_id: str, epoch: int) -> Path:
    return folder / trial_id / f"checkpoint_{epoch:06d}"


def recorded(folder: Path, number: int, scores: list[float], state: TrialState = TrialState.RUNNING) -> TrialOutcome:
    """A trial as the store gives it back, with a checkpoint of every epoch."""
    reports = [make_report(epoch + 1, score) for epoch, score in enumerate(scores)]
    outcome = trial(number, reports, state)
    for r in reports:
        path = folder_of(folder, outcome.id, int(r.epoch))
        path.mkdir(parents=True)
        write_checksums(path)
        outcome = _with_checkpoint(outcome, r.epoch, path)
    return outcome


def _with_checkpoint(outcome: TrialOutcome, epoch: float, path: Path) -> TrialOutcome:
    from dataclasses import replace

    return replace(outcome, checkpoints={**outcome.checkpoints, epoch: str(path)})


def test_the_best_and_the_newest_of_a_running_trial_stay(tmp_path: Path) -> None:
    kept = Study(tmp_path)
    for epoch, accuracy in enumerate([0.5, 0.9, 0.6, 0.7], start=1):
        kept.save("a", epoch, accuracy)
    assert kept.left == ["a2", "a4"]
    assert kept.dropped == [("a", 1.0), ("a", 3.0)]


def test_an_ended_trial_keeps_nothing_but_the_best_of_the_study(tmp_path: Path) -> None:
    kept = Study(tmp_path)
    kept.save("a", 1, 0.9)
    kept.end("a")
    kept.save("b", 1, 0.5)
    assert kept.left == ["a1", "b1"]
    kept.end("b")
    for _ in range(3):  # its end is in a snapshot that is on storage
        kept.keeper.get_state()
    kept.save("c", 1, 0.1)
    assert kept.left == ["a1", "c1"]


def test_what_the_last_snapshots_name_stays_until_newer_ones_replace_them(tmp_path: Path) -> None:
    """Epochs may be much shorter than the time between snapshots; a resume needs the checkpoint that one names."""
    kept = Study(tmp_path)
    kept.save("a", 1, 0.9)
    for epoch in range(2, 6):
        kept.save("a", epoch, 0.1)
        if epoch in (2, 4):
            kept.keeper.get_state()
    assert kept.left == ["a1", "a2", "a4", "a5"]
    kept.keeper.get_state()
    kept.save("a", 6, 0.1)
    assert kept.left == ["a1", "a2", "a4", "a5", "a6"]
    kept.keeper.get_state()
    kept.save("a", 7, 0.1)
    assert kept.left == ["a1", "a4", "a5", "a6", "a7"]


def test_an_ended_trial_is_not_held_by_later_snapshots(tmp_path: Path) -> None:
    kept = Study(tmp_path)
    kept.save("a", 1, 0.1)
    kept.keeper.get_state()
    kept.end("a")
    kept.save("b", 1, 0.9)
    assert kept.left == ["a1", "b1"]  # a resume from that snapshot would continue trial a
    for _ in range(3):
        kept.keeper.get_state()
    kept.save("b", 2, 0.2)
    assert kept.left == ["b1", "b2"]


def test_an_ended_trials_last_checkpoint_stays_until_a_snapshot_knows_of_the_end(tmp_path: Path) -> None:
    kept = Study(tmp_path)
    kept.save("b", 1, 0.9)
    kept.keeper.get_state()
    kept.keeper.get_state()
    kept.save("a", 1, 0.1)
    kept.end("a")
    kept.keeper.get_state()
    kept.save("b", 2, 0.2)
    assert kept.left == ["a1", "b1", "b2"]  # the snapshot that knows may not have arrived yet
    kept.keeper.get_state()
    kept.save("b", 3, 0.2)
    assert kept.left == ["a1", "b1", "b2", "b3"]  # or be damaged
    kept.keeper.get_state()
    kept.save("b", 4, 0.2)
    assert kept.left == ["b1", "b2", "b3", "b4"]


def test_what_a_report_costs_does_not_grow_with_the_trials_that_have_ended(tmp_path: Path) -> None:
    kept = Study(tmp_path)
    asked: list[str] = []
    for trial_id in "abcdef":
        kept.save(trial_id, 1, 0.5)
        kept.end(trial_id)
        kept.trials[trial_id].is_finished = lambda ended=trial_id: asked.append(ended) or True
    for _ in range(3):  # the ends are in a snapshot that is on storage
        kept.keeper.get_state()
    kept.save("g", 1, 0.4)
    assert asked == []
    assert kept.left == ["a1", "g1"]


class SlowDriver:
    """A clock by which the driver takes half a second from one look at it to the next."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 0.5
        return self.now

    def time(self) -> float:
        return self.monotonic()

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_where_to_decide_takes_long_checkpoints_are_dropped_later_and_all_of_them(tmp_path: Path) -> None:
    """A report must not wait for that where thousands of trials live."""
    with clock.use(SlowDriver()):
        kept, left = Study(tmp_path), []
        for epoch in range(1, 13):
            kept.save("a", epoch, 1.0 / epoch)
            left.append(kept.left)
            assert {"a1", f"a{epoch}"} <= {*kept.left}
        clock.sleep(1000.0)
        kept.save("a", 13, 0.01)
    assert max(map(len, left)) > 4
    assert kept.left == ["a1", "a13"]


def test_pinned_checkpoints_stay(tmp_path: Path) -> None:
    pins: set[str] = set()
    kept = Study(tmp_path, pinned=lambda: pins)
    kept.save("a", 1, 0.2)
    pins.add(str(folder_of(tmp_path, "a", 1)))
    kept.save("a", 2, 0.9)
    kept.end("a")
    assert kept.left == ["a1", "a2"]


def test_what_was_pinned_at_one_of_the_last_three_snapshots_stays(tmp_path: Path) -> None:
    pins: set[str] = set()
    kept = Study(tmp_path, pinned=lambda: pins)
    kept.save("a", 1, 0.2)
    pins.add(str(folder_of(tmp_path, "a", 1)))
    kept.keeper.get_state()
    pins.clear()
    kept.save("a", 2, 0.9)
    assert kept.left == ["a1", "a2"]
    for epoch in (3, 4, 5):
        kept.keeper.get_state()
        kept.save("a", epoch, 0.3)
    assert "a1" not in kept.left


def test_of_equal_scores_the_first_in_order_of_the_trials_stays_as_the_outcome_names_it(tmp_path: Path) -> None:
    kept = Study(tmp_path, [recorded(tmp_path, 0, [0.5]), recorded(tmp_path, 1, [0.7]), recorded(tmp_path, 2, [0.7])])
    kept.keeper.finish(str(tmp_path))
    assert kept.left == ["t11"]


def test_a_resumed_study_deletes_nothing_that_its_snapshot_may_name(tmp_path: Path) -> None:
    kept = Study(tmp_path, [recorded(tmp_path, 0, [0.9, 0.1, 0.2])])
    kept.save("t1", 1, 0.3)
    assert kept.left == ["t01", "t02", "t03", "t11"]


def test_a_trial_that_has_ended_but_not_for_tune_can_still_be_started_from_its_checkpoint(tmp_path: Path) -> None:
    """The driver was killed after the end and before a snapshot that knows it; another trial is run first."""
    kept = Study(tmp_path, [recorded(tmp_path, 0, [0.1, 0.2], TrialState.COMPLETED), recorded(tmp_path, 1, [0.9])])
    kept.known("t0").checkpoint = SimpleNamespace(path=str(folder_of(tmp_path, "t0", 1)))
    for epoch in (2, 3, 4):
        kept.save("t1", epoch, 0.5)
        kept.keeper.get_state()
    assert "t01" in kept.left


def test_a_function_that_was_set_back_replaces_its_later_checkpoints(tmp_path: Path) -> None:
    """Epoch 3 was the best of the lost stretch; computed again, or not at all, it must not be what is kept."""
    kept = Study(tmp_path, [recorded(tmp_path, 0, [0.1, 0.2, 0.9])])
    kept.save("t0", 2, 0.3)
    assert kept.left == ["t01", "t02"]
    kept.end("t0")
    kept.keeper.finish(str(tmp_path))
    assert kept.left == ["t02"]


def with_recipes(folder: Path, scores: list[float]) -> TrialOutcome:
    """As `recorded`; a slot has written them."""
    outcome = recorded(folder, 0, scores)
    for epoch, path in outcome.checkpoints.items():
        CheckpointManifest.after(None, {"learning_rate": 1e-3}, epoch, moments=False, node=None).write(Path(path))
    return outcome


def test_the_later_checkpoints_of_a_trial_that_was_set_back_wait_for_it_and_are_none_of_the_study_until_then(
    tmp_path: Path,
) -> None:
    kept = Study(tmp_path, [with_recipes(tmp_path, [0.1, 0.2, 0.9])])
    kept.save("t0", 2, 0.3)
    assert kept.left == ["t01", "t02", "t03"]
    kept.end("t0")
    assert kept.dropped == [("t0", 3.0)]
    kept.keeper.finish(str(tmp_path))
    assert kept.left == ["t02"]


def test_a_trial_that_was_set_back_comes_to_its_later_checkpoints_again(tmp_path: Path) -> None:
    kept = Study(tmp_path, [with_recipes(tmp_path, [0.1, 0.2, 0.9, 0.4])])
    kept.save("t0", 2, 0.2)
    kept.save("t0", 3, 0.9)
    kept.end("t0")
    assert kept.dropped == [("t0", 4.0)]
    kept.keeper.finish(str(tmp_path))
    assert kept.left == ["t03"]


def test_the_later_checkpoints_of_a_trial_that_was_set_back_stay_however_long_it_waits_for_a_slot(
    tmp_path: Path,
) -> None:
    """One slot: the others of a population come first, each with a snapshot."""
    kept = Study(tmp_path, [with_recipes(tmp_path, [0.1, 0.2, 0.3])])
    kept.known("t0").checkpoint = SimpleNamespace(path=str(folder_of(tmp_path, "t0", 2)))
    for epoch in range(1, 7):
        kept.save("t1", epoch, 0.9)
        kept.keeper.get_state()
    assert [name for name in kept.left if name.startswith("t0")] == ["t01", "t02", "t03"]
    kept.save("t0", 3, 0.3)
    kept.save("t0", 4, 0.3)
    assert [name for name in kept.left if name.startswith("t0")] == ["t02", "t04"]  # a snapshot names the former


def test_a_deletion_that_was_not_recorded_before_a_crash_is_recorded_now(tmp_path: Path) -> None:
    before = recorded(tmp_path, 0, [0.1, 0.9])
    shutil.rmtree(folder_of(tmp_path, "t0", 1))
    kept = Study(tmp_path, [before])
    kept.keeper.finish(str(tmp_path))
    assert kept.dropped == [("t0", 1.0)]
    assert kept.left == ["t02"]


def test_at_the_end_a_checkpoint_that_nobody_recorded_goes_too(tmp_path: Path) -> None:
    kept = Study(tmp_path)
    kept.save("a", 1, 0.5)
    folder_of(tmp_path, "lost", 3).mkdir(parents=True)
    kept.keeper.finish(str(tmp_path))
    assert kept.left == ["a1"]


def test_a_study_without_a_checkpoint_ends_without_one(tmp_path: Path) -> None:
    kept = Study(tmp_path)
    kept.keeper.finish(str(tmp_path))
    assert kept.left == []


def test_the_best_report_that_has_a_checkpoint_is_chosen_and_a_better_one_without_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, died = recorded(tmp_path, 0, [0.5, 0.7]), trial(1, [make_report(1, 0.9)], TrialState.FAILED, error="killed")
    choice = choose_checkpoint(study("grid", [good, died]))
    assert choice is not None
    assert (choice.trial.id, choice.report.epoch, choice.checkpoint) == ("t0", 2, good.checkpoints[2])
    assert (
        "the best report (trial 1 (t1) at epoch 1) has no checkpoint; trial 0 (t0) at epoch 2 is scored" in caplog.text
    )


def test_nothing_is_chosen_and_nothing_said_where_no_trial_has_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_checkpoint(study("grid", [trial(0, [], TrialState.FAILED, error="nan")])) is None
    assert caplog.text == ""


def test_without_any_checkpoint_nothing_is_scored_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_checkpoint(study("grid", [trial(0, [make_report(1, 0.9)])])) is None
    assert "nothing is scored on test instead" in caplog.text
