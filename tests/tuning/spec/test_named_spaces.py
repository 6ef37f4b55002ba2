"""A space that a spec names: reading the spec imports nothing; mistakes in the space are reported before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import curve_fields
from trainables.user_trainer.shipped import ship
from tuning.cli import main
from tuning.space import FunctionSpace, Space, read_space
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import Mistake, SpecError
from tuning.spec.models import ExperimentSpec
from tuning.spec.validation.before_run import require_runnable

pytestmark = pytest.mark.unit

SPACES = "tests.support.own_spaces"
CONDITIONAL = f"{SPACES}:conditional"
RANDOM = {"kind": "random", "trials": 4}


def fields(space: Any = CONDITIONAL, **changed: Any) -> dict[str, Any]:
    return curve_fields("runs", space=space, **{"strategies": [dict(RANDOM)], **changed})


def spec_of(space: Any = CONDITIONAL, **changed: Any) -> ExperimentSpec:
    return load_spec(fields(space, **changed))


def refusals(space: Any = CONDITIONAL, **changed: Any) -> list[Mistake]:
    with pytest.raises(SpecError) as caught:
        require_runnable(spec_of(space, **changed))
    return list(caught.value.mistakes)


def test_a_spec_is_read_and_written_down_without_importing_its_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "space_not_to_be_run.py").write_text("raise SystemExit('this is run')\ndef hp_space(trial): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = spec_of("space_not_to_be_run:hp_space")
    assert load_spec(spec.plain()) == spec
    assert spec.plain()["space"] == "space_not_to_be_run:hp_space"
    assert load_spec(spec.plain()).digest() == spec.digest() != spec_of().digest()
    assert "space_not_to_be_run" in spec.own_modules


def test_where_it_is_needed_the_name_is_looked_up() -> None:
    spec = spec_of()
    space = spec.space_of(spec.strategies[0])
    assert isinstance(space, FunctionSpace)
    assert space.names == read_space(CONDITIONAL).names
    assert spec.trial_spec(0).hp_space == CONDITIONAL


@pytest.mark.parametrize("name", ["of_ray", "SWEEP"])
def test_a_dictionary_of_another_library_is_searched_as_it_is_and_no_function_is_called(name: str) -> None:
    spec = spec_of(f"{SPACES}:{name}")
    require_runnable(spec)
    space = spec.space_of(spec.strategies[0])
    assert type(space) is Space
    assert space.root["learning_rate"] == Space.model_validate({"x": {"loguniform": [1e-5, 1e-2]}}).root["x"]
    assert spec.trial_spec(0).hp_space is None


def test_a_shipped_function_is_a_space(tmp_path: Path) -> None:
    def hp_space(trial: Any) -> dict[str, Any]:
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3)}

    spec = spec_of(ship(hp_space, str(tmp_path), "hp_space"))
    require_runnable(spec)
    assert spec.space_of(spec.strategies[0]).names == ("learning_rate",)
    assert str(spec.trial_spec(0).hp_space).startswith("shipped:")


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (f"{SPACES}:condtional", "has no condtional; did you mean conditional?"),
        ("no_such_module_here:hp_space", "no module no_such_module_here"),
        ("tests.support.own_spaces:", "must be a mapping by hyperparameter, or package.module:function of a trial"),
        ("learning_rate", "must be a mapping; such as space: {learning_rate: {loguniform: [1e-5, 1e-4]}}"),
    ],
)
def test_a_name_that_leads_nowhere_is_reported_when_the_spec_is_read(space: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(space)
    (message,) = caught.value.mistakes
    assert message.path == "space"
    assert words in str(message)


@pytest.mark.parametrize(
    ("space", "changed", "path", "words"),
    [
        (f"{SPACES}:drifting", {}, "space", "was suggested as float from 1e-05"),
        (f"{SPACES}:too_high", {}, "space", "the function returns learning_rate=100.0 for log_lr=2.0"),
        (
            CONDITIONAL,
            {"strategies": [{"kind": "hyperopt", "trials": 4}]},
            "space",
            "hyperopt: HyperOpt's TPE models one set of names",
        ),
        (
            CONDITIONAL,
            {"strategies": [{**RANDOM, "space": {"learning_rate": {"uniform": [0.1, 0.2]}}}]},
            "strategies.0.space",
            "names that tests.support.own_spaces:conditional does not suggest",
        ),
        (f"{SPACES}:large", {"strategies": [{"kind": "grid", "points": 6}]}, "strategies.0.points", "more than 10,000"),
        (CONDITIONAL, {"hp_space": CONDITIONAL}, "hp_space", "makes what a trial is given"),
        (
            {"log_lr": {"uniform": [-5, -2]}},
            {"hp_space": f"{SPACES}:static"},
            "hp_space",
            "'weight_decay': is suggested (float from 0 to 0.3) and the trial has no such value",
        ),
        (CONDITIONAL, {"fixed": {"weight_decay": 0.1}}, "fixed.weight_decay", "stands in the space, too"),
        (CONDITIONAL, {"in_flight": ["log_rl"]}, "in_flight.0", "did you mean log_lr?"),
    ],
)
def test_what_is_wrong_with_the_space_is_reported_before_a_run(
    space: Any, changed: dict[str, Any], path: str, words: str
) -> None:
    (message,) = refusals(space, **changed)
    assert message.path == path
    assert words in str(message)


def test_hyperopt_takes_a_function_whose_names_depend_on_nothing() -> None:
    require_runnable(spec_of(f"{SPACES}:static", strategies=[{"kind": "hyperopt", "trials": 4}]))


def test_pbt_holds_the_names_of_a_function_that_may_not_change_and_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    spec = spec_of(strategies=[{"kind": "pbt", "population": 2}], in_flight=["log_lr"])
    require_runnable(spec)
    space = spec.space_of(spec.strategies[0])
    assert spec.strategies[0].changed_in_flight(space) == ("log_lr", "weight_decay")
    file = tmp_path / "spec.yaml"
    file.write_text(spec.to_yaml())
    assert main(["validate", str(file)]) == 0
    message = " ".join(capsys.readouterr().out.split())
    assert "pbt: 2 trials, 8 epochs: optim, layers, width0, momentum, width1 drawn once, then inherited" in message


def test_pbt_without_a_name_that_may_change_says_where_to_list_one() -> None:
    (message,) = refusals(f"{SPACES}:widths", strategies=[{"kind": "pbt", "population": 2}])
    assert "names of your own that may change stand under in_flight" in str(message)
    require_runnable(spec_of(f"{SPACES}:widths", strategies=[{"kind": "pbt", "population": 2}], in_flight=["width"]))
