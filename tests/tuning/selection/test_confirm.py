"""Confirmations: the best configurations trained anew with seeds of their own; the winner alone is scored, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.outcomes import make_report, population, study, trial
from tests.support.simulated_faults import job_of
from tests.support.specs import curve_experiment, user_trainer_fields
from tuning import SpecError, compare, run_experiment
from tuning.outcome import Confirmation, ExperimentOutcome, Stretch, StudyOutcome, TrialState
from tuning.selection.candidates import candidates, training_seeds
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import PowerCut, SimulatedActor, simulated_ray


def spec_of(folder: Path, **changed: Any) -> ExperimentSpec:
    fields = {
        "trainable": "tests.support.own_trainables:Lucky",
        "epochs": 2,
        "fixed": {"model.log": str(folder / "log"), "model.seconds_per_epoch": 60.0},
        "space": {"learning_rate": {"choice": [1e-3, 1e-2, 1e-5, 3e-4]}},
        "strategies": [{"kind": "grid"}],
        "confirm": {"top": 3, "seeds": 2},
    }
    return curve_experiment(folder, **{**fields, **changed})


def noted(folder: Path, what: str) -> list[tuple[int, float]]:
    """Seed and rate of what was done after the search, in order."""
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return [(seed, rate) for done, seed, rate in lines if done == what and seed >= 1000]


def grid(outcome: ExperimentOutcome) -> StudyOutcome:
    return outcome.study("grid", 0)


# What is confirmed


@pytest.mark.unit
def test_the_best_of_distinct_trials_are_confirmed_without_failed_ones() -> None:
    trials = [
        trial(0, [make_report(1, 0.5, 0.1), make_report(2, 0.4, 0.1)]),
        trial(1, [make_report(1, 0.9, 0.2)], TrialState.FAILED),
        trial(2, [make_report(1, 0.8, 0.3)], TrialState.STOPPED),
        trial(3, [make_report(1, 0.5, 0.1)]),  # what the first is
        trial(4, [make_report(1, 0.2, 0.4)]),
    ]
    found = candidates(study("asha", trials), top=3)
    assert [(c.rank, c.trial, c.epoch, c.searched) for c in found] == [
        (1, "t2", 1, 0.8), (2, "t0", 1, 0.5), (3, "t4", 1, 0.2),
    ]  # fmt: skip


@pytest.mark.unit
def test_configurations_that_differ_in_their_training_seeds_alone_are_one() -> None:
    rates = (0.1, 0.1, 0.2)
    reports = [make_report(1, 0.9 - number / 10, rate) for number, rate in enumerate(rates)]
    trials = [
        trial(number, [report._replace(params={**report.params, "head_seed": number})])
        for number, report in enumerate(reports)
    ]
    assert [one.trial for one in candidates(study("random", trials), top=3)] == ["t0", "t2"]


@pytest.mark.unit
def test_of_a_population_the_schedule_behind_the_report_is_confirmed() -> None:
    (best, *_) = candidates(study("pbt", list(population())), top=1)
    assert (best.trial, best.epoch) == ("t1", 3)
    assert best.schedule == (Stretch(0, 1, {"learning_rate": 0.2}), Stretch(1, 3, {"learning_rate": 0.4}))


@pytest.mark.unit
def test_training_seeds_are_none_of_the_search(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        seed=1,
        seeds=[0, 1000, 1001],
        strategies=[{"kind": "grid", "space": {"learning_rate": {"choice": [1, 0.1]}}}],
    )
    assert training_seeds(spec, 3) == (1000, 1003, 1004)  # the search had 1, 1001, 1002
    assert [training_seeds(spec, 2, search) for search in spec.seeds] == [(1000, 1003), (1004, 1005), (1006, 1007)]


def confirmed(rank: int, seed: int, accuracy: float | None) -> Confirmation:
    validation = None if accuracy is None else {"accuracy": accuracy}
    return Confirmation(rank, f"t{rank}", 1.0, (), 0.5, seed, 1.0, 0.0, validation)


@pytest.mark.unit
def test_the_winner_has_the_best_mean_and_all_its_seeds() -> None:
    made = [confirmed(1, 0, 0.6), confirmed(1, 1, 0.6), confirmed(2, 0, 0.9), confirmed(2, 1, 0.5)]
    failed = [confirmed(3, 0, 0.99), confirmed(3, 1, None), confirmed(4, 0, 0.99)]
    one = StudyOutcome("grid", "grid", 0, study("a", []).state, "accuracy", "max", confirmations=(*made, *failed))
    assert [(c.rank, c.seed) for c in one.confirmed()] == [(2, 0), (2, 1)]
    assert study("grid", []).confirmed() == ()


@pytest.mark.unit
def test_a_function_of_the_users_own_cannot_be_confirmed(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"confirm: tests\.support\.own_trainables:train is a function, which runs inside a search"
    ):
        spec_of(tmp_path, trainable="tests.support.own_trainables:train", fixed={})


# Whole runs


@pytest.mark.tune
def test_the_winner_is_chosen_anew_and_its_models_alone_are_scored_once(tmp_path: Path) -> None:
    """By mean validation over new seeds. One configuration fails with a seed, one takes its process along: both out."""
    spec = spec_of(tmp_path, confirm={"top": 4, "seeds": 2})
    spec = spec.model_copy(update={"fixed": {**spec.fixed, "model.fails": 1e-2}})

    def kill(actor: SimulatedActor, method: str) -> None:
        if (call := job_of(actor, method)) is not None:
            _, function, (training, kept) = call
            values = kept.manifest.segments[-1].params
            if (function.__name__, values["learning_rate"], training.seed) == ("train_candidate", 1e-5, 1001):
                ray.at(ray.seconds + 30.0, lambda: ray.kill(actor))

    with simulated_ray() as ray:
        ray.before(kill)
        outcome = run_experiment(spec, progress=False)
    one = grid(outcome)
    best, _ = one.best() or pytest.fail("no best")
    assert best.params["learning_rate"] == 1e-3
    assert [(c.rank, c.seed) for c in one.confirmations] == [(r, s) for r in (1, 2, 3, 4) for s in (1000, 1001)]
    *whole, _, failed, _, dead = one.confirmations
    assert all(c.time > 0 for c in one.confirmations)
    assert all(c.device_seconds > 0 for c in one.confirmations if c is not failed)  # which has done so at once
    assert all(c.validation and c.error is None for c in whole)
    assert (failed.validation, failed.error) == (None, "RuntimeError: out of luck")
    assert (dead.validation, (dead.error or "").partition(":")[0]) == (None, "RayActorError")

    winner = one.confirmed()
    assert [(c.rank, c.seed) for c in winner] == [(2, 1000), (2, 1001)]  # not the lucky one
    assert winner[0].schedule == (Stretch(0, 2, one.trials[3].reports[-1].params),)
    assert [c.rank for c in one.confirmations if c.test is not None] == [2, 2]
    assert [c.rows.predictions for c in winner if c.rows] == [(0, 1, 0), (0, 1, 1)]
    assert all((c.tested_at or 0) > max(x.time for x in one.confirmations) for c in winner)
    assert one.test is None
    assert sorted(noted(tmp_path, "test")) == [(1000, 3e-4), (1001, 3e-4)]
    assert not list(tmp_path.glob("**/weights-*-*"))

    with simulated_ray() as ray:
        assert run_experiment(spec, progress=False, resume=True) == outcome
    assert ray.actors == []
    assert len(noted(tmp_path, "test")) == 2
    plain = json.loads(json.dumps(outcome.to_json(), allow_nan=False))["studies"][0]["confirmations"]
    assert (plain[2]["rows"], plain[2]["schedule"][0]["end"], plain[0]["rows"]) == (3, 2.0, None)


@pytest.mark.tune
@pytest.mark.parametrize("ended", [0, 3, 6])
def test_a_killed_driver_loses_the_running_training_or_evaluation_at_most(tmp_path: Path, ended: int) -> None:
    """One at a time: six trainings, then two looks at the test split, of which so many are recorded."""
    spec = spec_of(tmp_path, cluster={"max_concurrent": 1})
    left = ended + 1

    def end(actor: SimulatedActor, method: str, value: Any) -> None:
        nonlocal left
        left -= job_of(actor, method) is not None
        if left == 0:
            ray.end_driver(keeping=spec.run_folder)

    with simulated_ray() as ray:
        ray.after(end)
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    before = grid(StudyStore(spec.store_url).load(spec.name))
    assert len(before.confirmations) == ended

    with simulated_ray():
        after = grid(run_experiment(spec, progress=False, resume=True))
    assert [(c.rank, c.seed) for c in after.confirmations] == [(r, s) for r in (1, 2, 3) for s in (1000, 1001)]
    kept = {(c.rank, c.seed): c.time for c in before.confirmations}
    assert {(c.rank, c.seed): c.time for c in after.confirmations if (c.rank, c.seed) in kept} == kept
    assert [c.rank for c in after.confirmed()] == [c.rank for c in after.confirmations if c.test] == [2, 2]
    assert len(noted(tmp_path, "built")) == 6 + 2 + 1  # once more the one that was running
    assert len(noted(tmp_path, "test")) == 2 + (ended == 6)


def trained(outcome: ExperimentOutcome) -> dict[tuple[str, int], set[int]]:
    """The training seeds of each study's confirmations."""
    return {(one.strategy, one.seed): {c.seed for c in one.confirmations} for one in outcome.studies}


@pytest.mark.tune
def test_searches_share_no_training_seed_and_strategies_share_all(tmp_path: Path) -> None:
    strategies = [{"kind": "grid", "points": 2}, {"kind": "random", "trials": 2}]
    spec = spec_of(tmp_path, seeds=[0, 3], strategies=strategies)
    with simulated_ray():
        outcome = run_experiment(spec, progress=False)
    first, other = {1000, 1001}, {1002, 1003}
    assert trained(outcome) == {
        ("grid", 0): first, ("random", 0): first, ("grid", 3): other, ("random", 3): other,
    }  # fmt: skip
    (pair,) = compare(outcome, spec={"trainable": "learning_curve"}).pairs
    assert pair.seeds == 2


@pytest.mark.tune
def test_what_an_older_version_has_begun_to_confirm_goes_on_with_its_seeds(tmp_path: Path) -> None:
    """It trained with 1000 and 1001 after every search."""
    spec = spec_of(tmp_path, seeds=[0, 3], cluster={"max_concurrent": 1})

    def end(actor: SimulatedActor, method: str, value: Any) -> None:
        if job_of(actor, method) is not None:
            ray.end_driver(keeping=spec.run_folder)

    with simulated_ray() as ray:
        ray.after(end)
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    store = StudyStore(spec.store_url)
    study = store.load(spec.name).study("grid", 3)
    (first, *_) = candidates(study, top=3)
    store.writer(spec.name, study).set_confirmations(
        Confirmation(*first, seed=1000, device_seconds=1.0, time=1.0, error="RuntimeError: out of luck")
    )
    with simulated_ray():
        outcome = run_experiment(spec, progress=False, resume=True)
    assert trained(outcome) == {("grid", 0): {1000, 1001}, ("grid", 3): {1000, 1001}}
    assert outcome.study("grid", 3).confirmations[0].error == "RuntimeError: out of luck"
    assert all(study.confirmed()[0].test for study in outcome.studies)


@pytest.mark.tune
@pytest.mark.parametrize("tested", [True, False])
def test_a_trainer_of_ones_own_is_confirmed_and_scored_if_it_has_test_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tested: bool
) -> None:
    raw = user_trainer_fields(
        tmp_path,
        epochs=1,
        objective={"metric": "accuracy", "mode": "max"},
        strategies=[{"kind": "grid", "points": 1}],
        confirm={"top": 1, "seeds": 2},
    )
    name = raw["trainable"] if tested else "tests.support.user_trainers:without_test_rows"
    with simulated_ray():
        one = grid(run_experiment({**raw, "trainable": name}))
    made = one.confirmed()
    assert [confirmation.seed for confirmation in made] == [1000, 1001]
    assert made[0].validation != made[1].validation  # each has a seed of its own
    assert [None if c.test is None else {*c.test} for c in made] == [{"accuracy", "loss"} if tested else None] * 2
    assert ("grid, seed 0: no test score: its Trainer has no test rows" in capsys.readouterr().out) != tested
