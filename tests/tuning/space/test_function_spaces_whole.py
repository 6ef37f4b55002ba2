"""Whole studies over a space with branches, in virtual time: what is trained, cut, resumed, shown and drawn."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.own_spaces import conditional
from tests.support.simulated_studies import history, long_experiment, run, run_study, run_until_killed
from trainables.user_trainer.hp_space import resolve_params
from tuning import load_spec
from tuning.cli import main
from tuning.comparison import compare
from tuning.comparison.text import best_configuration
from tuning.outcome import ExperimentOutcome, StudyState, TrialState
from tuning.report.page.document import all_figures, page_content, render_page
from tuning.report.page.figure import ALL, Figure
from tuning.report.page.recorded_spec import RecordedSpec
from tuning.selection.best_spec import best_spec
from tuning.selection.winner import winner_of
from tuning.space import FunctionSpace
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.before_run import require_runnable

pytestmark = pytest.mark.tune

SPACE = FunctionSpace.of(conditional)
STRATEGIES: dict[str, dict[str, Any]] = {
    "grid": {"kind": "grid", "points": 1},
    "random": {"kind": "random", "trials": 4},
    "random_asha": {"kind": "random_asha", "trials": 4},
    "pbt": {"kind": "pbt", "population": 4},
}
every_strategy = pytest.mark.parametrize("kind", STRATEGIES)


def experiment(folder: Path, *kinds: str, **changed: Any) -> ExperimentSpec:
    return long_experiment(
        folder,
        space="tests.support.own_spaces:conditional",
        strategies=[dict(STRATEGIES[kind]) for kind in kinds],
        in_flight=["log_lr", "momentum"],
        **changed,
    )


@every_strategy
def test_every_strategy_trains_with_what_the_function_returns(tmp_path: Path, kind: str) -> None:
    study, _ = run_study(experiment(tmp_path, kind))
    assert study.state is StudyState.FINISHED
    assert study.count(TrialState.FAILED) == 0
    assert len({frozenset(trial.params) for trial in study.trials}) > 1
    for trial in study.trials:
        for report in trial.reports:
            values = trial.proposed(report.epoch)
            assert SPACE.contains(values)
            message = {name: value for name, value in report.params.items() if name != "model.seconds_per_epoch"}
            returned = SPACE.returned(values)
            changed = {"weight_decay"} & values.keys()
            asked = {f"suggested.{name}" if name in changed else name: value for name, value in values.items()}
            assert message == {**returned, **asked}


def test_a_grid_is_every_leaf_of_the_tree(tmp_path: Path) -> None:
    study, _ = run_study(experiment(tmp_path, "grid"))
    assert [trial.params for trial in study.trials] == SPACE.grid(1)
    assert [trial.params["optim"] for trial in study.trials] == ["adamw_torch", "sgd", "sgd"]


def test_a_population_perturbs_within_its_branch_and_holds_what_may_not_change(tmp_path: Path) -> None:
    study, _ = run_study(experiment(tmp_path, "pbt"))
    exploits = [exploit for trial in study.trials for exploit in trial.lineage]
    members = {trial.id: trial for trial in study.trials}
    assert exploits
    moved = set()
    for exploit in exploits:
        donor = members[exploit.donor].proposed(exploit.epoch)
        moved |= {name for name in donor if exploit.new[name] != donor[name]}
        assert exploit.new.keys() == donor.keys()
    assert moved <= {"log_lr", "momentum", "weight_decay"}
    assert "log_lr" in moved


@every_strategy
def test_a_study_that_is_killed_and_resumed_ends_as_an_undisturbed_one(tmp_path: Path, kind: str) -> None:
    alone = {"cluster": {"max_concurrent": 1}}
    whole, _ = run_study(experiment(tmp_path / "whole", kind, **alone))
    spec = experiment(tmp_path / "cut", kind, **alone)
    run_until_killed(spec, "train", 7)
    resumed, _ = run_study(spec, resume=True)
    assert history(resumed) == history(whole)


# What is shown of trials that have different names


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentSpec, ExperimentOutcome]:
    spec = experiment(tmp_path_factory.mktemp("runs"), *STRATEGIES, test=True)
    outcome, _ = run(spec)
    return spec, outcome


def figures(spec: ExperimentSpec, outcome: ExperimentOutcome) -> dict[str, Figure]:
    found = all_figures(outcome, compare(outcome), RecordedSpec.parse(spec.to_yaml()))
    return {figure.id: figure for figure in found}


def test_the_page_draws_every_trial_and_calls_what_it_has_not_got_not_applicable(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, outcome = searched
    parallel = figures(spec, outcome)["parallel"]
    rows = [dict(zip(parallel.table.columns, row, strict=True)) for row in parallel.table.rows]
    assert all((row["momentum"] is None) == (row["optim"] == "adamw_torch") for row in rows)
    for view in parallel.views:
        shown = [row for row in rows if view.label in (row["strategy"], ALL)]
        lines = [trace for trace in view.plot["data"] if trace.get("mode") == "lines"]
        texts = [annotation["text"] for annotation in view.plot["layout"]["annotations"]]
        assert len(lines) == len(shown)
        assert ("n/a" in texts) == (len({row["optim"] for row in shown}) > 1)
        assert "None" not in texts
    assert "n/a" in str(parallel.views[0].plot["layout"])


def test_the_page_shows_the_values_over_time_of_names_that_some_members_have(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
) -> None:
    spec, outcome = searched
    moved = {row[2] for row in figures(spec, outcome)["schedules"].table.rows}
    assert "log_lr" in moved
    assert moved & {"momentum", "weight_decay"}
    assert "importances" in render_page(page_content(outcome, spec.to_yaml()))


def test_every_command_tells_of_them(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec, outcome = searched
    monkeypatch.chdir(tmp_path)
    folder = str(spec.run_folder)
    for command in (["compare"], ["report"], ["export", "--format", "csv", "--to", "tables"]):
        assert main([command[0], folder, *command[1:]]) == 0
    capsys.readouterr()
    assert main(["results", folder, "--json"]) == 0
    message = json.loads(capsys.readouterr().out)
    (study,) = (one for one in message["studies"] if one["strategy"] == "random")
    assert [trial["params"] for trial in study["trials"]] == [dict(t.params) for t in outcome.study("random", 0).trials]
    with (tmp_path / "tables/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["params/momentum"] == "" for row in rows if row["params/optim"] == "adamw_torch"} == {True}
    assert all(math.isfinite(float(row["params/momentum"])) for row in rows if row["params/optim"] == "sgd")


@pytest.mark.parametrize("kind", ["random", "pbt"])
def test_a_best_configuration_is_a_spec_whose_trial_is_given_the_same(
    searched: tuple[ExperimentSpec, ExperimentOutcome], kind: str
) -> None:
    spec, outcome = searched
    winner = winner_of(outcome, kind)
    best = load_spec(yaml.safe_load(best_spec(spec, winner)))
    require_runnable(best)
    (params,) = best.space.grid(1)
    in_force = winner.candidate.schedule[-1].params
    assert SPACE.contains(params)
    assert resolve_params(params, best.trial_spec(0)) == {**spec.fixed, **SPACE.returned(in_force)}


def test_what_is_printed_to_copy_names_the_function(searched: tuple[ExperimentSpec, ExperimentOutcome]) -> None:
    _, outcome = searched
    best = compare(outcome).best
    assert best is not None
    assert best.best is not None
    assert best.best.chosen is not None
    message = yaml.safe_load(best_configuration(compare(outcome)))
    assert message["hp_space"] == "tests.support.own_spaces:conditional"
    assert SPACE.contains(message["fixed"])
    assert SPACE.returned(message["fixed"])["learning_rate"] == best.best.chosen.params["learning_rate"]
