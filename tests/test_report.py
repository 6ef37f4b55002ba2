"""What a reader sees: tables, Markdown, JSON, YAML to copy."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from outcomes import population, report, scored, study, trial

from tuning import cli, load_spec, run_experiment
from tuning.comparison import Comparison, compare
from tuning.outcome import ExperimentOutcome, TrialOutcome, TrialState
from tuning.report import (
    best_configuration,
    comparison_json,
    comparison_markdown,
    print_comparison,
    print_results,
    results_json,
)

SPLITS = ("train", "validation", "test")


def outcome() -> ExperimentOutcome:
    failed = trial(1, [], TrialState.FAILED, error="ValueError: [no] such layer (traceback: /runs/error.txt)")
    grid = study("grid", [trial(0, [report(1, 0.7), report(2, 0.75)]), failed], test=scored("t0", 2, 0.74))
    return ExperimentOutcome(
        "movie-reviews", "abc", (grid, study("hyperopt_asha", list(population()), test=scored("t1", 3, 0.75)))
    )


def printed(comparison: Comparison) -> str:
    file = io.StringIO()
    print_comparison(comparison, file)
    return file.getvalue()


def test_the_terminal_table_fits_80_columns_and_is_plain_text_in_a_file() -> None:
    text = printed(compare(outcome()))
    assert max(len(line.rstrip()) for line in text.splitlines() if not line.startswith("#")) <= 80
    assert "\x1b" not in text
    assert "hyperopt_asha 0.8000     0.750 [0.722, 0.776]      100      7 2/0/0" in text
    assert "1/0/1" in text
    assert "No difference shown" in text


def test_the_last_lines_are_yaml_that_a_spec_takes_under_fixed() -> None:
    text = printed(compare(outcome()))
    assert yaml.safe_load(text[text.index("# best configuration") :]) == {"fixed": {"learning_rate": 0.4}}


def test_a_schedule_is_told_as_one_with_the_values_per_epoch() -> None:
    text = best_configuration(compare(outcome()))
    assert "It is a schedule" in text
    assert "#   epochs 0 to 1: learning_rate=0.2" in text
    assert "#   epochs 1 to 3: learning_rate=0.4" in text


def test_a_constant_configuration_is_not_called_a_schedule() -> None:
    assert "schedule" not in best_configuration(compare(ExperimentOutcome("e", "d", outcome().studies[:1])))


def test_defaults_are_left_out_unless_a_strategy_chose_them() -> None:
    """The real trainable reports every value in force."""
    in_force = {"learning_rate": 5e-5, "weight_decay": 0.0, "optim": "adamw_torch_fused", "adam_beta1": 0.95}
    last = report(1, 0.5)._replace(params=in_force)
    only = TrialOutcome("a", 0, TrialState.COMPLETED, {"learning_rate": 5e-5}, (last,))
    text = best_configuration(compare(ExperimentOutcome("e", "d", (study("grid", [only]),))))
    assert yaml.safe_load(text) == {"fixed": {"learning_rate": 5e-5, "adam_beta1": 0.95}}
    assert "what is not named has its default" in text


@pytest.mark.ray
def test_the_best_configuration_pastes_into_a_spec_that_validates_and_trains(
    ray_session: None, tiny_model: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the printed text of a run with the real trainable to another run, of exactly those values."""
    common: dict[str, Any] = {
        "task": "text_classification",
        "data": {
            "path": str(tiny_data),
            "text": ["text"],
            "label": "label",
            "subset": {"train": 32, "validation": 32, "test": 32},
        },
        "model": str(tiny_model),
        "epochs": 1,
        "test": False,
        "cluster": {"storage": str(tmp_path), "gpus_per_trial": 0},
    }
    searched: dict[str, Any] = {
        "fixed": {"model.hidden_dropout_prob": 0.2, "warmup_ratio": 0.1},
        "space": {"learning_rate": {"choice": [1e-5, 3e-3]}},
    }
    grid = [{"kind": "grid"}]
    first = run_experiment(load_spec({"name": "first", **common, **searched, "strategies": grid}), progress=False)
    printed_text = printed(compare(first))
    pasted = f"{yaml.safe_dump({'name': 'second', **common})}{printed_text[printed_text.index('# best') :]}"
    path = tmp_path / "second.yaml"
    path.write_text(f"{pasted}\nspace: {{adam_beta1: {{choice: [0.9]}}}}\nstrategies: [{{kind: grid}}]\n")

    assert cli.main(["validate", str(path)]) == 0
    assert "second: valid" in capsys.readouterr().out
    second = run_experiment(load_spec(path), progress=False)
    (best, at_best), (again, at_end) = first.studies[0].best() or (), second.studies[0].best() or ()
    assert (best.state, again.state) == (TrialState.COMPLETED, TrialState.COMPLETED)
    assert at_end.params == at_best.params
    assert at_end.metrics == at_best.metrics


def test_small_rates_stay_numbers_in_the_yaml() -> None:
    tiny = ExperimentOutcome("e", "d", (study("grid", [trial(0, [report(1, 0.5, 3e-05)])]),))
    assert yaml.safe_load(best_configuration(compare(tiny)))["fixed"]["learning_rate"] == 3e-05


def test_an_experiment_without_scores_says_so() -> None:
    assert "no trial has reported" in printed(compare(ExperimentOutcome("e", "d", (study("grid", []),))))


def test_every_seed_has_its_own_line_when_there_are_several() -> None:
    studies = (study("grid", [trial(0, [report(1, 0.5)])], seed=s) for s in (3, 4))
    text = printed(compare(ExperimentOutcome("e", "d", tuple(studies))))
    assert "seed 3" in text
    assert "seed 4" in text


def test_the_json_of_a_comparison_holds_every_number_by_name() -> None:
    plain = json.loads(comparison_json(compare(outcome())))
    assert plain["schema_version"] == 1
    pbt = plain["rows"][1]
    assert pbt["best"]["chosen"]["schedule"][1] == {"start": 1.0, "end": 3.0, "params": {"learning_rate": 0.4}}
    assert pbt["best"]["interval"]["rows"] == 1000
    assert plain["verdict"].startswith("No difference shown")


def test_the_markdown_has_a_row_per_strategy_and_the_yaml_fenced() -> None:
    text = comparison_markdown(compare(outcome()))
    assert "| hyperopt_asha | 0.8000 | 0.750 [0.722, 0.776] | 100 | 7 | 2/0/0 |" in text
    assert text.rstrip().endswith("```")


def test_the_listing_of_trials_shows_states_scores_and_errors_as_they_are() -> None:
    file = io.StringIO()
    print_results(outcome(), file)
    text = file.getvalue()
    assert "failed" in text
    assert "[no] such" in text  # brackets are no markup
    assert "0.7500 @ 2" in text
    assert "from t0 at epoch 1 on:" in text
    assert "learning_rate=0.4" in text


def test_the_schema_of_results_is_pinned() -> None:
    """A key that moves needs a new SCHEMA_VERSION and a line in the changelog."""
    plain = json.loads(results_json(outcome()))
    assert plain.keys() == {"schema_version", "name", "digest", "studies"}
    assert plain["schema_version"] == 1
    pbt = plain["studies"][1]
    assert pbt.keys() == {
        "strategy", "kind", "seed", "state", "metric", "mode", "trials", "wall_seconds", "slots", "devices_per_trial",
        "device", "device_seconds", "test", "attributes", "node_losses", "slot_seconds", "confirmations", "budget",
        "price", "money",
    }  # fmt: skip
    assert pbt["test"].keys() == {"trial", "epoch", "params", "metrics", "rows", "checkpoint", "time", "scored"}
    member = pbt["trials"][1]
    assert member.keys() == {
        "id", "number", "state", "params", "reports", "lineage", "checkpoints", "error", "epochs_trained",
    }  # fmt: skip
    assert member["reports"][0].keys() == {"epoch", "metrics", "params", "device_seconds", "time"}
    assert member["lineage"][0].keys() == {"epoch", "donor", "old", "new", "time", "reports", "donor_reports"}


def test_a_metric_that_is_not_finite_is_null_in_json() -> None:
    odd = report(1, 0.5)._replace(metrics={"accuracy": 0.5, "f1": float("nan")})
    plain = json.loads(results_json(ExperimentOutcome("e", "d", (study("grid", [trial(0, [odd])]),))))
    assert plain["studies"][0]["trials"][0]["reports"][0]["metrics"] == {"accuracy": 0.5, "f1": None}
