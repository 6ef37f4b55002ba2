"""Reading a spec: YAML 1.2, presets, overrides, what follows from the fields."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.specs import GOOD
from trainables.spec import FineTuneSpec, Objective
from tuning.spec.file import dump, parse
from tuning.spec.loading import load_spec
from tuning.spec.overrides import split_path

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.5E3", 1500.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("010", 10),
        ("0x10", 16),
        ("0o10", 8),
        ("-3", -3),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("~", None),
        ("", None),
        ("'1e-5'", "1e-5"),
    ],
)
def test_scalars_are_read_by_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    read = parse(f"key: {text}", "a file")["key"]
    assert read == value
    assert type(read) is type(value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), SCALARS | st.lists(SCALARS, max_size=3), max_size=4))
def test_what_is_written_is_read_back_with_the_same_types(raw: dict[str, Any]) -> None:
    assert repr(parse(dump(raw), "a file")) == repr(raw)


@pytest.mark.parametrize(
    ("key", "steps"),
    [
        ("strategies.0.trials", ["strategies", "0", "trials"]),
        ("fixed.model.hidden_dropout_prob", ["fixed", "model.hidden_dropout_prob"]),
        ("fixed.weight_decay", ["fixed", "weight_decay"]),
        ("space.data.max_length.choice", ["space", "data.max_length", "choice"]),
        ("strategies.0.space.model.attention_dropout", ["strategies", "0", "space", "model.attention_dropout"]),
        ("fixed.loss.margin.scale", ["fixed", "loss.margin.scale"]),
        ("space.loss.margin", ["space", "loss.margin"]),
        ("space.loss.margin.uniform.1", ["space", "loss.margin", "uniform", "1"]),
        ("space.loss.margin.mutate", ["space", "loss.margin", "mutate"]),
        ("data.path", ["data", "path"]),
        ("data.fixed.path", ["data", "fixed", "path"]),
        ("model", ["model"]),
    ],
)
def test_names_of_tunables_keep_their_dots_in_overrides(key: str, steps: list[str]) -> None:
    assert list(split_path(key)) == steps


def test_a_name_that_the_space_has_ends_where_it_ends_there() -> None:
    assert list(split_path("space.loss.step.uniform.0", {"loss", "loss.step"})) == [
        "space",
        "loss.step",
        "uniform",
        "0",
    ]
    assert list(split_path("space.loss.unifrom", {"loss"})) == ["space", "loss", "unifrom"]  # no new name


def test_overrides_reach_every_level() -> None:
    spec = load_spec(
        GOOD,
        [
            "epochs=2",
            "strategies.1.trials=3",
            "strategies.1.label=tpe",
            "fixed.model.hidden_dropout_prob=0.2",
            "space.learning_rate.loguniform.1=1e-4",
            "data.subset={train: 10}",
            "cluster.storage=elsewhere",
        ],
    )
    assert (spec.epochs, spec.strategies[1].name, spec.fixed) == (2, "tpe", {"model.hidden_dropout_prob": 0.2})
    assert spec.strategies[1].model_dump()["trials"] == 3
    assert spec.space.model_dump()["learning_rate"]["loguniform"] == (1e-5, 1e-4)
    assert spec.data.subset.train == 10
    assert spec.run_folder == Path("elsewhere/mine").absolute()


def test_overrides_leave_the_callers_mapping_as_it_was() -> None:
    raw = copy.deepcopy(dict(GOOD))
    load_spec(raw, ["space.learning_rate=1e-4", "strategies.0.label=all"])
    assert raw == GOOD


def test_a_file_a_preset_and_a_mapping_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(dump(GOOD))
    assert load_spec("mine.yaml") == load_spec(tmp_path / "mine.yaml") == load_spec(GOOD)
    assert load_spec("quickstart").name == "quickstart"


def test_a_file_goes_before_a_preset_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart").write_text(dump(GOOD))
    assert load_spec("quickstart").name == "mine"


def test_the_resolved_spec_reads_back_equal(tmp_path: Path) -> None:
    spec = load_spec(GOOD, ["strategies.0.space={learning_rate: {choice: [1e-4]}}", "fixed.lr_scheduler_type=cosine"])
    (tmp_path / "spec.yaml").write_text(spec.to_yaml())
    again = load_spec("spec.yaml")
    assert again == spec
    assert again.digest() == spec.digest()


@pytest.mark.parametrize(
    "override",
    [
        "epochs=2",
        "seed=1",
        "seeds=[1]",
        "strategies.1.trials=9",
        "space.learning_rate=1e-4",
        "data.max_length=32",
        "test=false",
        "precision=tf32",
        "deterministic=true",
    ],
)
def test_the_digest_changes_with_what_changes_results(override: str) -> None:
    assert load_spec(GOOD, [override]).digest() != load_spec(GOOD).digest()


@pytest.mark.parametrize(
    "override",
    [
        *("name=other", "cluster.max_concurrent=1", "store=sqlite:///a.db", "wandb.mode=disabled", "max_failures=3"),
        *("baseline=pbt", "worthwhile=0.02"),
    ],
)
def test_the_digest_stays_where_only_the_place_changes(override: str) -> None:
    assert load_spec(GOOD, [override]).digest() == load_spec(GOOD).digest()


def test_what_the_comparison_is_to_ask_stands_in_the_resolved_spec() -> None:
    asked = load_spec(GOOD, ["strategies.1.label=tpe", "baseline=tpe", "worthwhile=0.005"])
    assert (asked.plain()["baseline"], asked.plain()["worthwhile"]) == ("tpe", 0.005)
    assert load_spec(parse(asked.to_yaml(), "a file")) == asked


def test_trials_of_another_search_seed_have_another_seed_and_the_tasks_objective() -> None:
    spec = load_spec(GOOD, ["seed=10", "seeds=[0, 2]"])
    trial = spec.trial_spec(2)
    assert type(trial) is FineTuneSpec
    assert trial.seed == 12
    assert trial.objective == Objective(metric="accuracy", mode="max")
    assert load_spec(GOOD, ["objective={metric: f1, mode: max}"]).trial_spec(0).objective == Objective(
        metric="f1", mode="max"
    )


def test_the_seeds_of_order_and_head_follow_the_trials_unless_they_are_set() -> None:
    assert load_spec(GOOD, ["seed=10"]).trial_spec(2).training_seeds == (12, 12)
    held = load_spec(GOOD, ["seed=10", "data_order_seed=0", "seeds=[0, 1]"])
    assert [held.trial_spec(seed).training_seeds for seed in held.seeds] == [(0, 10), (0, 11)]
    assert load_spec(GOOD, ["head_seed=4"]).trial_spec(3).training_seeds == (3, 4)


def test_a_strategys_space_replaces_the_experiments() -> None:
    spec = load_spec(GOOD, ["strategies.0.space={weight_decay: {choice: [0, 0.1]}}"])
    assert [spec.space_of(strategy).names for strategy in spec.strategies] == [
        ("weight_decay",),
        ("learning_rate", "per_device_train_batch_size"),
        ("learning_rate", "per_device_train_batch_size"),
    ]


def test_the_store_is_the_specs_then_the_environments_then_a_file_in_the_run_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = load_spec(GOOD)
    assert spec.store_url == f"sqlite:///{spec.run_folder}/study.db"
    monkeypatch.setenv("TUNEFLEET_STORE", "postgresql://me:hunter2@host/db")
    spec = load_spec(GOOD)
    assert spec.store_url == "postgresql://me:hunter2@host/db"
    assert "hunter2" not in spec.to_yaml() + repr(spec)
    assert load_spec(GOOD, ["store=sqlite:///a.db"]).store_url == "sqlite:///a.db"


def test_a_custom_trainable_is_found_by_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_training.py").write_text(
        "def train(params, *, spec): ...\nraise RuntimeError('reading a spec must not run it')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = load_spec(GOOD, ["trainable=my_training:train", "objective={metric: whatever, mode: min}"])
    assert spec.trainable == "my_training:train"


def test_a_spec_cannot_be_changed() -> None:
    spec = load_spec(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        spec.epochs = 2  # type: ignore[misc]
