"""Nodes that come and go in whole runs: a loss is no failure, and what was lost is computed again as it was.

The limit of trials and the cost follow the cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

from tests.support.simulated_faults import COSTS, MOMENTS, Moment, befall
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT, curve_experiment
from tuning import compare, run_experiment
from tuning.outcome import StudyOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

STRATEGIES = {strategy["kind"]: strategy for strategy in (GRID, HYPEROPT_ASHA, PBT)}
REPEATABLE = ("grid", "pbt")  # what these propose does not depend on which trial reports first
SEVERAL = {"kind": "grid", "points": 8}
EPOCHS = [1, 2, 3, 4]
HEAD = SimulatedNode("head", cpus=0)
IN_A_ROW = 3  # losses without a report in between that are no failure


def workers(names: str, slots: float) -> tuple[SimulatedNode, ...]:
    return HEAD, *(SimulatedNode(name, cpus=slots) for name in names)


def experiment(folder: Path, strategy: dict[str, Any], **changed: Any) -> ExperimentSpec:
    """A minute per epoch, as many trials at a time as there is room for, and no failure allowed."""
    fields: dict[str, Any] = {"fixed": {"model.seconds_per_epoch": 60.0}, "cluster": {"max_concurrent": None}}
    return curve_experiment(folder, strategies=[strategy], test=False, **{**fields, **changed})


def loses_its_node(ray: SimulatedRay, actor: SimulatedActor, noticed_after: float = 0.0) -> None:
    assert actor.node is not None
    ray.lose(actor.node.name, noticed_after=noticed_after)


def facts(study: StudyOutcome) -> list[tuple[TrialState, list[Any], list[Any]]]:
    """All that decides a result, by the trials' places: what each reported, and whom it was cloned from."""
    places = {trial.id: place for place, trial in enumerate(study.trials)}
    return [
        (
            trial.state,
            [(report.epoch, report.params, report.metrics) for report in trial.reports],
            [(exploit.epoch, places[exploit.donor]) for exploit in trial.lineage],
        )
        for trial in study.trials
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyOutcome]:
    """By strategy, what comes of a study whose cluster stays as it is."""
    found = {}
    for name, strategy in STRATEGIES.items():
        with simulated_ray(*workers("bcdefg", 2), costs=COSTS, tick=20.0):
            spec = experiment(tmp_path_factory.mktemp("undisturbed"), strategy)
            (found[name],) = run_experiment(spec, progress=False).studies
    assert any(trial.lineage for trial in found["pbt"].trials)  # there is something that a loss could change
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_node_that_is_lost_at_any_moment_is_no_failure_and_changes_no_result(
    tmp_path: Path, undisturbed: dict[str, StudyOutcome], moment: str, strategy: str
) -> None:
    """Ray notices half a minute later."""
    if MOMENTS[moment].method == "reset" and not any(trial.lineage for trial in undisturbed[strategy].trials):
        nodes = workers("bc", 1)  # no slot for each: one trial after the other
    else:
        nodes = workers("bcdefg", 2)
    with simulated_ray(*nodes, costs=COSTS, tick=20.0) as ray:
        befallen = befall(ray, MOMENTS[moment], lambda actor: loses_its_node(ray, actor, 30.0))
        outcome = run_experiment(experiment(tmp_path, STRATEGIES[strategy]), progress=False)
    (study,) = outcome.studies
    assert len(befallen) == 1
    assert len(study.node_losses) >= 1
    assert {trial.error for trial in study.trials} == {None}
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETED, TrialState.STOPPED}
    for trial in study.trials:
        assert [report.epoch for report in trial.reports] == EPOCHS[: len(trial.reports)]
    if strategy in REPEATABLE:
        assert facts(study) == facts(undisturbed[strategy])
    (message,) = [caveat for caveat in compare(outcome).caveats if "was lost" in caveat]
    assert message.startswith(f"{strategy} seed 0: {len(study.node_losses)} restarts of trials")


@pytest.mark.parametrize(
    ("moment", "strategy"),
    [
        *(("in the third epoch", strategy) for strategy in STRATEGIES),
        ("in the first epoch", "grid"),
        ("at the last checkpoint", "grid"),
    ],
)
@pytest.mark.parametrize("losses", [3, 4])
def test_a_trial_may_lose_three_nodes_in_a_row_and_a_fourth_is_its_own_failure(
    tmp_path: Path, moment: str, strategy: str, losses: int
) -> None:
    """Without a report in between it may be the trial that brings them down."""
    with simulated_ray(*workers("bcdefg", 1), costs=COSTS, tick=20.0) as ray:
        befallen = befall(ray, MOMENTS[moment], lambda actor: loses_its_node(ray, actor), times=losses)
        spec = experiment(tmp_path, STRATEGIES[strategy], alike_failures=None)
        (study,) = run_experiment(spec, progress=False).studies
    assert len(befallen) == losses
    assert [loss.trial for loss in study.node_losses] == befallen[:IN_A_ROW]
    failed = [trial for trial in study.trials if trial.state is TrialState.FAILED]
    assert [trial.id for trial in failed] == befallen[IN_A_ROW:]
    for trial in failed:
        assert "lost 4 nodes in a row, at last " in str(trial.error)
    assert study.count(TrialState.RUNNING) == 0


def test_with_a_report_in_between_it_may_lose_any_number(tmp_path: Path) -> None:
    names = "bcdefghijklm"
    with simulated_ray(*workers(names, 1), costs=COSTS, tick=20.0) as ray:
        befallen = [
            befall(ray, Moment("train", epoch), lambda actor: loses_its_node(ray, actor), times=2) for epoch in range(4)
        ]
        spec = experiment(tmp_path, {"kind": "grid", "points": 1})
        (study,) = run_experiment(spec, progress=False).studies
    (trial,) = study.trials
    assert befallen == [[trial.id] * 2] * 4
    assert [loss.trial for loss in study.node_losses] == [trial.id] * 8
    assert [report.epoch for report in trial.reports] == EPOCHS
    assert [loss.epoch for loss in study.node_losses] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_fourth_loss_in_a_row_is_tried_again_where_failures_are_allowed(tmp_path: Path) -> None:
    with simulated_ray(*workers("bcdefgh", 1), tick=20.0) as ray:
        befall(ray, Moment("train", 2), lambda actor: loses_its_node(ray, actor), times=5)
        spec = experiment(tmp_path, {"kind": "grid", "points": 1}, max_failures=2)
        (study,) = run_experiment(spec, progress=False).studies
    assert study.trials[0].state is TrialState.COMPLETED
    assert len(study.node_losses) == IN_A_ROW


@pytest.mark.parametrize("noticed_after", [10.0, 100.0, 4000.0])
def test_a_node_whose_end_is_noticed_late_is_given_up_after_two_minutes(tmp_path: Path, noticed_after: float) -> None:
    ends, begins = [], []

    def loses(actor: SimulatedActor) -> None:
        ends.append(ray.seconds)
        ray.before(lambda _, method: begins.append(ray.seconds) if method == "__init__" else None)
        loses_its_node(ray, actor, noticed_after)

    with simulated_ray(*workers("bc", 1), tick=10.0) as ray:
        befall(ray, Moment("train", 1), loses)
        spec = experiment(tmp_path, {"kind": "grid", "points": 1}, fixed={"model.seconds_per_epoch": 1500.0})
        (study,) = run_experiment(spec, progress=False).studies
    assert study.trials[0].state is TrialState.COMPLETED
    assert [loss.node for loss in study.node_losses] == ["b"]
    assert min(noticed_after, 120.0) <= begins[0] - ends[0] <= min(noticed_after, 120.0) + 20.0


def test_a_node_that_a_cloud_takes_back_with_notice_is_no_failure(tmp_path: Path) -> None:
    def is_taken_back(actor: SimulatedActor) -> None:
        ray.kill(actor, error=RayActorError(actor.id, "its node is taken back", preempted=True))

    with simulated_ray(*workers("bc", 1), tick=5.0) as ray:
        befall(ray, Moment("train", 2), is_taken_back, times=2)
        (study,) = run_experiment(experiment(tmp_path, {"kind": "grid", "points": 1}), progress=False).studies
    assert study.trials[0].state is TrialState.COMPLETED
    assert len(study.node_losses) == 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_when_all_nodes_are_lost_the_study_waits_for_one_to_join(
    tmp_path: Path, undisturbed: dict[str, StudyOutcome], strategy: str
) -> None:
    with simulated_ray(*workers("bc", 2), tick=20.0) as ray:
        ray.at(100.0, lambda: ray.lose("b", noticed_after=10.0))
        ray.at(105.0, lambda: ray.lose("c", noticed_after=30.0))
        ray.at(1000.0, lambda: ray.add(SimulatedNode("d", cpus=2)))
        (study,) = run_experiment(experiment(tmp_path, STRATEGIES[strategy]), progress=False).studies
    assert study.count(TrialState.FAILED) == study.count(TrialState.RUNNING) == 0
    assert {loss.node for loss in study.node_losses} == {"b", "c"}
    assert study.wall_seconds > 1000.0
    if strategy in REPEATABLE:
        assert facts(study) == facts(undisturbed[strategy])


@pytest.mark.parametrize(
    "strategy", [SEVERAL, {"kind": "pbt", "population": 6}, {"kind": "hyperopt_asha", "trials": 12}]
)
def test_a_node_that_joins_later_gets_trials_and_the_cost_follows_the_slots(
    tmp_path: Path, strategy: dict[str, Any]
) -> None:
    """Two slots, four from the fourth minute on, three from the sixth."""
    with simulated_ray(HEAD, SimulatedNode("b", cpus=2), tick=5.0) as ray:
        ray.at(240.0, lambda: ray.add(SimulatedNode("c", cpus=1)))
        ray.at(240.0, lambda: ray.add(SimulatedNode("d", cpus=1)))
        ray.at(360.0, lambda: ray.lose("d"))
        (study,) = run_experiment(experiment(tmp_path, strategy), progress=False).studies
        ran = {actor.node.name for actor in ray.actors if actor.node is not None}
    assert ran == {"b", "c", "d"}
    assert study.slots == 2
    assert study.slot_seconds is not None
    expected = 2 * 240.0 + 4 * 120.0 + 3 * (study.wall_seconds - 360.0)
    assert study.slot_seconds == pytest.approx(expected, abs=4 * 10.0)  # a look at the nodes every five seconds
    assert study.device_seconds == study.slot_seconds


def test_the_slots_that_are_there_and_in_use_are_reported_while_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with simulated_ray(*workers("bc", 2), tick=5.0) as ray:
        ray.at(100.0, lambda: ray.lose("c"))
        (study,) = run_experiment(experiment(tmp_path, SEVERAL)).studies
    message = capsys.readouterr().out
    assert study.slot_seconds is not None
    assert f"of {study.slot_seconds / study.wall_seconds:.1f} slots in use on average" in message


def test_a_trial_whose_node_was_lost_keeps_its_place_also_in_a_resume(tmp_path: Path) -> None:
    """Tune would put it last, and a resume knows trials by their places."""
    spec = experiment(tmp_path, SEVERAL)
    with simulated_ray(*workers("bc", 2), tick=5.0) as ray:
        ray.at(100.0, lambda: ray.lose("b"))
        ray.at(400.0, ray.end_driver)
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    with simulated_ray(*workers("cd", 2), tick=5.0):
        (study,) = run_experiment(spec, progress=False, resume=True).studies
    with simulated_ray(*workers("bc", 2), tick=5.0):
        (undisturbed,) = run_experiment(experiment(tmp_path / "undisturbed", SEVERAL), progress=False).studies
    assert facts(study) == facts(undisturbed)
    assert study.node_losses
