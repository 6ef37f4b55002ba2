"""Every kind of mistake in a spec: its path as typed, the rule, and all of them at once, before anything starts."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.spec_mistakes import mistakes
from tests.support.specs import GOOD
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.tracking import tracking

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without anything, a machine without GPUs, no key and no store in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(tracking, "cached_key", None)
    for name in ("WANDB_API_KEY", "TUNEFLEET_STORE"):
        monkeypatch.delenv(name, raising=False)


def test_the_spec_that_all_cases_start_from_is_right() -> None:
    assert load_spec(GOOD).name == "mine"


# One row per kind of mistake: what to change; then the whole path and a part of the rule that must be reported.
KINDS: dict[str, tuple[str, str, str]] = {
    "unknown task": ("task=revews", "task", "did you mean reviews?"),
    "unknown top-level key": ("epochz=2", "epochz", "did you mean epochs?"),
    "unknown nested key": ("data.max_lenght=8", "data.max_lenght", "did you mean max_length?"),
    "unknown key of a strategy": ("strategies.1.trails=3", "strategies.1.trails", "did you mean trials?"),
    "unknown strategy": ("strategies.0.kind=gird", "strategies.0.kind", "did you mean grid?"),
    "no kind": (
        "strategies.0={}",
        "strategies.0.kind",
        "is missing; add one of custom, defaults, grid, hyperopt, hyperopt_asha, optuna, pb2, pbt, random, "
        "random_asha, random_moasha",
    ),
    "strategy is no mapping": ("strategies.0=[grid]", "strategies.0", "must be a mapping with a `kind`"),
    "no strategies": ("strategies=[]", "strategies", "at least 1 item"),
    "two strategies of one name": ("strategies.0={kind: pbt, population: 2}", "strategies.2.label", "the same name"),
    "baseline that is no strategy": ("baseline=grit", "baseline", "did you mean grid?"),
    "negative worthwhile": ("worthwhile=-0.01", "worthwhile", "greater than or equal to 0"),
    "something to search under defaults": (
        "strategies.0={kind: defaults, space: {learning_rate: {choice: [1e-4]}}}",
        "strategies.0.space",
        "nothing is searched here; write values: {name: value}",
    ),
    "unknown value of defaults": (
        "strategies.0={kind: defaults, values: {learning_rat: 1e-4}}",
        "strategies.0.values.learning_rat",
        "did you mean learning_rate?",
    ),
    "impossible value of defaults": (
        "strategies.0={kind: defaults, values: {learning_rate: 2}}",
        "strategies.0.values.learning_rate",
        "must be at most 1",
    ),
    "value of defaults that is fixed": (
        "strategies.0={kind: defaults, values: {warmup_ratio: 0.1}} fixed.warmup_ratio=0.2",
        "fixed.warmup_ratio",
        "stands in the space, too",
    ),
    "label is no folder name": ("strategies.0.label=a/b", "strategies.0.label", "must be letters, digits"),
    "number of a strategy": ("strategies.2.population=1", "strategies.2.population", "greater than or equal to 2"),
    "unknown hyperparameter in the space": (
        "space.learning_rat=0.1",
        "space.learning_rat",
        "did you mean learning_rate?",
    ),
    "unknown hyperparameter in fixed": ("fixed.weigth_decay=0", "fixed.weigth_decay", "did you mean weight_decay?"),
    "learning rate of zero": (
        "space.learning_rate={choice: [0, 1e-4]}",
        "space.learning_rate.choice.0",
        "must be greater than 0",
    ),
    "negative fixed learning rate": (
        "space={weight_decay: {uniform: [0, 1]}} fixed.learning_rate=-1",
        "fixed.learning_rate",
        "greater than 0",
    ),
    "categorical without choices": (
        "space.learning_rate={choice: []}",
        "space.learning_rate.choice",
        "at least one value",
    ),
    "range upside down": (
        "space.learning_rate={loguniform: [1e-3, 1e-5]}",
        "space.learning_rate.loguniform",
        "less than",
    ),
    "logarithm of zero": (
        "space.learning_rate={loguniform: [0, 1e-5]}",
        "space.learning_rate.loguniform.0",
        "greater than 0",
    ),
    "two kinds of dimension": (
        "space.learning_rate={int: [1, 2], choice: [1]}",
        "space.learning_rate",
        "exactly one of",
    ),
    "bare list as a dimension": ("space.learning_rate=[1e-4]", "space.learning_rate", "write {choice: [...]}"),
    "fraction of a batch": (
        "space.per_device_train_batch_size={uniform: [8, 16]}",
        "space.per_device_train_batch_size.uniform",
        "whole number",
    ),
    "value outside a choice": ("fixed.lr_scheduler_type=cosinus", "fixed.lr_scheduler_type", "must be one of linear"),
    "fixed and searched": ("fixed.learning_rate=1e-4", "fixed.learning_rate", "stands in the space, too"),
    "two kinds of warm-up": ("space.warmup_steps=10 fixed.warmup_ratio=0.1", "fixed.warmup_ratio", "keep one"),
    "searched epochs beyond the budget": (
        "space.num_train_epochs={choice: [2, 9], mutate: false} strategies=[{kind: grid}]",
        "space.num_train_epochs.choice.1",
        "at most the trial's full budget",
    ),
    "fixed epochs beyond the budget": ("fixed.num_train_epochs=9", "fixed.num_train_epochs", "at most epochs: 4"),
    "infinite budget": ("epochs=.inf", "epochs", "must be a finite number"),
    "infinite whole number": ("fixed.warmup_steps=.inf", "fixed.warmup_steps", "must be finite"),
    "number beyond all floats": (f"fixed.warmup_steps={'9' * 400}", "fixed.warmup_steps", "must be finite"),
    "infinite grace": ("strategies.1.grace_epochs=.inf", "strategies.1.grace_epochs", "must be a finite number"),
    "reports without end": ("report_every_epochs=1e-9", "report_every_epochs", "greater than or equal to 0.001"),
    "value that the optimizer lacks": ("fixed.optim=sgd fixed.adam_beta1=0.8", "fixed.adam_beta1", "only the adamw"),
    "more tokens than the model takes": ("data.max_length=513", "data.max_length", "takes at most 512 tokens"),
    "searched tokens beyond the model": (
        "space.data.max_length={choice: [64, 1024]}",
        "space.data.max_length.choice.1",
        "takes at most 512 tokens",
    ),
    "two lengths of a text": (
        "data.max_length=128 fixed.data.max_length=64",
        "fixed.data.max_length",
        "data.max_length at the top level is 128, which no trial would read; keep one of the two",
    ),
    "switch for a probability of dropout": (
        "fixed.model.hidden_dropout_prob=true",
        "fixed.model.hidden_dropout_prob",
        "must be a number (probability)",
    ),
    "switch for a probability, as the model's configuration shows": (
        "fixed.model.classifier_dropout=true",
        "fixed.model.classifier_dropout",
        "must be a number (probability)",
    ),
    "key that the model lacks": ("fixed.model.hidden_dropout=0.1", "fixed.model.hidden_dropout", "hidden_dropout_prob"),
    "size that the checkpoint does not have": (
        "fixed.model.hidden_size=128",
        "fixed.model.hidden_size",
        "must be 384, the size of the checkpoint's weights",
    ),
    "more layers than the checkpoint": (
        "space.model.num_hidden_layers={int: [2, 12], mutate: false}",
        "space.model.num_hidden_layers.int.1",
        "must be at most 6 (layers of the checkpoint)",
    ),
    "fractions of a layer": (
        "space.model.num_hidden_layers={uniform: [2, 6], mutate: false}",
        "space.model.num_hidden_layers.uniform",
        "write int: [low, high]",
    ),
    "activation that transformers lacks": (
        "space.model.hidden_act={choice: [gelu, swish2], mutate: false}",
        "space.model.hidden_act.choice.1",
        "did you mean swish?",
    ),
    "key of the model that something else decides": (
        "fixed.model.pad_token_id=5",
        "fixed.model.pad_token_id",
        "belongs to the checkpoint and its tokenizer",
    ),
    "key that the model lacks, searched": (
        "space.model.hiden_dropout_prob={uniform: [0, 0.1]}",
        "space.model.hiden_dropout_prob",
        "hidden_dropout_prob",
    ),
    "model folder that is not there": ("model=./nothing", "model", "no such folder"),
    "data file that is not there": (
        "task=text_classification data={path: no.csv, text: [a], label: b}",
        "data.path",
        "no such file",
    ),
    "data without a place": ("task=text_classification", "data.path", "does not say where its rows are"),
    "wrong type": ("epochs=many", "epochs", "must be a valid number"),
    "no epochs": ("epochs=0", "epochs", "must be greater than 0"),
    "name that is no folder": ("name=../up", "name", "must be letters, digits"),
    "seed twice": ("seeds=[1, 1]", "seeds", "each seed once"),
    "negative seed": ("seeds=[0, -1]", "seeds.1", "must be a whole number from 0 to 4294967295"),
    "unknown metric": ("objective={metric: acuracy, mode: max}", "objective.metric", "did you mean accuracy?"),
    "unknown direction": ("objective={metric: accuracy, mode: up}", "objective.mode", "must be 'max' or 'min'"),
    "reports after the end": ("report_every_epochs=5", "report_every_epochs", "must be at most epochs: 4"),
    "perturbation between reports": (
        "strategies.2.perturb_every_epochs=1.5",
        "strategies.2.perturb_every_epochs",
        "must be a multiple of report_every_epochs: 1",
    ),
    "value that PBT cannot change": (
        "space.data.max_length={choice: [64, 128]}",
        "space.data.max_length",
        "pbt: data.max_length cannot change in the middle of a trial",
    ),
    "searched dropout of a compiled model": (
        "compile=true space.model.hidden_dropout_prob={uniform: [0, 0.1]}",
        "space.model.hidden_dropout_prob",
        "would be compiled anew for each of its values; fix it, or set compile: false",
    ),
    "unequal schedules under ASHA": (
        "strategies.1.space={num_train_epochs: {int: [1, 4]}}",
        "strategies.1.space.num_train_epochs",
        "compare_unequal_schedules",
    ),
    "trials without end": ("strategies.1.trials=null", "strategies.1.trials", "nothing would ever end the study"),
    "price without an end of the trials": (
        "strategies.1.trials=null budget={price: {per_device_hour: 2}}",
        "strategies.1.trials",
        "give a number, or a limit under `budget`",
    ),
    "strategy that proposes without a number": ("strategies.1={kind: random}", "strategies.1.trials", "is missing"),
    "two budgets": ("budget={epochs: 9, wall_seconds: 60}", "budget", "must have at most one of"),
    "no budget at all": ("budget={device_seconds: 0}", "budget.device_seconds", "must be greater than 0"),
    "endless budget": ("budget.device_hours=.inf", "budget.device_hours", "must be a finite number"),
    "unknown unit of a budget": ("budget={gpu_hours: 1}", "budget.gpu_hours", "unknown key"),
    "budget that is a number": ("budget=3600", "budget", "such as budget: {epochs: 3600}, or budget.epochs=3600"),
    "budget below one report": ("budget={epochs: 0.5}", "budget.epochs", "before the first report"),
    "negative price": (
        "budget={price: {per_device_hour: -1}}",
        "budget.price.per_device_hour",
        "greater than or equal to 0",
    ),
    "selection that explores": (
        "strategies.2.explore=false strategies.2.factors=[0.5, 2]",
        "strategies.2",
        "explore: false perturbs nothing",
    ),
    "negative seed of the head": ("head_seed=-1", "head_seed", "whole number from 0 to 4294967295"),
    "searched seed that is none": (
        "space.head_seed={choice: [-1, 2]}",
        "space.head_seed.choice.0",
        "must be at least 0",
    ),
    "seed of the head twice": (
        "head_seed=1 space.head_seed={choice: [1, 2]}",
        "head_seed",
        "stands under space.head_seed",
    ),
    "seed that pbt would perturb": ("space.data_order_seed={int: [0, 9]}", "space.data_order_seed", "mutate: false"),
    "seed by its name in transformers": ("space.seed={choice: [1, 2]}", "space.seed", "searched are head_seed"),
    "nothing to search": ("space={}", "space", "has nothing to search"),
    "unknown trainable": ("trainable=finetun", "trainable", "did you mean finetune?"),
    "trainable without a module": ("trainable=no_such_module:train", "trainable", "no module no_such_module"),
    "trial larger than the machine": ("cluster.cpus_per_trial=100000", "cluster.cpus_per_trial", "no node can hold"),
    "GPU where there is none": ("cluster.gpus_per_trial=1", "cluster.gpus_per_trial", "has no CUDA device"),
    "half of a second GPU": ("cluster.gpus_per_trial=1.5", "cluster.gpus_per_trial", "a whole number of them"),
    "storage that cannot be written": ("cluster.storage=/proc/runs", "cluster.storage", "cannot be written"),
    "storage by URL": ("cluster.storage=ftp://host/runs", "cluster.storage", "must be a folder"),
    "a key in a bucket's URI": ("cluster.storage=s3://me:hunter2@bucket/runs", "cluster.storage", "credentials"),
    "store that is no URL": ("store=studies.db", "store", "must be a database URL"),
    "password in the store": ("store=postgresql://me:hunter2@host/db", "store", "TUNEFLEET_STORE"),
    "W&B online without a key": ("wandb.mode=online", "wandb.mode", "set WANDB_API_KEY"),
    "W&B key file that is not there": ("wandb.key_file=key.txt", "wandb.key_file", "no such file"),
    "override without a value": ("epochs", "epochs", "must be key=value"),
    "override of a position that is not there": ("strategies.7.trials=2", "strategies.7", "positions 0 to 2"),
    "override below a value": ("epochs.more=2", "epochs.more", "epochs is a single value"),
    "override that is no YAML": ("data=[1", "data", "not valid YAML"),
}


@pytest.mark.parametrize(("changes", "path", "rule"), KINDS.values(), ids=KINDS)
def test_a_mistake_is_reported_with_its_path_and_its_rule(changes: str, path: str, rule: str) -> None:
    message = mistakes(*_split(changes))
    assert any(line.startswith(f"{path}: ") and rule in line for line in message), message


def _split(changes: str) -> list[str]:
    """'a={b: 1} c=2' -> ['a={b: 1}', 'c=2']: a new override begins at a blank before `key=`."""
    return re.split(r" (?=[a-z_.0-9]+=)", changes)


@pytest.mark.parametrize("field", ["name", "task", "epochs", "strategies"])
def test_a_required_key_that_is_missing_is_reported(field: str) -> None:
    assert mistakes(**{field: None}) == [f"{field}: is missing; add it"]


def test_many_mistakes_are_reported_at_once_each_once() -> None:
    message = mistakes(
        "task=revews",
        "epochz=2",
        "fixed.weigth_decay=0",
        "space.learning_rate={choice: []}",
        "strategies.0.kind=gird",
        "strategies.2.quantile=0.9",
        "cluster.cpus_per_trial=100000",
        "wandb.mode=online",
        name="a b",
    )
    assert sorted(line.split(":")[0] for line in message) == [
        "cluster.cpus_per_trial",
        "epochz",
        "fixed.weigth_decay",
        "name",
        "space.learning_rate.choice",
        "strategies.0.kind",
        "strategies.2.quantile",
        "task",
        "wandb.mode",
    ]


def test_a_wrong_strategy_does_not_shift_the_paths_of_the_others() -> None:
    message = mistakes("strategies.0.kind=gird", "strategies.2.perturb_every_epochs=1.5")
    assert [line.split(":")[0] for line in message] == ["strategies.0.kind", "strategies.2.perturb_every_epochs"]


def test_wrong_entries_of_a_space_are_not_reported_a_second_time_as_nothing_to_search() -> None:
    message = mistakes(space={"learning_rate": {"choice": []}})
    assert [line.split(":")[0] for line in message] == ["space.learning_rate.choice"]


def test_a_password_is_not_repeated_in_the_message() -> None:
    assert "hunter2" not in "".join(mistakes("store=postgresql://me:hunter2@host/db"))


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text("0" * 40)
    key.chmod(0o644)
    assert mistakes("wandb.key_file=key.txt") == [
        "wandb.key_file: 'key.txt': other users can read it; chmod 600 key.txt"
    ]
    key.chmod(0o600)
    assert load_spec(GOOD, ["wandb.key_file=key.txt", "wandb.mode=online"]).wandb.key_file == "key.txt"


def test_a_key_that_an_earlier_run_of_this_process_took_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    spec = load_spec(GOOD, ["wandb.mode=online"])
    tracking.take_key(spec.wandb)  # out of the environment, before Ray starts
    assert load_spec(GOOD, ["wandb.mode=online"]) == spec


def test_a_storage_path_is_probed_without_a_trace(tmp_path: Path) -> None:
    load_spec(GOOD, ["cluster.storage=a/b/c"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_storage_is_reported(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    assert "is a file, not a folder" in mistakes("cluster.storage=runs/deep")[0]


def test_a_place_for_tokenised_data_that_cannot_be_used_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "file" / "cache"))
    (message,) = mistakes()
    assert message.startswith("TUNEFLEET_CACHE:")
    assert "is a file, not a folder; set TUNEFLEET_CACHE to a folder of yours" in message
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path))
    monkeypatch.setenv("TUNEFLEET_CACHE_GB", "20GB")
    (message,) = mistakes()
    assert message.startswith("TUNEFLEET_CACHE_GB: '20GB': must be a number of gigabytes above 0")
    load_spec(GOOD, ["cluster.address=head:6379"])  # its nodes have their own environment


def test_resources_of_a_cluster_elsewhere_are_not_judged_by_this_machine() -> None:
    load_spec(GOOD, ["cluster.address=head:6379", "cluster.cpus_per_trial=100000", "cluster.gpus_per_trial=1"])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=6
)
PLACES = (
    ("name",), ("task",), ("data",), ("data", "text"), ("model",), ("epochs",), ("report_every_epochs",), ("fixed",),
    ("fixed", "weight_decay"), ("objective",), ("seeds",), ("space",), ("space", "learning_rate"),
    ("space", "learning_rate", "loguniform"), ("strategies",), ("strategies", 1), ("strategies", 1, "kind"),
    ("strategies", 1, "trials"), ("strategies", 2, "space"), ("cluster",), ("cluster", "storage"), ("store",),
    ("wandb",), ("trainable",), ("budget",), ("budget", "epochs"), ("budget", "price"),
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=ANYTHING)
def test_whatever_stands_in_a_field_it_is_reported_as_a_mistake_or_read(place: tuple[Any, ...], value: Any) -> None:
    raw: Any = {"fixed": {}, "data": {}, "cluster": {}, "budget": {}, **copy.deepcopy(dict(GOOD))}
    here = raw
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = value
    paths = ["the spec is right"]
    try:
        load_spec(raw)
    except SpecError as error:
        paths = [mistake.path for mistake in error.mistakes]
    assert paths
    assert all(paths)


def test_smoothing_of_classes_is_refused_where_a_number_is_predicted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"row {i},{i / 3}\n" for i in range(40)))
    data = {"path": str(tmp_path / "x.csv"), "text": ["text"], "label": "label"}
    raw = {**GOOD, "task": "text_regression", "data": data, "fixed": {"label_smoothing_factor": 0.1}}
    with pytest.raises(SpecError, match=r"^1 mistake in .*\n  fixed.label_smoothing_factor: .* no classes to smooth"):
        load_spec(raw)


def test_one_wrong_strategy_is_one_mistake() -> None:
    with pytest.raises(SpecError, match=r"^1 mistake in"):
        load_spec({**GOOD, "strategies": [{"kind": "pbt", "population": 1}]})
