"""Trials that run out of memory start once more, whatever `max_failures` is, and their errors have figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_faults import (
    BY_KERNEL,
    BY_MONITOR,
    COSTS,
    MOMENTS,
    Moment,
    befall,
    by_kernel,
    by_monitor,
)
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT, curve_experiment
from trainables.machine.oom_probe import OomEvidence
from tuning import run_experiment
from tuning.outcome import StudyOutcome, TrialState
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

STRATEGIES = {strategy["kind"]: strategy for strategy in (GRID, HYPEROPT_ASHA, PBT)}
ONE = {"kind": "grid", "points": 1}
KILLERS = {"kernel": (by_kernel, BY_KERNEL), "monitor": (by_monitor, BY_MONITOR)}
AGAIN = "out of memory, also when started once more"
EPOCHS = [1, 2, 3, 4]

Happens = Callable[[SimulatedRay, SimulatedActor], None]


def run(
    folder: Path,
    moment: Moment,
    happens: Happens,
    times: int,
    *,
    strategy: dict[str, Any] | None = None,
    nodes: tuple[SimulatedNode, ...] = (SimulatedNode(),),
    **changed: Any,
) -> tuple[StudyOutcome, str]:
    """A study in which something happens so often to the process of one trial, and that trial's id."""
    spec = curve_experiment(
        folder, strategies=[strategy or ONE], fixed={"model.seconds_per_epoch": 60.0}, test=False, **changed
    )
    with simulated_ray(*nodes, costs=COSTS, tick=20.0) as ray:
        befallen = befall(ray, moment, lambda actor: happens(ray, actor), times=times)
        (study,) = run_experiment(spec, progress=False).studies
    assert len(befallen) == times
    return study, befallen[0]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The logged lines about trials that start again."""
    return [record.getMessage() for record in caplog.records if record.name == "tuning.supervision.retry"]


@pytest.mark.parametrize(("strategy", "killer"), [("grid", "kernel"), ("hyperopt_asha", "kernel"), ("pbt", "monitor")])
@pytest.mark.parametrize(
    "moment", ["as it starts", "in the first epoch", "at the third checkpoint", "in the last epoch"]
)
def test_a_trial_that_runs_out_of_memory_once_is_started_once_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moment: str, strategy: str, killer: str
) -> None:
    happens, reason = KILLERS[killer]
    study, befallen = run(tmp_path, MOMENTS[moment], happens, 1, strategy=STRATEGIES[strategy])
    assert study.count(TrialState.FAILED) == study.count(TrialState.RUNNING) == 0
    for trial in study.trials:
        assert [report.epoch for report in trial.reports] == EPOCHS[: len(trial.reports)]
    (line,) = warnings(caplog)
    assert line.endswith(f"{reason}; it is started once more")
    assert line.startswith(befallen)


@pytest.mark.parametrize("killer", KILLERS)
@pytest.mark.parametrize("max_failures", [0, 1, 5])
def test_one_that_does_so_again_has_failed_and_says_what_to_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, max_failures: int, killer: str
) -> None:
    happens, reason = KILLERS[killer]
    study, befallen = run(
        tmp_path, Moment("train", 2), happens, 2, strategy=GRID, max_failures=max_failures, alike_failures=1
    )
    (failed,) = (trial for trial in study.trials if trial.state is TrialState.FAILED)
    assert failed.id == befallen
    assert str(failed.error).startswith(f"OutOfMemory: {reason}; {AGAIN}: take smaller batches")
    assert "cluster.max_concurrent" in str(failed.error)
    assert study.count(TrialState.COMPLETED) == len(study.trials) - 1
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(("max_failures", "completes"), [(0, False), (1, True)])
def test_a_death_for_want_of_memory_leaves_the_other_failures_that_are_allowed(
    tmp_path: Path, max_failures: int, completes: bool
) -> None:
    def memory_then_another(ray: SimulatedRay, actor: SimulatedActor) -> None:
        befall(ray, Moment("train", 3), ray.kill)
        by_kernel(ray, actor)

    study, _ = run(tmp_path, Moment("train", 2), memory_then_another, 1, max_failures=max_failures)
    (trial,) = study.trials
    assert trial.state is (TrialState.COMPLETED if completes else TrialState.FAILED)


def test_after_a_resume_a_trial_may_run_out_of_memory_once_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = curve_experiment(tmp_path, strategies=[ONE], fixed={"model.seconds_per_epoch": 60.0}, test=False)
    with simulated_ray() as ray:
        befall(ray, Moment("train", 1), lambda actor: by_kernel(ray, actor))
        befall(ray, Moment("train", 3), lambda _: ray.end_driver())
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    with simulated_ray() as ray:
        befall(ray, Moment("train"), lambda actor: by_kernel(ray, actor))
        (study,) = run_experiment(spec, progress=False, resume=True).studies
    assert [report.epoch for report in study.trials[0].reports] == EPOCHS
    assert study.trials[0].state is TrialState.COMPLETED
    assert len(warnings(caplog)) == 2


@pytest.mark.parametrize("mark", [None, OomEvidence(killed=False, held=1, limit=2**30, limited_by="machine")])
def test_a_process_that_somebody_kills_has_not_run_out_of_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mark: OomEvidence | None
) -> None:
    study, _ = run(
        tmp_path, Moment("train", 2), lambda ray, actor: ray.kill(actor, memory=mark), 1, alike_failures=None
    )
    (trial,) = study.trials
    assert str(trial.error).startswith("RayActorError: The actor died unexpectedly")
    assert AGAIN not in str(trial.error)
    assert warnings(caplog) == []


def test_one_on_another_node_is_diagnosed_there_and_reported_with_its_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = (SimulatedNode("head", cpus=0), SimulatedNode("far", cpus=2))
    mark = OomEvidence(killed=True, held=2**31, limit=2**33, limited_by="machine")
    study, _ = run(tmp_path, Moment("train", 2), lambda ray, actor: ray.kill(actor, memory=mark), 1, nodes=nodes)
    assert study.trials[0].state is TrialState.COMPLETED
    (line,) = warnings(caplog)
    assert "it held 2.00 GiB when last looked at, of 8.00 GiB that node far has" in line


def test_a_node_that_is_lost_is_that_whatever_its_kernel_has_killed_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def both(ray: SimulatedRay, actor: SimulatedActor) -> None:
        assert actor.node is not None
        by_kernel(ray, actor)
        ray.lose(actor.node.name, noticed_after=20.0)

    nodes = (SimulatedNode("head", cpus=0), SimulatedNode("b", cpus=1), SimulatedNode("c", cpus=1))
    study, _ = run(tmp_path, Moment("train", 2), both, 1, nodes=nodes)
    assert study.trials[0].state is TrialState.COMPLETED
    assert [loss.node for loss in study.node_losses] == ["b"]
    assert warnings(caplog) == []
