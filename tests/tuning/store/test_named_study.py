"""The study that a script names has the trials of the search: what Optuna loads and draws is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as State
from optuna.trial import create_trial

from tests.support.simulated_studies import long_experiment, run, run_until_killed
from trainables.errors import InputError
from tuning.comparison import compare
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.space import Space
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec
from tuning.spec.store_url import sqlite_url
from tuning.store.named_study import ORIGIN, NamedStudy, write_studies
from tuning.store.observations import observe

pytestmark = pytest.mark.tune


@pytest.fixture
def named(tmp_path: Path) -> NamedStudy:
    """A study in a database that is not made yet."""
    return NamedStudy(sqlite_url(tmp_path / "mine.db"), "mine")


def searched(folder: Path, named: NamedStudy) -> ExperimentOutcome:
    """A search that stops trials early, recorded in the same database."""
    strategy = {"kind": "random_asha", "trials": 6}
    return run(long_experiment(folder, store=named.url, strategies=[strategy]))[0]


def test_the_named_study_has_every_trial_with_its_values_and_its_scores(tmp_path: Path, named: NamedStudy) -> None:
    named.check("max", may_exist=False)
    outcome = searched(tmp_path, named)
    named.add(outcome, named.url)
    (study,) = outcome.studies
    copied = optuna.load_study(study_name="mine", storage=named.url).trials
    assert len(copied) == len(study.trials) == 6
    states = {TrialState.COMPLETED: "COMPLETE", TrialState.STOPPED: "PRUNED"}
    for trial, copy in zip(study.trials, copied, strict=True):
        assert copy.state.name == states[trial.state]
        assert copy.params == {name: trial.params[name] for name in copy.params}
        scores = [report.metrics[study.metric] for report in trial.reports]
        assert list(copy.intermediate_values.values()) == scores
    assert {copy.state.name for copy in copied} == {"COMPLETE", "PRUNED"}


def test_a_trial_is_not_copied_twice_and_what_was_there_stays(tmp_path: Path, named: NamedStudy) -> None:
    mine = optuna.create_study(study_name="mine", storage=named.url, direction="maximize")
    mine.add_trial(optuna.trial.create_trial(value=0.5))
    named.check("max", may_exist=True)
    outcome = searched(tmp_path, named)
    named.add(outcome, named.url)
    named.add(outcome, named.url)
    assert len(optuna.load_study(study_name="mine", storage=named.url).trials) == 7


def test_a_study_that_is_there_is_added_to_only_if_that_was_asked_for(named: NamedStudy) -> None:
    optuna.create_study(study_name="mine", storage=named.url, direction="minimize")
    with pytest.raises(InputError, match="load_if_exists=True"):
        named.check("min", may_exist=False)
    with pytest.raises(InputError, match="has the direction minimize"):
        named.check("max", may_exist=True)


def test_a_search_that_is_refused_after_the_check_leaves_no_study_behind(named: NamedStudy) -> None:
    named.check("min", may_exist=False)
    assert optuna.get_all_study_names(named.url) == []
    named.check("min", may_exist=False)


# Studies that are exported.


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentOutcome, str]:
    """Two searches with one seed each, and the URL of the store of their own."""
    strategies = [{"kind": "random_asha", "trials": 8}, {"kind": "pbt", "population": 4}]
    folder = tmp_path_factory.mktemp("searched")
    store = sqlite_url(folder / "study.db")
    space = {"learning_rate": {"loguniform": [1e-5, 1e-2]}, "weight_decay": {"uniform": [0, 0.3]}}
    return run(long_experiment(folder, store=store, strategies=strategies, space=space))[0], store


@pytest.fixture
def outcome(searches: tuple[ExperimentOutcome, str]) -> ExperimentOutcome:
    """The outcome of both searches."""
    return searches[0]


@pytest.fixture
def source(searches: tuple[ExperimentOutcome, str]) -> str:
    """The URL of their store."""
    return searches[1]


def test_each_study_is_exported_by_itself_without_our_attributes(
    outcome: ExperimentOutcome, source: str, tmp_path: Path
) -> None:
    url = sqlite_url(tmp_path / "exported.db")
    assert write_studies(outcome, source, url, "mine", "random_asha") == ["mine"]
    assert write_studies(outcome, source, url, "both") == ["both-random_asha-seed0", "both-pbt-seed0"]
    assert sorted(optuna.get_all_study_names(url)) == ["both-pbt-seed0", "both-random_asha-seed0", "mine"]
    exported, (recorded, _) = optuna.load_study(study_name="mine", storage=url), outcome.studies
    assert exported.user_attrs == {}
    assert len(exported.trials) == len(recorded.trials)
    for trial, copy in zip(recorded.trials, exported.trials, strict=True):
        assert (copy.user_attrs, copy.system_attrs) == ({}, {})
        assert copy.params == {name: trial.params[name] for name in copy.params}
        assert list(copy.intermediate_values.values()) == [one.metrics[recorded.metric] for one in trial.reports]
    best = max(exported.trials, key=lambda one: one.value or 0)
    assert best.value == recorded.best()[1].metrics[recorded.metric]  # type: ignore[index]


def test_an_export_names_what_is_not_there_and_overwrites_nothing(
    outcome: ExperimentOutcome, source: str, tmp_path: Path
) -> None:
    url = sqlite_url(tmp_path / "exported.db")
    write_studies(outcome, source, url, "mine", "pbt", 0)
    with pytest.raises(InputError, match=r"study-name: 'mine': there is a study of that name in .*; give another"):
        write_studies(outcome, source, url, "mine", "pbt")
    with pytest.raises(InputError, match=r"strategy: 'pbt, seed 3': .* did you mean pbt, seed 0"):
        write_studies(outcome, source, url, "other", "pbt", 3)


@pytest.mark.parametrize("exported", [True, False], ids=["exported", "the store itself"])
def test_the_plots_of_the_cookbook_draw(
    exported: bool, outcome: ExperimentOutcome, source: str, tmp_path: Path
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    url, name = sqlite_url(tmp_path / "exported.db"), "mine"
    if exported:
        write_studies(outcome, source, url, name, "random_asha")
    else:
        url, name = source, f"{outcome.name}/random_asha/seed-0"
    plots, study = optuna.visualization.matplotlib, optuna.load_study(study_name=name, storage=url)
    history = plots.plot_optimization_history(study)
    assert len(history.collections[0].get_offsets()) == sum(one.state.name == "COMPLETE" for one in study.trials)
    assert len(plots.plot_intermediate_values(study).lines) == len(study.trials)
    importances = [bar.get_width() for bar in plots.plot_param_importances(study).patches]
    assert len(importances) == 2
    assert sum(importances) == pytest.approx(1.0)


# A study of the user's own that a strategy names.

SPACE = Space.model_validate(
    {"learning_rate": {"loguniform": [1e-5, 1e-2]}, "weight_decay": {"uniform": [0, 0.3]}, "adam_beta1": 0.9}
)


def add_trial(study: optuna.Study, params: dict[str, Any], value: float | None = 0.5, **fields: Any) -> None:
    known = {
        "learning_rate": FloatDistribution(1e-6, 1e-1, log=True),
        "weight_decay": FloatDistribution(0, 1),
        "warmup_steps": IntDistribution(0, 500),
        "optim": CategoricalDistribution(["adamw_torch", "sgd"]),
    }
    distributions = {name: known[name] for name in params}
    study.add_trial(create_trial(value=value, params=params, distributions=distributions, **fields))


@pytest.fixture
def mine(named: NamedStudy) -> optuna.Study:
    """A study of the user's, with trials in the space and outside of it."""
    study = optuna.create_study(study_name=named.name, storage=named.url, direction="maximize")
    add_trial(study, {"learning_rate": 1e-3, "weight_decay": 0.1}, 0.8)
    add_trial(
        study, {"learning_rate": 2e-3, "weight_decay": 0.2}, None, state=State.PRUNED, intermediate_values={3: 0.6}
    )
    add_trial(study, {"learning_rate": 2e-3, "weight_decay": 0.2}, None, state=State.FAIL)
    add_trial(study, {"learning_rate": 0.1, "weight_decay": 0.2})
    add_trial(study, {"learning_rate": 1e-3})
    add_trial(study, {"learning_rate": 1e-3, "weight_decay": 0.1, "warmup_steps": 10})
    add_trial(study, {"learning_rate": 3e-3, "weight_decay": 0.1}, 0.9, user_attrs={ORIGIN: "mine/optuna/seed-0/a"})
    study.ask()
    return study


def test_finished_trials_in_the_space_are_observations_and_the_others_are_named(
    mine: optuna.Study, named: NamedStudy
) -> None:
    found = observe(named, SPACE, "max", "mine")
    assert [(list(one.params.values()), one.score) for one in found.trials] == [
        ([1e-3, 0.1, 0.9], 0.8),
        ([2e-3, 0.2, 0.9], 0.6),
    ]
    assert found.left_out == {
        "failed, or have no score": 1,
        "have values of learning_rate outside the space": 1,
        "have no weight_decay": 1,
        "have warmup_steps, which is not in the space": 1,
    }
    assert len(observe(named, SPACE, "max", "another").trials) == 3  # what another experiment of ours has added


def test_a_study_to_which_no_trial_could_be_added_is_refused_with_both_declarations(
    mine: optuna.Study, named: NamedStudy
) -> None:
    add_trial(mine, {"optim": "sgd"})
    other = Space.model_validate({"optim": {"choice": ["adamw_torch", "adafactor"]}})
    with pytest.raises(InputError, match=r"^study_name: 'mine': optim is Categorical.*'sgd'.*, and .*'adafactor'"):
        observe(named, other, "max", "mine")
    with pytest.raises(InputError, match=r"^study_name: 'mine': .* has the direction maximize"):
        observe(named, SPACE, "min", "mine")


def experiment(folder: Path, named: NamedStudy, slots: int = 2, **fields: Any) -> ExperimentSpec:
    strategy = {"kind": "optuna", "trials": 6, "initial_random": 2, "study_name": named.name, "storage": named.url}
    strategies = [{**strategy, **fields}, {"kind": "random", "trials": 2}]
    space, cluster = SPACE.model_dump(mode="json"), {"max_concurrent": slots}
    return long_experiment(folder, strategies=strategies, space=space, cluster=cluster)


def test_a_search_learns_from_a_study_and_adds_its_trials_once(
    mine: optuna.Study, named: NamedStudy, tmp_path: Path
) -> None:
    before, spec = len(mine.trials), experiment(tmp_path / "runs", named, pruner="asha")
    outcome = run(spec)[0]
    (searched, _) = outcome.studies
    assert "optuna began with 3 earlier trials of the Optuna study mine." in " ".join(compare(outcome).caveats)
    added = optuna.load_study(study_name=named.name, storage=named.url).trials[before:]
    assert len(added) == len(searched.trials) == 6
    states = {TrialState.COMPLETED: "COMPLETE", TrialState.STOPPED: "PRUNED"}
    assert [one.state.name for one in added] == [states[trial.state] for trial in searched.trials]
    scores = [[report.metrics["accuracy"] for report in trial.reports] for trial in searched.trials]
    assert [list(one.intermediate_values.values()) for one in added] == scores
    (again, _) = run(spec, resume=True)[0].studies
    assert again.attributes["earlier_trials"] == 3
    assert len(optuna.load_study(study_name=named.name, storage=named.url).trials) == before + 6


def test_what_a_study_knows_changes_what_is_proposed(mine: optuna.Study, named: NamedStudy, tmp_path: Path) -> None:
    for value in range(20):
        add_trial(mine, {"learning_rate": 5e-3, "weight_decay": 0.25 + value / 1000}, 0.99)
        add_trial(mine, {"learning_rate": 2e-5, "weight_decay": value / 1000}, 0.1)
    (searched, _) = run(experiment(tmp_path / "runs", named))[0].studies
    proposed = [trial.params["learning_rate"] for trial in searched.trials[2:]]
    assert min(proposed) > 2e-4  # at random half of them are below


def test_a_search_that_is_resumed_needs_the_study_no_more(
    mine: optuna.Study, named: NamedStudy, tmp_path: Path
) -> None:
    """A searcher's snapshots hold the trials that it was told, so that it proposes as an undisturbed one would."""
    proposed = []
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        spec = experiment(folder, named, slots=1, sampler="gp", pruner="median", startup_trials=2)
        if folder.name == "cut":
            run_until_killed(spec, "train", 9)
            optuna.delete_study(study_name=named.name, storage=named.url)
        study, _ = run(spec, resume=folder.name == "cut")[0].studies
        proposed.append([(trial.params, trial.epochs) for trial in study.trials])
    assert proposed[0] == proposed[1]


def test_a_study_is_read_before_anything_starts_and_a_mistake_is_named_by_its_path(
    named: NamedStudy, tmp_path: Path
) -> None:
    optuna.create_study(study_name=named.name, storage=named.url, direction="minimize")
    with pytest.raises(SpecError, match=r"strategies\.0\.study_name: 'mine': .* direction minimize"):
        run(experiment(tmp_path / "runs", named))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SpecError, match=r"strategies\.0\.study_name: 'mine': in which database is it\?"):
        run(experiment(tmp_path / "runs", named, storage=None))


def test_a_password_stands_in_no_spec_and_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = NamedStudy("postgresql://me:s3cret@localhost:1/db", "mine")
    for fields in ({}, {"reduction_factor": 3.0}):  # by itself, and beside a mistake that shows the whole strategy
        with pytest.raises(SpecError) as refused:
            experiment(tmp_path / "runs", secret, **fields)
        assert "s3cret" not in str(refused.value)
        assert fields or "TUNEFLEET_OPTUNA_STORAGE" in str(refused.value)
    monkeypatch.setenv("TUNEFLEET_OPTUNA_STORAGE", sqlite_url(tmp_path / "s3cret.db"))
    spec = experiment(tmp_path / "runs", secret, storage=None)
    assert "s3cret" not in repr(secret)
    run(spec)
    assert len(optuna.load_study(study_name="mine", storage=sqlite_url(tmp_path / "s3cret.db")).trials) == 6
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


def test_simulated_trials_are_added_to_no_study(named: NamedStudy, tmp_path: Path) -> None:
    strategies = [one.without_user_study() for one in experiment(tmp_path, named).strategies]
    assert [one.user_study for one in strategies] == [None, None]
