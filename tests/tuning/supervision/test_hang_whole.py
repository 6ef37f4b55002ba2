"""Processes that hang in whole runs: found at any moment and started again, once in any case; what is no hang."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_faults import COSTS, MOMENTS, Moment, befall
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT, curve_experiment
from tuning import run_experiment
from tuning.outcome import StudyOutcome, TrialState
from tuning.testing.simulated_ray import SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

EPOCH = 20.0  # seconds
HEARTBEAT = 30.0
SILENCE = 60.0  # seconds until a process that has not made its first step, and tells nothing more, counts as hung
TICK = 2.0  # of the simulation, as the watch counts at most two seconds between two looks
FIRST = 600.0  # seconds until a process that has not made its first step, and says so, counts as hung
STRATEGIES = {strategy["kind"]: strategy for strategy in (GRID, HYPEROPT_ASHA, PBT)}
ONE = {"kind": "grid", "points": 1}
HERE = (SimulatedNode(),)
ELSEWHERE = (SimulatedNode("head", cpus=0), SimulatedNode("b", cpus=2), SimulatedNode("c", cpus=2))
EPOCHS = [1, 2, 3, 4]

Happens = Callable[[SimulatedRay, SimulatedActor], None]
Hangs = Callable[[], list[tuple[str, float, str, str]]]


def stands_still(ray: SimulatedRay, actor: SimulatedActor) -> None:
    ray.hang(actor)


def is_stopped(ray: SimulatedRay, actor: SimulatedActor) -> None:
    ray.hang(actor, frozen=True)


def run(
    folder: Path,
    moment: Moment,
    happens: Happens,
    *,
    strategy: dict[str, Any] | None = None,
    times: int = 1,
    nodes: tuple[SimulatedNode, ...] = HERE,
    **changed: Any,
) -> tuple[StudyOutcome, list[str], SimulatedRay]:
    """Runs a study in which something happens `times` times to a trial; returns it, the ids of the trials, and Ray."""
    fixed = {"model.seconds_per_epoch": EPOCH}
    cluster = {"heartbeat_seconds": HEARTBEAT}
    spec = curve_experiment(folder, strategies=[strategy or ONE], fixed=fixed, cluster=cluster, test=False, **changed)
    with simulated_ray(*nodes, costs=COSTS, tick=TICK) as ray:
        befallen = befall(ray, moment, lambda actor: happens(ray, actor), times=times)
        (study,) = run_experiment(spec, progress=False).studies
    assert len(befallen) == times
    return study, befallen, ray


@pytest.fixture
def found_hangs(caplog: pytest.LogCaptureFixture) -> Hangs:
    """The logged hangs: trial, seconds without progress, where, and what is done about it."""

    def hangs() -> list[tuple[str, float, str, str]]:
        pattern = r"(\w+): no progress for (\d+) s (.*) \(process stopped or hung\); (.*)"
        lines = [record.getMessage() for record in caplog.records if record.name == "tuning.supervision.supervisor"]
        found = [match.groups() for line in lines if (match := re.fullmatch(pattern, line))]
        return [(trial, float(seconds), where, does) for trial, seconds, where, does in found]

    return hangs


@pytest.mark.parametrize(
    ("strategy", "happens"),
    [("grid", stands_still), ("hyperopt_asha", is_stopped), ("pbt", stands_still)],
)
@pytest.mark.parametrize("moment", [name for name in MOMENTS if name != "as it starts"])
def test_a_process_that_hangs_is_found_and_its_trial_goes_on_from_its_checkpoint(
    tmp_path: Path, found_hangs: Hangs, moment: str, strategy: str, happens: Happens
) -> None:
    study, (befallen,), ray = run(tmp_path, MOMENTS[moment], happens, strategy=STRATEGIES[strategy])
    assert study.count(TrialState.FAILED) == study.count(TrialState.RUNNING) == 0  # once needs no max_failures
    for trial in study.trials:
        assert [report.epoch for report in trial.reports] == EPOCHS[: len(trial.reports)]
    ((trial_id, seconds, where, does),) = found_hangs()
    another = MOMENTS[moment].method == "reset"
    assert (trial_id == befallen) is not another  # it is the trial to come that waits in vain
    unbegun = another or MOMENTS[moment].epoch == 0
    expected = (SILENCE if happens is is_stopped else FIRST) if unbegun else HEARTBEAT
    assert expected <= seconds <= expected + 2 * TICK
    assert (where == "before its first step") is unbegun
    assert does.startswith("restarted from epoch ")
    hung = [actor for actor in ray.actors if actor.hung_since is not None]
    assert [actor.alive for actor in hung] == [False]


@pytest.mark.parametrize("nodes", [HERE, ELSEWHERE], ids=["here", "elsewhere"])
def test_a_process_that_hangs_as_it_starts_is_found_though_it_has_never_told_anything(
    tmp_path: Path, found_hangs: Hangs, nodes: tuple[SimulatedNode, ...]
) -> None:
    study, _, _ = run(tmp_path, MOMENTS["as it starts"], stands_still, nodes=nodes)
    (trial,) = study.trials
    assert [report.epoch for report in trial.reports] == EPOCHS
    ((_, seconds, where, _),) = found_hangs()
    assert FIRST <= seconds <= FIRST + 2 * TICK
    assert where == "since its process was started"


@pytest.mark.parametrize("happens", [stands_still, is_stopped])
@pytest.mark.parametrize(("times", "allowed"), [(2, 0), (2, 1), (3, 1), (4, 3), (5, 3)])
def test_a_trial_that_hangs_again_and_again_fails_once_max_failures_allows_no_more(
    tmp_path: Path,
    found_hangs: Hangs,
    happens: Happens,
    times: int,
    allowed: int,
) -> None:
    study, _, _ = run(tmp_path, Moment("train", 2), happens, times=times, max_failures=allowed)
    (trial,) = study.trials
    failed = times > 1 + allowed
    assert trial.state is (TrialState.FAILED if failed else TrialState.COMPLETED)
    assert [report.epoch for report in trial.reports] == (EPOCHS[:2] if failed else EPOCHS)
    # What has hung before it does so next time before it has made a step in its new process.
    assert [where for _, _, where, _ in found_hangs()] == ["in epoch 3, step 0"] + ["before its first step"] * (
        times - 1
    )
    again, last = "restarted from epoch 2", "not restarted again: raise max_failures to allow that"
    assert [does for *_, does in found_hangs()] == [again] * (times - failed) + [last] * failed
    if failed:
        assert str(trial.error).startswith("NoProgress: no progress for ")
        assert last in str(trial.error)


@pytest.mark.parametrize("happens", [stands_still, is_stopped])
def test_a_process_that_hangs_on_another_node_is_killed_there_and_the_node_is_not_lost(
    tmp_path: Path, found_hangs: Hangs, happens: Happens
) -> None:
    study, befallen, ray = run(tmp_path, Moment("train", 2), happens, strategy=GRID, nodes=ELSEWHERE)
    assert study.count(TrialState.COMPLETED) == len(study.trials)
    assert [trial for trial, *_ in found_hangs()] == befallen
    assert study.node_losses == ()
    assert all(node.alive for node in ray.nodes)


@pytest.mark.parametrize(("noticed_after", "times"), [(10.0, 3), (100.0, 3), (500.0, 1)])
def test_a_node_that_the_network_cuts_off_is_lost_and_its_trials_do_not_hang(
    tmp_path: Path, found_hangs: Hangs, noticed_after: float, times: int
) -> None:
    """Also where Ray notices long after the silence of its processes was found."""

    def is_cut_off(ray: SimulatedRay, actor: SimulatedActor) -> None:
        assert actor.node is not None
        ray.cut_off(actor.node.name, noticed_after=noticed_after)

    nodes = (SimulatedNode("head", cpus=0), *(SimulatedNode(name, cpus=1) for name in "bcdef"))
    study, befallen, _ = run(tmp_path, Moment("train", 2), is_cut_off, times=times, strategy=GRID, nodes=nodes)
    assert study.count(TrialState.COMPLETED) == len(study.trials)
    assert found_hangs() == []
    assert [loss.trial for loss in study.node_losses] == befallen


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_process_that_hangs_as_its_trial_is_restored_is_found_and_the_checkpoint_is_not_to_blame(
    tmp_path: Path, found_hangs: Hangs, strategy: str
) -> None:
    def dies(ray: SimulatedRay, actor: SimulatedActor) -> None:
        befall(ray, Moment("restore"), ray.hang, times=2)
        ray.kill(actor)

    study, (befallen,), _ = run(tmp_path, Moment("train", 3), dies, strategy=STRATEGIES[strategy], max_failures=2)
    assert study.count(TrialState.FAILED) == study.count(TrialState.RUNNING) == 0
    for trial in study.trials:
        assert [report.epoch for report in trial.reports] == EPOCHS[: len(trial.reports)]
    assert [does for *_, does in found_hangs()] == ["restarted from epoch 3"] * 2
    assert strategy == "pbt" or {trial for trial, *_ in found_hangs()} == {befallen}


@pytest.mark.parametrize(
    ("moment", "hours"), [("in the first epoch", 0.02), ("in the third epoch", 1.0), ("at the third checkpoint", 24.0)]
)
def test_a_driver_that_was_asleep_itself_does_not_blame_the_trials(
    tmp_path: Path, found_hangs: Hangs, moment: str, hours: float
) -> None:
    def sleeps(ray: SimulatedRay, actor: SimulatedActor) -> None:
        ray.suspend(3600 * hours)

    study, _, ray = run(tmp_path, MOMENTS[moment], sleeps, strategy=GRID)
    assert study.count(TrialState.COMPLETED) == len(study.trials)
    assert found_hangs() == []
    assert ray.seconds > 3600 * hours


def test_without_a_heartbeat_nobody_asks_and_a_long_epoch_is_none(tmp_path: Path, found_hangs: Hangs) -> None:
    """A process that stands still for an hour, and is not hung: its end comes by itself."""

    def stands_still_and_dies(ray: SimulatedRay, actor: SimulatedActor) -> None:
        ray.hang(actor)
        ray.at(ray.seconds + 3600, lambda: ray.kill(actor))

    fields = {"cluster": {"heartbeat_seconds": None}, "max_failures": 1}
    spec = curve_experiment(tmp_path, strategies=[ONE], fixed={"model.seconds_per_epoch": 60.0}, test=False, **fields)
    with simulated_ray(tick=20.0) as ray:
        befall(ray, Moment("train", 2), lambda actor: stands_still_and_dies(ray, actor))
        (study,) = run_experiment(spec, progress=False).studies
    assert study.count(TrialState.COMPLETED) == 1
    assert found_hangs() == []
    assert study.wall_seconds > 3600
