"""Population-based training whole, in virtual time: who is replaced, by what, in step, with any number of slots."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import MINUTE, history, long_experiment, most_at_once, run_study, run_until_killed
from trainables.checkpoints.manifest import MANIFEST, SPARE_MANIFEST
from trainables.learning_curve import BEST_LEARNING_RATE, DIVERGES_ABOVE
from trainables.reporting import Report
from tuning import run_experiment
from tuning.outcome import Exploit, StudyOutcome, TrialState
from tuning.space import Space
from tuning.spec.models import ExperimentSpec
from tuning.strategies import Plan
from tuning.strategies.pbt import Pbt
from tuning.testing.simulated_ray import SimulatedActor, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

EPOCHS = 4
SPACE = {"learning_rate": {"loguniform": [1e-6, 1e-2]}, "weight_decay": {"uniform": [0, 0.3]}}
# Each member has a pace of its own: they come to the end of the first generation one after the other.
AT_THEIR_OWN_PACE = {**SPACE, "model.seconds_per_epoch": {"choice": [40.0, 50.0, 60.0, 70.0], "mutate": False}}
SAVING = {"save": 2.0}  # seconds that a checkpoint takes


def spec_of(folder: Path, members: int, slots: int, **changed: Any) -> ExperimentSpec:
    strategies = [{"kind": "pbt", "population": members}]
    cluster = {"max_concurrent": slots}
    return long_experiment(
        folder, **{"space": SPACE, "seeds": [1], "strategies": strategies, "cluster": cluster, **changed}
    )


@pytest.fixture(scope="module")
def five_over_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyOutcome, SimulatedRay]:
    """Five members in two slots, whose processes do not come up at the same moment."""
    spec = spec_of(tmp_path_factory.mktemp("two"), members=5, slots=2)
    return run_study(spec, SimulatedNode(cpus=2), start_seconds=(5.0, 25.0), tick=2.0)


@pytest.fixture(scope="module")
def four_over_four(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyOutcome, SimulatedRay]:
    """A slot for every member."""
    return run_study(spec_of(tmp_path_factory.mktemp("four"), members=4, slots=4))


def at(study: StudyOutcome, epoch: float) -> dict[str, Report]:
    """The reports of that epoch by trial."""
    return {trial.id: report for trial in study.trials for report in trial.reports if report.epoch == epoch}


def exploits(study: StudyOutcome) -> list[tuple[str, Exploit]]:
    return [(trial.id, exploit) for trial in study.trials for exploit in trial.lineage]


def exploits_at(study: StudyOutcome, epoch: float) -> dict[str, Exploit]:
    return {trial_id: exploit for trial_id, exploit in exploits(study) if exploit.epoch == epoch}


def values(report: Report) -> dict[str, Any]:
    """The searched values of a trial."""
    return {name: report.params[name] for name in SPACE}


def test_every_member_reports_every_epoch_once(five_over_two: tuple[StudyOutcome, SimulatedRay]) -> None:
    study, _ = five_over_two
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 5
    assert [[report.epoch for report in trial.reports] for trial in study.trials] == [[1.0, 2.0, 3.0, 4.0]] * 5


@pytest.mark.parametrize("name", ["five_over_two", "four_over_four"])
def test_each_generation_replaces_exactly_the_worst_quantile(name: str, request: pytest.FixtureRequest) -> None:
    study, _ = request.getfixturevalue(name)
    for epoch in (1.0, 2.0, 3.0):
        reports = at(study, epoch)  # in order of the members, which decides between equals
        ranked = sorted(reports, key=lambda trial: -reports[trial].metrics["accuracy"])
        count = math.ceil(0.25 * len(ranked))
        assert set(exploits_at(study, epoch)) == set(ranked[-count:])
        assert {exploit.donor for exploit in exploits_at(study, epoch).values()} <= set(ranked[:count])
    assert not exploits_at(study, EPOCHS)


def test_a_clone_goes_on_from_the_donors_progress_at_its_own_rate(
    five_over_two: tuple[StudyOutcome, SimulatedRay],
) -> None:
    study, _ = five_over_two
    assert exploits(study)
    for trial_id, exploit in exploits(study):
        donor, clone = at(study, exploit.epoch)[exploit.donor], at(study, exploit.epoch + 1)[trial_id]
        rate, decay = float(exploit.new["learning_rate"]), float(exploit.new["weight_decay"])  # type: ignore[arg-type]
        speed = math.exp(-(math.log10(rate / BEST_LEARNING_RATE) ** 2)) * (1 - 0.5 * decay)
        assert clone.metrics["loss"] == pytest.approx(donor.metrics["loss"] * math.exp(-0.5 * speed), rel=1e-9)


def test_the_values_in_force_are_those_of_the_lineage(five_over_two: tuple[StudyOutcome, SimulatedRay]) -> None:
    study, _ = five_over_two
    for trial_id, exploit in exploits(study):
        assert values(at(study, exploit.epoch)[trial_id]) == exploit.old
        assert values(at(study, exploit.epoch + 1)[trial_id]) == exploit.new
        assert (exploit.reports, exploit.donor_reports) == (exploit.epoch, exploit.epoch)


def test_new_values_differ_from_the_donors_and_stay_in_the_space(
    five_over_two: tuple[StudyOutcome, SimulatedRay],
) -> None:
    study, _ = five_over_two
    for _, exploit in exploits(study):
        donors = values(at(study, exploit.epoch)[exploit.donor])
        assert Space.model_validate(SPACE).contains(exploit.new)
        at_a_bound = donors["learning_rate"] in (1e-6, 1e-2)
        assert at_a_bound or exploit.new["learning_rate"] != donors["learning_rate"]


def test_a_survivor_keeps_its_values(five_over_two: tuple[StudyOutcome, SimulatedRay]) -> None:
    study, _ = five_over_two
    for epoch in (1.0, 2.0, 3.0):
        for trial_id in at(study, epoch).keys() - exploits_at(study, epoch).keys():
            assert at(study, epoch + 1)[trial_id].params == at(study, epoch)[trial_id].params


@pytest.mark.parametrize(("name", "slots", "turns"), [("five_over_two", 2, 3), ("four_over_four", 4, 1)])
def test_every_generation_uses_every_slot_and_no_process_is_started_twice(
    name: str, slots: int, turns: int, request: pytest.FixtureRequest
) -> None:
    study, ray = request.getfixturevalue(name)
    assert most_at_once(study) == slots
    assert len(ray.actors) == slots
    ends = [max(report.time for report in at(study, epoch).values()) for epoch in (1.0, 2.0, 3.0, 4.0)]
    assert [after - before for before, after in itertools.pairwise(ends)] == [turns * MINUTE] * 3


def test_a_survivor_that_nobody_displaces_is_not_restored(four_over_four: tuple[StudyOutcome, SimulatedRay]) -> None:
    study, ray = four_over_four
    replaced = {trial_id for trial_id, _ in exploits(study)}
    assert {trial for _, trial, method in ray.calls if method == "restore"} == replaced
    assert len(replaced) < 4


def test_the_same_seed_gives_the_same_history_with_other_slots(
    five_over_two: tuple[StudyOutcome, SimulatedRay], tmp_path: Path
) -> None:
    """Checkpoints are deleted as soon as nobody can be started from them any more, long before the end."""
    spec, folders = spec_of(tmp_path, members=5, slots=1), []
    with simulated_ray(tick=MINUTE) as ray:
        ray.after(
            lambda actor, method, value: folders.append(len(list(spec.run_folder.glob("studies/*/*/checkpoint_*"))))
        )
        (alone,) = run_experiment(spec, progress=False).studies
    assert history(alone) == history(five_over_two[0])
    assert 5 <= max(folders) < 5 * EPOCHS


def test_no_member_is_started_from_a_checkpoint_that_is_not_pinned(
    five_over_two: tuple[StudyOutcome, SimulatedRay], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints that are not pinned are made unusable at once, as by the most eager keeper."""
    plans: list[Plan] = []
    plan = Pbt.plan
    monkeypatch.setattr(Pbt, "plan", lambda *given: plans.append(plan(*given)) or plans[-1])
    spec, known, taken = spec_of(tmp_path, members=5, slots=2), set[Path](), set[Path]()

    def tidy(actor: SimulatedActor, method: str, value: object) -> None:
        if method == "train":  # the driver knows of every checkpoint that was saved before
            pinned = plans[0].scheduler.pinned()
            for path in (path for path in known - taken if str(path) not in pinned):
                taken.add(path)
                for manifest in (
                    MANIFEST,
                    SPARE_MANIFEST,
                ):  # not the folder, which weights may be copied to at this moment
                    (path / manifest).unlink(missing_ok=True)
        known.update(spec.run_folder.glob("studies/*/*/checkpoint_*"))

    with simulated_ray(tick=MINUTE, costs=SAVING) as ray:
        ray.after(tidy)
        (study,) = run_experiment(spec, progress=False).studies
    assert len(taken) > 5
    assert history(study) == history(five_over_two[0])


def test_diverged_members_leave_and_the_others_go_on_in_step(tmp_path: Path) -> None:
    hot = {"learning_rate": {"loguniform": [1e-3, 0.99]}}
    study, _ = run_study(spec_of(tmp_path, members=6, slots=4, space=hot, seeds=[5]))
    started_hot = {trial.id for trial in study.trials if float(str(trial.params["learning_rate"])) > DIVERGES_ABOVE}
    assert started_hot
    assert 0 < study.count(TrialState.FAILED) < 6
    for epoch in (1.0, 2.0, 3.0):
        living = at(study, epoch)
        assert not started_hot & living.keys()
        assert len(exploits_at(study, epoch)) == min(math.ceil(0.25 * len(living)), len(living) // 2)
        assert {exploit.donor for exploit in exploits_at(study, epoch).values()} <= living.keys()
    assert len(at(study, EPOCHS)) == study.count(TrialState.COMPLETED)


def as_they_arrive(ray: SimulatedRay, happens: dict[int, Any]) -> None:
    """Calls `happens[n](actors)` a second after the n-th member has reported epoch 1 for the first time.

    Its checkpoint is being written then, and those before it are held. The actors are theirs, in that order.
    """
    arrived: dict[str, SimulatedActor] = {}

    def count(actor: SimulatedActor, method: str, value: Any) -> None:
        if method == "train" and value["epoch"] == 1.0 and actor.trial not in arrived:
            arrived[actor.trial] = actor
            if (what := happens.get(len(arrived))) is not None:
                actors = list(arrived.values())
                ray.at(ray.seconds + 1.0, lambda: what(actors))

    ray.after(count)


def test_a_member_whose_process_dies_comes_back_and_the_others_wait(tmp_path: Path) -> None:
    """The first to report epoch 1 dies while it is held; the last one before its checkpoint is on storage."""
    undisturbed, _ = run_study(spec_of(tmp_path / "calm", 4, 4, space=AT_THEIR_OWN_PACE, fixed={}), costs=SAVING)
    spec = spec_of(tmp_path / "killed", 4, 4, space=AT_THEIR_OWN_PACE, fixed={}, max_failures=1)
    with simulated_ray(tick=MINUTE, costs=SAVING) as ray:
        happens = {2: lambda actors: ray.kill(actors[0]), 4: lambda actors: ray.kill(actors[3])}
        as_they_arrive(ray, happens)
        (study,) = run_experiment(spec, progress=False).studies
    assert history(study) == history(undisturbed)
    assert [actor.alive for actor in ray.actors].count(False) >= 2
    assert [method for _, _, method in ray.calls].count("train") == 4 * EPOCHS + 1  # the last one's, again


def test_a_dead_process_is_not_handed_to_another_member(tmp_path: Path) -> None:
    """Each member fails once, which is allowed; the one that got the other's dead process would fail twice."""
    spec = spec_of(tmp_path, 2, 2, space=AT_THEIR_OWN_PACE, fixed={}, max_failures=1)

    with simulated_ray(tick=MINUTE, costs=SAVING) as ray:

        def kill_both(actors: list[SimulatedActor]) -> None:
            for actor in actors:  # the first is held: of its end Tune does not hear, since nothing is asked of it
                ray.kill(actor)

        as_they_arrive(ray, {2: kill_both})
        (study,) = run_experiment(spec, progress=False).studies
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 2


@pytest.mark.parametrize(("call", "times"), [("train", 7), ("save", 10)])
def test_a_population_whose_driver_is_killed_goes_on_as_if_nothing_had_happened(
    five_over_two: tuple[StudyOutcome, SimulatedRay], tmp_path: Path, call: str, times: int
) -> None:
    """Report 7 lies in the middle of the second generation, report 10 ends it."""
    spec = spec_of(tmp_path, members=5, slots=2)
    killed = run_until_killed(spec, call, times)
    study, _ = run_study(spec, resume=True, passed=killed.seconds)
    assert history(study) == history(five_over_two[0])


def test_at_most_max_concurrent_members_train_at_once_also_after_an_interruption(tmp_path: Path) -> None:
    """On a cluster that has room for four."""
    spec = spec_of(tmp_path, members=4, slots=2)
    killed = run_until_killed(spec, "train", 5)
    study, ray = run_study(spec, resume=True, passed=killed.seconds + 1000.0)
    assert study.count(TrialState.COMPLETED) == 4
    assert most_at_once(study) == 2
    assert [most_at_once_in(one) for one in (killed, ray)] == [2, 2]


def most_at_once_in(ray: SimulatedRay) -> int:
    ends = [seconds for seconds, _, method in ray.calls if method == "train"]
    return max(sum(end - MINUTE < other <= end for end in ends) for other in ends)
