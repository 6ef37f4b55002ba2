"""A member of a population that waits for its generation gives its slot to other studies, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import history, long_experiment, run
from tuning import run_experiment
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

SLOTS = 4
EPOCH = "model.seconds_per_epoch"
PBT = {"kind": "pbt", "population": 4}
RANDOM = {"kind": "random", "trials": 16}
# Each member has a pace of its own, and waits for the slowest one in each generation.
PACES: dict[str, Any] = {
    "learning_rate": {"loguniform": [1e-5, 1e-2]},
    EPOCH: {"choice": [10.0, 20.0, 30.0, 40.0], "mutate": False},
}


def experiment(folder: Path, *strategies: dict[str, Any], **changed: Any) -> ExperimentSpec:
    return long_experiment(
        folder,
        **{
            "strategies": list(strategies),
            "space": PACES,
            "fixed": {},
            "seeds": [0],
            "cluster": {"max_concurrent": SLOTS},
            **changed,
        },
    )


def simulated(spec: ExperimentSpec, **options: Any) -> tuple[ExperimentOutcome, SimulatedRay]:
    return run(spec, SimulatedNode(cpus=SLOTS), **{"tick": 0.5, **options})


def pbt_of(outcome: ExperimentOutcome) -> StudyOutcome:
    (study,) = [study for study in outcome.studies if study.strategy == "pbt"]
    return study


def restored(ray: SimulatedRay, study: StudyOutcome) -> list[str]:
    """The trials of the study that were restored, once per time."""
    own = {trial.id for trial in study.trials}
    return [trial for _, trial, method in ray.calls if method == "restore" and trial in own]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentOutcome, SimulatedRay]:
    return simulated(experiment(tmp_path_factory.mktemp("alone"), PBT))


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentOutcome, SimulatedRay]:
    return simulated(experiment(tmp_path_factory.mktemp("beside"), PBT, RANDOM))


@pytest.mark.parametrize(("strategies", "seeds"), [([PBT, {**RANDOM, "trials": 6}], [0, 1, 2]), ([PBT], [0, 1, 2, 3])])
def test_slots_are_in_use_while_members_of_unequal_pace_wait(
    strategies: list[dict[str, Any]], seeds: list[int], tmp_path: Path
) -> None:
    """Where held members keep their slots, 0.96 and 0.87 of all are in use."""
    outcome, _ = simulated(experiment(tmp_path, *strategies, seeds=seeds))
    spans = [
        [(report.time - float(str(report.params[EPOCH])), report.time) for report in trial.reports]
        for study in outcome.studies
        for trial in study.trials
    ]
    begins = [min(span)[0] for span in spans]
    first, last = min(begins), max(begins)
    used = sum(max(0.0, min(end, last) - begin) for span in spans for begin, end in span)
    assert used >= 0.98 * SLOTS * (last - first)


def test_a_population_comes_to_the_same_end_beside_other_studies(
    alone: tuple[ExperimentOutcome, SimulatedRay], beside: tuple[ExperimentOutcome, SimulatedRay]
) -> None:
    assert any(trial.lineage for trial in pbt_of(alone[0]).trials)
    assert history(pbt_of(beside[0])) == history(pbt_of(alone[0]))
    assert all(trial.state is TrialState.COMPLETED for study in beside[0].studies for trial in study.trials)


def test_members_are_paused_only_where_another_study_uses_their_slots(
    alone: tuple[ExperimentOutcome, SimulatedRay], beside: tuple[ExperimentOutcome, SimulatedRay]
) -> None:
    takeovers = sum(len(trial.lineage) for trial in pbt_of(alone[0]).trials)
    assert len(restored(alone[1], pbt_of(alone[0]))) == takeovers
    assert len(restored(beside[1], pbt_of(beside[0]))) > takeovers


def test_members_of_one_pace_are_not_paused_for_the_moment_between_them(tmp_path: Path) -> None:
    alike = {**PACES, EPOCH: {"choice": [20.0, 20.3, 20.6, 20.9], "mutate": False}}
    outcome, ray = simulated(experiment(tmp_path, PBT, RANDOM, space=alike))
    study = pbt_of(outcome)
    assert len({trial.params[EPOCH] for trial in study.trials}) > 1
    assert len(restored(ray, study)) == sum(len(trial.lineage) for trial in study.trials)


def test_populations_give_slots_to_each_other(tmp_path: Path) -> None:
    """More members than slots, in two of them that run at the same time."""
    large = {**PBT, "population": 6}
    spec = experiment(tmp_path / "both", {**large, "label": "one"}, {**large, "label": "other"}, RANDOM)
    outcome, _ = simulated(spec)
    for study in outcome.studies[:2]:
        own = simulated(experiment(tmp_path / study.strategy, {**large, "label": study.strategy}))[0].studies[0]
        assert history(study) == history(own)


@pytest.mark.parametrize("seconds", [45.0, 90.0, 150.0, 210.0])
def test_a_driver_that_is_killed_while_members_have_given_their_slots_up_changes_nothing(
    alone: tuple[ExperimentOutcome, SimulatedRay], tmp_path: Path, seconds: float
) -> None:
    spec = experiment(tmp_path, PBT, RANDOM)
    with simulated_ray(SimulatedNode(cpus=SLOTS), tick=0.5) as ray:
        ray.at(seconds, lambda: ray.end_driver(keeping=spec.run_folder))
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    outcome, _ = simulated(spec, resume=True, passed=ray.seconds)
    assert history(pbt_of(outcome)) == history(pbt_of(alone[0]))
    assert all(trial.state is TrialState.COMPLETED for study in outcome.studies for trial in study.trials)


def test_a_held_member_whose_process_has_died_does_not_hand_it_to_another_study(
    alone: tuple[ExperimentOutcome, SimulatedRay], tmp_path: Path
) -> None:
    """Nothing is asked of a held member, so that Tune has not heard of its end when its slot is wanted."""
    spec = experiment(tmp_path, PBT, RANDOM, max_failures=1)
    killed = list[str]()
    with simulated_ray(SimulatedNode(cpus=SLOTS), tick=0.5) as ray:

        def kill_the_first(actor: SimulatedActor, method: str, value: Any) -> None:
            if method == "save" and not killed:
                killed.append(actor.trial)
                ray.at(ray.seconds + 0.1, lambda: ray.kill(actor))

        ray.after(kill_the_first)
        outcome = run_experiment(spec, progress=False)
    assert killed[0] in {trial.id for trial in pbt_of(outcome).trials}
    assert history(pbt_of(outcome)) == history(pbt_of(alone[0]))
    assert all(trial.state is TrialState.COMPLETED for study in outcome.studies for trial in study.trials)
