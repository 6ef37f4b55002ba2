"""Mistakes in a spec are refused, likely ones are warned about, and the plan is shown."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.specs import GOOD
from tuning.cli import main
from tuning.report.planned import PlannedStrategy, planned_lines, slots_here
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.cautions import cautions
from tuning.spec.validation.value_checks import endless_warmups

pytestmark = pytest.mark.unit

CHOICES = {"per_device_train_batch_size": {"choice": [16, 32]}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def spec(*overrides: str, **fields: Any) -> ExperimentSpec:
    return load_spec({**copy.deepcopy(dict(GOOD)), **fields}, overrides)


def refused(*overrides: str, **fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        spec(*overrides, **fields)
    (message,) = caught.value.mistakes
    return str(message)


@pytest.mark.parametrize(
    ("trainable", "metric", "wrong", "right"),
    [
        ("finetune", "loss", "max", "min"),
        ("finetune", "accuracy", "min", "max"),
        ("finetune", "f1", "min", "max"),
        ("finetune", "matthews_correlation", "min", "max"),
        ("learning_curve", "loss", "max", "min"),
        ("learning_curve", "accuracy", "min", "max"),
    ],
)
def test_a_metric_the_wrong_way_round_is_refused_with_the_right_one(
    trainable: str, metric: str, wrong: str, right: str
) -> None:
    message = refused(f"trainable={trainable}", f"objective={{metric: {metric}, mode: {wrong}}}")
    assert message.startswith(f"objective.mode: '{wrong}': the best {metric} is the ")
    assert message.endswith(f"so the worst trial would be chosen; write mode: {right}")


def test_the_metrics_of_a_trainable_of_ones_own_are_warned_of_and_not_refused() -> None:
    own = spec("trainable=math:sqrt", "objective={metric: loss, mode: max}")
    assert [line for line in cautions(own) if line.startswith("objective")] == [
        "objective: the trial with the largest loss will be chosen; write objective.mode=min unless that is meant"
    ]
    assert cautions(spec("trainable=math:sqrt", "objective={metric: score, mode: min}")) == []


def test_a_warmup_as_long_as_the_run_is_refused_with_the_number_of_its_steps() -> None:
    message = refused("fixed.warmup_steps=100000", "data.subset.train=112", "epochs=1", strategies="grid")
    assert message.startswith(
        "fixed.warmup_steps: 100000: a trial has at most 7 optimizer steps (at most 112 rows, 1 epochs, "
        "batches of 16), so the learning rate never reaches its peak"
    )
    assert spec("fixed.warmup_steps=6", "data.subset.train=112", "epochs=1", strategies="grid")
    assert spec("fixed.warmup_steps=100000")  # how many rows there are is not known yet
    long = spec("fixed.warmup_steps=100000")
    assert [mistake.path for mistake in endless_warmups(long, rows=9000)] == ["fixed.warmup_steps"]
    assert list(endless_warmups(long, rows=10_000_000)) == list(endless_warmups(long, rows=None)) == []


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_of_local_files_the_rows_are_counted_for_it(kind: str) -> None:
    rows = [{"text": f"row {number}", "label": str(number % 2)} for number in range(320)]
    file = Path(f"rows.{kind}")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif kind == "jsonl":
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        file.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    own = ["task=text_classification", f"data={{path: {file}, text: text, label: label}}", "epochs=1"]
    message = refused(
        *own, "fixed.warmup_steps=100", strategies="grid", space={"learning_rate": {"choice": [1e-4, 1e-3]}}
    )
    assert message.startswith("fixed.warmup_steps: 100: a trial has at most 2")
    assert spec(*own, "fixed.warmup_steps=10", strategies="grid").data.subset.train is None


def test_a_warmup_that_only_the_rows_themselves_show_to_be_endless_is_refused_by_validate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nine of ten rows are duplicates, which the number of lines does not tell."""
    rows = "".join(f"row {number % 40},{number % 2}\n" for number in range(400))
    Path("rows.csv").write_text("text,label\n" + rows)
    own = spec(
        "task=text_classification",
        "data={path: rows.csv, text: text, label: label}",
        "fixed.warmup_steps=20",
        strategies="grid",
        space={"learning_rate": {"choice": [1e-4, 1e-3]}},
        epochs=1,
    )
    Path("mine.yaml").write_text(own.to_yaml())
    assert main(["validate", "mine.yaml"]) == 2
    assert "fixed.warmup_steps: 20: a trial has at most 2 optimizer steps (at most 28 rows" in capsys.readouterr().err


def test_a_searched_warmup_is_refused_where_no_trial_can_end_it_and_reported_where_some_cannot() -> None:
    rows = ["data.subset.train=640"]  # 4 epochs in batches of 16 or 32: 160 or 80 steps
    assert refused(*rows, "space.warmup_steps={int: [160, 500]}").startswith("space.warmup_steps: 160: ")
    (message,) = cautions(spec(*rows, "space.warmup_steps={int: [0, 100]}"))
    assert message.startswith("space.warmup_steps: with 100 steps the learning rate may never reach its peak")
    assert "the shortest trial has 80" in message
    assert cautions(spec(*rows, "space.warmup_steps={int: [0, 79]}")) == []


def test_accumulated_batches_make_fewer_steps() -> None:
    given = ["data.subset.train=640", "fixed.gradient_accumulation_steps=4", "fixed.warmup_steps=40"]
    assert "at most 40 optimizer steps" in refused(*given)


def test_a_learning_rate_that_only_rises_is_refused() -> None:
    assert refused("fixed.warmup_ratio=1").startswith("fixed.warmup_ratio: 1: the learning rate rises to the end")
    assert spec("fixed.warmup_ratio=0.1")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("space.learning_rate={loguniform: [0.1, 1]}", "space.learning_rate"),
        ("fixed.weight_decay=0.9", "fixed.weight_decay"),
        ("fixed.model.hidden_dropout_prob=0.9", "fixed.model.hidden_dropout_prob"),
        ("fixed.label_smoothing_factor=0.9", "fixed.label_smoothing_factor"),
    ],
)
def test_values_with_which_nothing_is_learned_are_reported_with_the_usual_ones(given: str, where: str) -> None:
    (message,) = cautions(spec(given))
    assert message.startswith(f"{where}: no value is below ")
    assert message.endswith(" is usual")
    assert cautions(spec(given, "trainable=learning_curve")) == []


def test_a_good_spec_and_every_preset_have_nothing_to_be_warned_of() -> None:
    from tuning.spec.file import presets

    assert cautions(spec()) == []
    assert {name: message for name in presets() if (message := _cautions_of(name))} == {}


def _cautions_of(preset: str) -> list[str]:
    try:
        return cautions(load_spec(preset, ["cluster.address=head:6379"]))
    except SpecError:  # its data or model is not on this machine
        return []


def test_more_trials_than_a_space_has_configurations_are_reported_for_each_strategy() -> None:
    six = [{"kind": "random", "trials": 6}, {"kind": "hyperopt", "trials": 6}, {"kind": "pbt", "population": 6}, "grid"]
    message = cautions(spec(space=CHOICES, strategies=six))
    assert [line.partition(":")[0] for line in message] == ["random", "hyperopt", "pbt"]
    for line in message[:2]:
        assert "its space has 2 configurations, so it ends after 2 of 6 trials" in line
    assert "at least 4 begin with values that another has had" in message[-1]


def test_a_model_that_never_proposes_is_reported_with_the_strategies_that_have_the_same_points() -> None:
    three = [{"kind": "random", "trials": 3}, {"kind": "hyperopt_asha", "trials": 3}]
    (message,) = cautions(spec(strategies=three))
    assert message == (
        "hyperopt_asha: all of its 3 trials are drawn at random before its model proposes any, by design the same "
        "points as the first of random; raise its trials well above 3"
    )
    assert cautions(spec(strategies=[three[0], {"kind": "hyperopt_asha", "trials": 8}])) == []
    other = {"kind": "random", "trials": 3, "space": {"weight_decay": {"uniform": [0, 0.1]}}}
    (message,) = cautions(spec(strategies=[other, three[1]]))
    assert "the same points" not in message


def test_the_plan_names_trials_and_epochs_of_each_strategy_and_the_points_of_a_grid() -> None:
    whole = spec("seeds=[0, 1]", "confirm={top: 2, seeds: 3}", "cluster.max_concurrent=1")
    grid, model, members, search, confirm, room = planned_lines(whole)
    assert grid == (
        "grid: 6 trials, 24 epochs: 3 of learning_rate x 2 of per_device_train_batch_size (points: 3 per range)"
    )
    assert model == "hyperopt_asha: 8 trials, at most 32 epochs: the first 4 at random, then TPE"
    assert members == "pbt: 4 trials, 16 epochs"
    assert search == "together: 6 studies, 36 trials, at most 144 epochs"
    assert confirm == "then confirm: at most 36 trainings, 144 epochs"
    assert room.startswith("1 trial at a time; checkpoints: at most ")


def test_a_budget_of_epochs_bounds_what_a_strategy_takes() -> None:
    endless = spec(strategies=[{"kind": "random", "trials": None}], budget={"epochs": 10})
    (one,) = endless.strategies
    assert PlannedStrategy.of(endless, one).line() == "random: trials until the budget is spent, at most 10 epochs"


def test_the_plan_of_members_that_do_not_wait_promises_no_number_of_epochs() -> None:
    asynchronous = {"kind": "pb2", "population": 4, "synchronous": False}
    mixed = [{"kind": "pb2", "population": 4, "label": "in-step"}, asynchronous]
    in_step, free, together = planned_lines(spec("cluster.address=head:6379", strategies=mixed))
    assert in_step == "in-step: 4 trials, 16 epochs"
    assert free == "pb2: 4 trials, about 16 epochs: no member waits for another"
    assert together == "together: 2 studies, 8 trials, about 32 epochs"
    (bounded, _) = planned_lines(spec("cluster.address=head:6379", strategies=[asynchronous], budget={"epochs": 10}))
    assert bounded == "pb2: 4 trials, at most 10 epochs: no member waits for another"


def test_trials_at_a_time_are_those_of_this_machine_and_of_a_cluster_nothing_is_said() -> None:
    assert slots_here(spec("cluster.max_concurrent=1").cluster) == 1
    assert slots_here(spec("cluster.address=head:6379").cluster) is None
    assert not any("at a time" in line for line in planned_lines(spec("cluster.address=head:6379")))


def test_validate_shows_the_plan_and_what_to_think_of(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(spec(strategies=[{"kind": "random", "trials": 6}], space=CHOICES).to_yaml())
    assert main(["validate", "mine.yaml"]) == 0
    message = capsys.readouterr().out
    assert "    random: 2 trials, 8 epochs\n" in message
    assert (
        "  note: random: its space has 2 configurations, so it ends after 2 of 6 trials; widen the space\n" in message
    )
