"""Tests the output of a comparison: tables, Markdown, JSON, YAML to copy."""

from __future__ import annotations

import csv
import io
import json

import pytest
import yaml

from tests.support.outcomes import make_report, population, scored, study, trial
from tuning.budget import Price
from tuning.comparison import Comparison, compare
from tuning.comparison.text import (
    best_configuration,
    comparison_csv,
    comparison_json,
    comparison_markdown,
    print_comparison,
)
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialOutcome, TrialState
from tuning.report.results import print_results, results_json

pytestmark = pytest.mark.unit

SNAPSHOT = """
reviews: accuracy, higher is better; device: GPU
Use the configuration of hyperopt_asha, seed 2, trial 0 (t0) after epoch 2: it
has the best validation accuracy, 0.7700; test accuracy 0.808 [0.807, 0.809].

 strategy      validation test [95 %]          device-s epochs done/stop/fail
 ────────────────────────────────────────────────────────────────────────────
 hyperopt_asha 0.7600     0.807 [0.793, 0.821]      300      6 3/0/0
   seed 0      0.7500     0.801 [0.800, 0.802]      100      2
   seed 1      0.7600     0.812 [0.811, 0.813]      100      2
   seed 2      0.7700     0.808 [0.807, 0.809]      100      2
 grid          0.7600     0.741 [0.735, 0.748]      300      6 3/0/0
   seed 0      0.7500     0.741 [0.740, 0.742]      100      2
   seed 1      0.7600     0.739 [0.738, 0.740]      100      2
   seed 2      0.7700     0.744 [0.743, 0.745]      100      2
 random_asha   0.7600     0.743 [0.731, 0.754]      300      6 3/0/0
   seed 0      0.7500     0.738 [0.737, 0.739]      100      2
   seed 1      0.7600     0.747 [0.746, 0.748]      100      2
   seed 2      0.7700     0.743 [0.742, 0.744]      100      2


 strategy      rank test worst, middle device-s to reach 0.76 cost USD
 ─────────────────────────────────────────────────────────────────────
 hyperopt_asha 1.00 0.801, 0.807       100 (2 of 3 seeds)     0.29
 grid          2.33 0.739, 0.741       100 (2 of 3 seeds)     0.29
 random_asha   2.67 0.738, 0.743       100 (2 of 3 seeds)     0.29


 pair                       difference [95 %]     p corr. P(A>B) seeds can tell
 ──────────────────────────────────────────────────────────────────────────────
 hyperopt_asha -            0.064 [0.059, 0.069]   <0.001   100%     3    0.006
 random_asha
 hyperopt_asha - grid       0.066 [0.039, 0.092]    0.003   100%     3    0.034
 random_asha - grid         0.001 [-0.032, 0.035]   0.735    56%     3    0.043

hyperopt_asha did better than random_asha: test accuracy 0.807 against 0.743 on
average over 3 seeds, a difference of 0.064 [0.059, 0.069] (paired t-test over
seeds and test rows, p < 0.001, corrected for 3 pairs). That is more than the
0.01 that matters. hyperopt_asha did better than grid: test accuracy 0.807
against 0.741 on average over 3 seeds, a difference of 0.066 [0.039, 0.092]
(paired t-test over seeds and test rows, p = 0.003, corrected for 3 pairs). That
is more than the 0.01 that matters. Undecided between random_asha and grid
(0.001 [-0.032, 0.035]). That holds for these splits, this model, space and
budget.
- Chose the same configuration: hyperopt_asha and grid in 3 of 3 seeds;
hyperopt_asha and random_asha in 3 of 3 seeds; grid and random_asha in 3 of 3
seeds. Such seeds cannot show which of the two is better.
- Validation scores are the best of many evaluations on the same rows
(hyperopt_asha 6, grid 6, random_asha 6), so they are too good.

# best configuration: hyperopt_asha, seed 2, trial 0 (t0) after epoch 2
# validation accuracy 0.7700; all other values are defaults
fixed:
  learning_rate: 0.1
"""


def outcome() -> ExperimentOutcome:
    failed = trial(1, [], TrialState.FAILED, error="ValueError: [no] such layer (traceback: /runs/error.txt)")
    grid = study("grid", [trial(0, [make_report(1, 0.7), make_report(2, 0.75)]), failed], test=scored("t0", 2, 0.74))
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


def seeds_of(strategy: str, *tests: float) -> list[StudyOutcome]:
    """Makes one study per test score, over a million rows."""
    return [
        study(
            strategy,
            [trial(0, [make_report(1, 0.7), make_report(2, 0.75 + seed / 100)])],
            seed=seed,
            test=scored("t0", 2, test, 10**6),
        )
        for seed, test in enumerate(tests)
    ]


def several() -> Comparison:
    """Makes three strategies with three seeds each, of which the first is better."""
    studies = (
        *seeds_of("hyperopt_asha", 0.801, 0.812, 0.808),
        *seeds_of("grid", 0.741, 0.739, 0.744),
        *seeds_of("random_asha", 0.738, 0.747, 0.743),
    )
    return compare(ExperimentOutcome("reviews", "abc", studies), price=Price(3.5, "USD"))


def test_the_terminal_shows_scores_costs_pairs_verdict_and_caveats_in_80_columns() -> None:
    text = "\n".join(line.rstrip() for line in printed(several()).splitlines())
    assert text == SNAPSHOT.strip("\n")


def test_the_csv_has_a_line_per_seed_and_one_over_them_of_plain_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(comparison_csv(several()))))
    assert [(row["strategy"], row["seed"]) for row in rows[:5]] == [
        ("hyperopt_asha", "0"),
        ("hyperopt_asha", "1"),
        ("hyperopt_asha", "2"),
        ("hyperopt_asha", "all"),
        ("grid", "0"),
    ]
    over_all = rows[3]
    assert float(over_all["test"]) == pytest.approx(0.807)
    assert float(over_all["test_low"]) < 0.807 < float(over_all["test_high"])
    assert (float(over_all["mean_rank"]), float(over_all["money"])) == (1.0, pytest.approx(300 / 3600 * 3.5))
    assert rows[0]["money"] == ""


def test_the_last_lines_are_yaml_that_a_spec_takes_under_fixed() -> None:
    text = printed(compare(outcome()))
    assert yaml.safe_load(text[text.index("# best configuration") :]) == {"fixed": {"learning_rate": 0.4}}


def test_a_schedule_is_reported_as_one_with_the_values_per_epoch() -> None:
    text = best_configuration(compare(outcome()))
    assert "It is a schedule" in text
    assert "#   epochs 0 to 1: learning_rate=0.2" in text
    assert "#   epochs 1 to 3: learning_rate=0.4" in text


def test_a_constant_configuration_is_not_called_a_schedule() -> None:
    assert "schedule" not in best_configuration(compare(ExperimentOutcome("e", "d", outcome().studies[:1])))


def test_defaults_are_left_out_unless_a_strategy_chose_them() -> None:
    """The real trainable reports every value in force."""
    in_force = {"learning_rate": 5e-5, "weight_decay": 0.0, "optim": "adamw_torch_fused", "adam_beta1": 0.95}
    last = make_report(1, 0.5)._replace(params=in_force)
    only = TrialOutcome("a", 0, TrialState.COMPLETED, {"learning_rate": 5e-5}, (last,))
    text = best_configuration(compare(ExperimentOutcome("e", "d", (study("grid", [only]),))))
    assert yaml.safe_load(text) == {"fixed": {"learning_rate": 5e-5, "adam_beta1": 0.95}}
    assert "all other values are defaults" in text


def test_small_rates_stay_numbers_in_the_yaml() -> None:
    tiny = ExperimentOutcome("e", "d", (study("grid", [trial(0, [make_report(1, 0.5, 3e-05)])]),))
    assert yaml.safe_load(best_configuration(compare(tiny)))["fixed"]["learning_rate"] == 3e-05


def test_an_experiment_without_scores_says_so() -> None:
    assert "no trial has reported" in printed(compare(ExperimentOutcome("e", "d", (study("grid", []),))))


def test_every_seed_has_its_own_line_when_there_are_several() -> None:
    studies = (study("grid", [trial(0, [make_report(1, 0.5)])], seed=s) for s in (3, 4))
    text = printed(compare(ExperimentOutcome("e", "d", tuple(studies))))
    assert "seed 3" in text
    assert "seed 4" in text


def test_the_json_of_a_comparison_holds_every_number_by_name() -> None:
    plain = json.loads(comparison_json(compare(outcome())))
    assert plain["schema_version"] == 4
    assert len(plain["rows"][0]["anytime"]["mean"]) == len(plain["rows"][0]["anytime"]["cost"])
    assert (plain["expected"], plain["no_expected"][:37]) == ([], "it needs a strategy of kind `random`,")
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
    assert "from 0 (t0) at epoch 1 on:" in text
    assert "learning_rate=0.4" in text


def test_the_schema_of_results_is_pinned() -> None:
    """A key that moves needs a new SCHEMA_VERSION and a line in the changelog."""
    plain = json.loads(results_json(outcome()))
    assert plain.keys() == {"schema_version", "name", "digest", "studies", "data"}
    assert plain["schema_version"] == 1
    pbt = plain["studies"][1]
    assert pbt.keys() == {
        "strategy", "kind", "seed", "state", "metric", "mode", "trials", "wall_seconds", "slots", "devices_per_trial",
        "device", "device_seconds", "busy_device_seconds", "test", "attributes", "node_losses", "slot_seconds",
        "confirmations", "finals", "budget", "price", "money", "test_memory", "goal", "front_tests",
    }  # fmt: skip
    assert pbt["test"].keys() == {"trial", "epoch", "params", "metrics", "rows", "checkpoint", "time"}
    member = pbt["trials"][1]
    assert member.keys() == {
        "id", "number", "state", "params", "reports", "lineage", "checkpoints", "error", "epochs_trained",
    }  # fmt: skip
    assert member["reports"][0].keys() == {
        "epoch", "metrics", "params", "device_seconds", "time", "study_device_seconds",
    }  # fmt: skip
    assert member["lineage"][0].keys() == {"epoch", "donor", "old", "new", "time", "reports", "donor_reports"}


def test_a_metric_that_is_not_finite_is_null_in_json() -> None:
    odd = make_report(1, 0.5)._replace(metrics={"accuracy": 0.5, "f1": float("nan")})
    plain = json.loads(results_json(ExperimentOutcome("e", "d", (study("grid", [trial(0, [odd])]),))))
    assert plain["studies"][0]["trials"][0]["reports"][0]["metrics"] == {"accuracy": 0.5, "f1": None}
