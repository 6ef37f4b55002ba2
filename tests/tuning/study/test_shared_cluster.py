"""A cluster that other jobs use as well: a study is charged for slots that it holds or could hold, not for theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast
from unittest import mock

import pytest

from cluster.session import Node, Session
from cluster.spec import TrialResources
from tests.support.simulated_studies import history, long_experiment
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT
from trainables.machine import clock
from tuning import run_experiment
from tuning.outcome import StudyOutcome
from tuning.report.page.slots import utilisation_table
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.supervision.shared_slots import SharedSlots, UsedSlots
from tuning.testing.simulated_ray import PowerCut, SimulatedNode, SimulatedRay, simulated_ray
from tuning.tune_compat.slot_pool import SlotPool

pytestmark = pytest.mark.tune

NODES = (SimulatedNode("head", cpus=0), SimulatedNode("b", cpus=2), SimulatedNode("c", cpus=2))
SLOTS = 4
CHECK = 5.0  # seconds between two checks of the cluster; a slot is another's if two checks in a row find it so
LATE = SLOTS * 3 * CHECK  # device-seconds by which a change may be charged late
TWELVE = {"kind": "grid", "points": 12}


def experiment(folder: Path, strategy: dict[str, Any] = TWELVE, **changed: Any) -> ExperimentSpec:
    """Epochs of a minute, four to a trial, on all slots that there are."""
    return long_experiment(folder, strategies=[strategy], **{"cluster": {"max_concurrent": None}, **changed})


def one_study(spec: ExperimentSpec, **options: Any) -> StudyOutcome:
    (study,) = run_experiment(spec, progress=False, **options).studies
    return study


def take(ray: SimulatedRay, slots: int, *, until: float | None = None) -> None:
    """Lets other jobs hold so many slots, as soon as they are free, and give them back."""
    for _ in range(slots):
        other = ray.start_other_job(CPU=1.0)
        if until is not None:
            ray.at(until, lambda other=other: ray.kill(other))


def test_slots_that_another_job_holds_for_half_of_the_time_are_not_charged(tmp_path: Path) -> None:
    with simulated_ray(*NODES) as ray:
        take(ray, 2, until=500.0)
        shared = one_study(experiment(tmp_path / "shared"))
    with simulated_ray(*NODES):
        alone = one_study(experiment(tmp_path / "alone"))
    expected = 2 * 500.0 + SLOTS * (shared.wall_seconds - 500.0)
    assert 1.8 * 500.0 < shared.wall_seconds < 2.2 * 500.0
    assert shared.slot_seconds == pytest.approx(expected, abs=LATE)
    assert shared.device_seconds == shared.slot_seconds
    assert shared.slots == SLOTS
    assert shared.mean_slots == pytest.approx(expected / shared.wall_seconds, rel=0.05)
    assert sorted(history(shared), key=str) == sorted(history(alone), key=str)  # the same results
    assert shared.busy_device_seconds == pytest.approx(alone.busy_device_seconds) == pytest.approx(12 * 4 * 60.0)
    assert shared.device_seconds == pytest.approx(alone.device_seconds, rel=0.03)  # nor is it dearer


def test_idle_slots_are_charged_until_another_job_takes_them(tmp_path: Path) -> None:
    """Of six trials the last two run from the fifth minute to the ninth, beside two idle slots."""
    with simulated_ray(*NODES) as ray:
        ray.at(350.0, lambda: take(ray, 2))
        study = one_study(experiment(tmp_path, {"kind": "grid", "points": 6}))
    assert study.wall_seconds > 450.0
    assert study.slot_seconds == pytest.approx(SLOTS * 350.0 + 2 * (study.wall_seconds - 350.0), abs=LATE)


def test_a_slot_that_the_study_keeps_is_charged_whoever_waits_for_it(tmp_path: Path) -> None:
    with simulated_ray(*NODES) as ray:
        ray.at(100.0, lambda: take(ray, 2))
        study = one_study(experiment(tmp_path, {"kind": "grid", "points": 8}))
    assert study.slot_seconds == pytest.approx(SLOTS * study.wall_seconds, abs=LATE)


@pytest.mark.parametrize("strategy", [GRID, HYPEROPT_ASHA, {"kind": "pbt", "population": 6}], ids=lambda s: s["kind"])
@pytest.mark.parametrize("taken", [0, 2])
def test_a_budget_is_spent_on_what_could_be_used(tmp_path: Path, strategy: dict[str, Any], taken: int) -> None:
    endless = {"grid": {"points": 60}, "hyperopt_asha": {"trials": None}}.get(strategy["kind"], {"population": 40})
    with simulated_ray(*NODES, tick=1.0) as ray:
        take(ray, taken)
        study = one_study(experiment(tmp_path, {**strategy, **endless}, budget={"device_seconds": 1600.0}))
    assert study.budget is not None
    assert study.budget.reached
    assert 1600.0 <= study.budget.spent <= 1600.0 + 2 * SLOTS
    assert study.wall_seconds == pytest.approx(1600.0 / (SLOTS - taken), abs=LATE / (SLOTS - taken) + 1.0)


@pytest.mark.parametrize("strategy", [GRID, HYPEROPT_ASHA, PBT, {"kind": "defaults"}], ids=lambda s: s["kind"])
@pytest.mark.parametrize(("seconds", "start"), [(0.7, 1.0), (60.0, 30.0)])
def test_a_study_alone_is_charged_for_all_slots_busy_or_idle(
    tmp_path: Path, strategy: dict[str, Any], seconds: float, start: float
) -> None:
    with simulated_ray(*NODES, start_seconds=start) as ray:
        study = one_study(experiment(tmp_path, strategy, fixed={"model.seconds_per_epoch": seconds}))
        assert {actor.held["CPU"] for actor in ray.actors} == {1.0}
    slots = 1 if strategy["kind"] == "defaults" else SLOTS
    assert study.slot_seconds == pytest.approx(slots * study.wall_seconds, rel=1e-12)
    assert 0 < study.busy_device_seconds < study.device_seconds


def test_what_others_hold_when_a_study_begins_is_charged_for_a_second(tmp_path: Path) -> None:
    spec = experiment(tmp_path, {"kind": "grid", "points": 4})
    waiting: list[StudyOutcome] = []
    with simulated_ray(*NODES, tick=1.0) as ray:
        take(ray, SLOTS, until=100.0)
        ray.at(90.0, lambda: waiting.extend(StudyStore(spec.store_url).load(spec.name).studies))
        one_study(spec)
    assert waiting[0].wall_seconds > 60.0
    assert SLOTS <= (waiting[0].slot_seconds or 0.0) <= 2 * SLOTS


class HeldProcesses(NamedTuple):
    """A pool of processes that holds so many slots, and for which Ray holds so many more."""

    slots_held: int
    reserved: int

    def slots_reserved(self) -> int:
        return self.reserved


def test_slots_that_ray_holds_for_processes_to_come_are_the_studys() -> None:
    """Nothing is free, and no process has started: Ray has made room for the study's, or another job holds it all."""
    with simulated_ray(*NODES) as ray:
        session = Session(
            "head:1", tuple(map(Node.from_ray, (node.to_ray() for node in ray.nodes))), TrialResources(1, 0)
        )
        take(ray, SLOTS)
        for held, reserved, charged in ((0, 4, 4), (0, 0, 0), (1, 1, 2), (3, 0, 3)):
            slots = SharedSlots(session, cast(SlotPool, HeldProcesses(held, reserved)))
            for _ in range(2):  # the first one decides alone
                clock.sleep(CHECK)
                slots.follow()
                assert list(slots.divided([UsedSlots(held, awaited=0, most=SLOTS)])) == [charged]


def test_every_slot_of_a_run_is_charged_to_one_study() -> None:
    """A slot that nobody holds waits for the study that began first, as far as that one may hold more."""
    with simulated_ray(*NODES) as ray:
        session = Session(None, tuple(map(Node.from_ray, (node.to_ray() for node in ray.nodes))), TrialResources(1, 0))
        slots = SharedSlots(session, cast(SlotPool, HeldProcesses(0, 0)))
        for used, charged in (
            ([(0, 0, 9)], [4]),
            ([(1, 0, 1)], [1]),
            ([(2, 0, 9), (2, 0, 9)], [2, 2]),
            ([(1, 0, 9), (1, 1, 9)], [2, 2]),  # the second one's process is starting
            ([(1, 0, 9), (0, 9, 9), (2, 0, 9)], [1, 1, 2]),  # of those that wait no more are charged than are free
            ([(1, 0, 1), (1, 0, 9)], [1, 3]),  # the first may hold no more
        ):
            assert list(slots.divided(UsedSlots(*one) for one in used)) == charged


def test_slots_beyond_its_own_limit_may_be_anybodys(tmp_path: Path) -> None:
    with simulated_ray(*NODES) as ray:
        take(ray, 2)
        study = one_study(experiment(tmp_path, cluster={"max_concurrent": 2}))
    assert study.slot_seconds == pytest.approx(2 * study.wall_seconds, rel=1e-12)


@pytest.mark.parametrize("strategy", [GRID, {"kind": "defaults"}], ids=lambda s: s["kind"])
def test_waiting_for_a_cluster_that_others_hold_whole_costs_nothing(tmp_path: Path, strategy: dict[str, Any]) -> None:
    with simulated_ray(*NODES) as ray:
        take(ray, SLOTS, until=1000.0)
        study = one_study(experiment(tmp_path, strategy, budget={"device_seconds": 3000.0}))
    assert study.wall_seconds > 1200.0
    slots = 1 if strategy["kind"] == "defaults" else SLOTS
    assert study.slot_seconds == pytest.approx(slots * (study.wall_seconds - 1000.0), abs=LATE)
    assert {trial.state for trial in study.trials} == {"completed"}


def test_what_others_held_before_a_kill_stays_uncharged_after_it(tmp_path: Path) -> None:
    spec = experiment(tmp_path)
    with simulated_ray(*NODES) as ray:
        take(ray, 2)
        ray.at(600.0, lambda: ray.end_driver(keeping=spec.run_folder))
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    with simulated_ray(*NODES, passed=ray.seconds + 3600.0) as ray:
        take(ray, 2, until=200.0)
        study = one_study(spec, resume=True)
    expected = 2 * 600.0 + 2 * 200.0 + SLOTS * (study.wall_seconds - 800.0)
    assert study.wall_seconds > 900.0
    assert study.slot_seconds == pytest.approx(expected, abs=2 * LATE)
    assert study.device_seconds == study.slot_seconds


@pytest.mark.parametrize(("taken", "asked"), [(0, False), (2, True)])
def test_the_head_is_asked_what_is_free_with_a_check_and_only_if_slots_are_not_the_studys(
    tmp_path: Path, taken: int, asked: bool
) -> None:
    with simulated_ray(*NODES, start_seconds=1.0) as ray:
        take(ray, taken)
        with (
            mock.patch("ray.available_resources", side_effect=ray.available_resources) as free,
            mock.patch("ray.nodes", side_effect=lambda: [node.to_ray() for node in ray.nodes]) as nodes,
        ):
            one_study(experiment(tmp_path, {"kind": "grid", "points": 8}))
    assert free.call_count <= nodes.call_count
    assert (free.call_count > 10) is asked


def test_slots_in_use_are_reported_of_those_that_are_not_anothers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with simulated_ray(*NODES) as ray:
        take(ray, 2)
        (study,) = run_experiment(experiment(tmp_path)).studies
    assert study.mean_slots == pytest.approx(2.0, abs=0.1)
    assert f"of {study.mean_slots:.1f} slots in use on average" in capsys.readouterr().out
    table = utilisation_table([study])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["slots"], row["slots, on average"]) == (SLOTS, round(study.mean_slots or 0.0, 2))
    assert (row["held (device-s)"], row["busy (device-s)"]) == (study.device_seconds, study.busy_device_seconds)
    assert 0.85 < float(str(row["busy share"])) <= 1.0
