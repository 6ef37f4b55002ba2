"""Populations whose members do not wait, in virtual time: who takes over from whom, and what slots do meanwhile."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import MINUTE, history, long_experiment, run_study
from trainables.reporting import Report
from tuning import run_experiment
from tuning.outcome import StudyOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

EPOCHS = 4
EPOCH = "model.seconds_per_epoch"
# Each member has a pace of its own, and no two reports come at the same time.
PACES: dict[str, Any] = {
    "learning_rate": {"loguniform": [1e-5, 1e-2]},
    EPOCH: {"uniform": [20.0, 80.0], "mutate": False},
}
KINDS = ("pbt", "pb2")


def spec_of(folder: Path, members: int, slots: int, kind: str = "pbt", **changed: Any) -> ExperimentSpec:
    strategy = {"kind": kind, "population": members, "synchronous": False, **changed.pop("strategy", {})}
    given = {"strategies": [strategy], "space": PACES, "fixed": {}, "seeds": [1], "cluster": {"max_concurrent": slots}}
    return long_experiment(folder, **{**given, **changed})


def run(spec: ExperimentSpec, **options: Any) -> tuple[StudyOutcome, SimulatedRay]:
    slots = spec.cluster.max_concurrent
    return run_study(spec, SimulatedNode(cpus=slots or 4), **{"tick": 1.0, **options})


@pytest.fixture(scope="module", params=KINDS)
def five_over_three(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyOutcome, SimulatedRay]:
    """Five members in three slots."""
    return run(spec_of(tmp_path_factory.mktemp("five"), members=5, slots=3, kind=request.param))


def spans(study: StudyOutcome) -> list[tuple[float, float]]:
    """When each epoch of a trial began and ended."""
    return [(r.time - float(str(r.params[EPOCH])), r.time) for trial in study.trials for r in trial.reports]


def reports_in_order(study: StudyOutcome) -> list[tuple[int, int, Report]]:
    """Member, place among its reports, and report, by time."""
    found = [(trial.number, place, one) for trial in study.trials for place, one in enumerate(trial.reports)]
    return sorted(found, key=lambda one: one[2].time)


def test_every_member_trains_to_its_end(five_over_three: tuple[StudyOutcome, SimulatedRay]) -> None:
    study, _ = five_over_three
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 5
    assert {trial.epochs for trial in study.trials} == {EPOCHS}
    assert any(trial.lineage for trial in study.trials)


def test_each_member_is_compared_with_the_latest_scores_of_the_others(
    five_over_three: tuple[StudyOutcome, SimulatedRay],
) -> None:
    """Goes through the recorded reports by time, and decides on each by the rule alone."""
    study, _ = five_over_three
    numbers = {trial.id: trial.number for trial in study.trials}
    taken = {(t.number, x.reports): numbers[x.donor] for t in study.trials for x in t.lineage}
    latest: dict[int, float] = {}
    clones: set[int] = set()
    for member, place, report in reports_in_order(study):
        clones.discard(member)
        if report.epoch == EPOCHS:  # it has left
            latest.pop(member)
            continue
        latest[member] = report.metrics["accuracy"]
        ranked = sorted(latest, key=lambda one: (-latest[one], one))
        count = min(math.ceil(0.25 * len(ranked)), len(ranked) // 2)
        donors = set(ranked[:count]) - clones
        donor = taken.pop((member, place + 1), None)
        assert (donor is not None) == bool(member in ranked[len(ranked) - count :] and donors), (member, report.epoch)
        if donor is not None:
            assert donor in donors
            clones.add(member)
    assert not taken


def test_a_takeover_is_from_the_donors_newest_checkpoint(five_over_three: tuple[StudyOutcome, SimulatedRay]) -> None:
    study, _ = five_over_three
    by_id = {trial.id: trial for trial in study.trials}
    for trial in study.trials:
        for exploit in trial.lineage:
            decided = trial.reports[exploit.reports - 1].time
            donated = [report for report in by_id[exploit.donor].reports if report.time <= decided]
            assert (exploit.epoch, exploit.donor_reports) == (donated[-1].epoch, len(donated))
            assert trial.reports[exploit.reports].epoch == exploit.epoch + 1


def test_no_slot_waits_while_there_are_more_members_than_slots(
    five_over_three: tuple[StudyOutcome, SimulatedRay],
) -> None:
    study, _ = five_over_three
    found = spans(study)
    begin = max(sorted(start for start, _ in found)[:3])  # all three have begun
    last_of_each = sorted(trial.reports[-1].time for trial in study.trials)
    end = last_of_each[2]  # from then on two members are left
    used = sum(max(0.0, min(stop, end) - max(start, begin)) for start, stop in found)
    assert used >= 0.99 * 3 * (end - begin)


def test_members_without_a_slot_get_one_when_they_are_the_furthest_behind(tmp_path: Path) -> None:
    """When a member begins its next epoch, none that waits is a whole generation behind it; all have one pace."""
    alike = {**PACES, EPOCH: {"uniform": [60.0, 60.1], "mutate": False}}
    study, _ = run(spec_of(tmp_path, members=5, slots=2, space=alike, strategy={"explore": False}))
    for trial in study.trials:
        for place, report in enumerate(trial.reports[:-1]):
            taken = [x for x in trial.lineage if x.reports == place + 1]
            now = taken[0].epoch if taken else report.epoch
            for other in study.trials:
                began = trial.reports[place + 1].time - MINUTE - 0.2
                reached = [one.epoch for one in other.reports if one.time <= began + MINUTE]
                assert (reached[-1] if reached else 0.0) >= now - 1


def test_a_survivor_goes_on_in_its_process_at_once(tmp_path: Path) -> None:
    study, ray = run(spec_of(tmp_path, members=4, slots=4), start_seconds=5.0)
    restored = [trial for _, trial, method in ray.calls if method == "restore"]
    takeovers = {trial.id: len(trial.lineage) for trial in study.trials}
    assert {trial: restored.count(trial) for trial in takeovers} == takeovers
    for trial in study.trials:
        taken = {exploit.reports for exploit in trial.lineage}
        for place in range(1, len(trial.reports)):
            gap = (
                trial.reports[place].time
                - trial.reports[place - 1].time
                - float(str(trial.reports[place].params[EPOCH]))
            )
            assert place in taken or gap == pytest.approx(0.0, abs=1e-6)


def test_scores_that_get_worse_with_training_do_not_keep_it_from_its_end(tmp_path: Path) -> None:
    """The best checkpoints are early ones, which members would take over again and again."""
    own = {"trainable": "tests.support.own_trainables:Overfits", "objective": {"metric": "accuracy", "mode": "max"}}
    study, _ = run(spec_of(tmp_path, members=4, slots=4, strategy={"quantile": 0.5}, **own))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 4
    back = [x for t in study.trials for x in t.lineage if x.epoch < t.reports[x.reports - 1].epoch]
    assert back


def test_a_member_whose_process_dies_comes_back(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, members=4, slots=3, max_failures=1)
    killed = list[str]()
    with simulated_ray(SimulatedNode(cpus=3), tick=1.0, costs={"save": 2.0}) as ray:

        def kill_one(actor: SimulatedActor, method: str, value: Any) -> None:
            if method == "train" and value["epoch"] == 2.0 and not killed:  # before its checkpoint is on storage
                killed.append(actor.trial)
                ray.at(ray.seconds + 1.0, lambda: ray.kill(actor))

        ray.after(kill_one)
        (study,) = run_experiment(spec, progress=False).studies
    assert killed
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 4


def test_diverged_members_leave_and_the_others_go_on(tmp_path: Path) -> None:
    hot = {**PACES, "learning_rate": {"loguniform": [1e-3, 0.99]}}
    study, _ = run(spec_of(tmp_path, members=6, slots=4, space=hot, seeds=[5]))
    assert 0 < study.count(TrialState.FAILED) < 6
    assert study.count(TrialState.FAILED) + study.count(TrialState.COMPLETED) == 6


def test_the_values_in_force_are_those_of_the_lineage(five_over_three: tuple[StudyOutcome, SimulatedRay]) -> None:
    study, _ = five_over_three
    for trial in study.trials:
        values = dict(trial.params)
        for place, report in enumerate(trial.reports):
            values = next((dict(x.new) for x in trial.lineage if x.reports == place), values)
            assert {name: report.params[name] for name in values} == values


@pytest.mark.parametrize("kind", KINDS)
def test_generations_of_several_reports_are_compared_at_their_end_alone(kind: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, members=4, slots=2, kind=kind, report_every_epochs=0.5)
    study, _ = run(spec)
    ends = [trial.reports[x.reports - 1].epoch for trial in study.trials for x in trial.lineage]
    assert ends
    assert all(end == int(end) for end in ends)
    again, _ = run(spec_of(tmp_path / "again", members=4, slots=2, kind=kind, report_every_epochs=0.5))
    assert history(again) == history(study)


@pytest.mark.parametrize("kind", KINDS)
def test_twelve_members_on_eight_slots_train_half_as_much_again_as_members_that_wait(kind: str, tmp_path: Path) -> None:
    """Under a budget of device-seconds, where epochs take between 20 and 80 seconds, over three seeds."""
    trained = {True: 0.0, False: 0.0}
    for seed, synchronous in itertools.product((1, 2, 3), trained):
        spec = spec_of(
            tmp_path / f"{seed}{synchronous}",
            members=12,
            slots=8,
            kind=kind,
            epochs=20,
            seeds=[seed],
            strategy={"synchronous": synchronous},
            budget={"device_seconds": 8 * 600.0},
        )
        study, _ = run(spec, tick=5.0)
        trained[synchronous] += study.epochs_trained
        assert study.budget is not None
        assert study.budget.reached
    assert trained[False] >= 1.5 * trained[True], trained
