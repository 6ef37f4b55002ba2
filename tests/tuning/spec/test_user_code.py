"""Mistakes in a user's own trainable are reported before anything starts; so is a model that cannot be fetched."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import GOOD
from tuning.cli import main
from tuning.experiment import run_experiment
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.validation.before_run import require_runnable
from tuning.spec.validation.user_code import defined_names

pytestmark = pytest.mark.unit

NUMBERS = itertools.count()
TRAIN = "def train(params, *, spec):\n    pass\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module that no other test has imported; gives its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"own_module_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def refused(trainable: str) -> str:
    with pytest.raises(SpecError) as caught:
        require_runnable(load_spec(copy.deepcopy(dict(GOOD)), [f"trainable={trainable}"]))
    (message,) = caught.value.mistakes
    assert message.path == "trainable"
    return str(message)


def test_a_misspelt_function_is_reported_with_the_nearest_one_without_running_the_module(own: Any) -> None:
    module = own("raise SystemExit('this is run')\n" + TRAIN)
    message = refused(f"{module}:trian")
    assert f"{module}.py has no trian; did you mean train?" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def train(:\n", "is no Python: invalid syntax, line 1"),
        (
            "import no_such_package_here\n" + TRAIN,
            "No module named 'no_such_package_here'; {module} imports it: install",
        ),
        ("1 / 0\n" + TRAIN, "{module} cannot be imported: ZeroDivisionError: division by zero"),
        (
            "raise ImportError('needs x>=2\\nTry: pip install x')\n" + TRAIN,
            "cannot be imported: ImportError: needs x>=2",
        ),
        ("def train():\n    pass\n", "or a function `def train(params, *, spec)`; it takes ()"),
        ("def train(params, model):\n    pass\n", "it takes (params, model)"),
        ("train = 3\n", "it is a int"),
        ("from math import *\n", "has no train; did you mean tan?"),
    ],
)
def test_what_is_wrong_with_a_module_is_reported_without_advice_about_where_it_lies(
    own: Any, text: str, message: str
) -> None:
    module = own(text)
    said = refused(f"{module}:train")
    assert message.format(module=module) in said
    assert "PYTHONPATH" not in said


def test_a_module_that_is_not_there_is_looked_for_on_the_path(own: Any) -> None:
    assert "no module nowhere_at_all" in refused("nowhere_at_all:train")
    assert "PYTHONPATH" in refused("nowhere_at_all:train")


def test_validate_and_run_import_it_before_anything_is_written(
    own: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = own("1 / 0\n" + TRAIN)
    spec = load_spec(copy.deepcopy(dict(GOOD)), [f"trainable={module}:train"])
    (tmp_path / "mine.yaml").write_text(spec.to_yaml())
    assert main(["validate", "mine.yaml"]) == 2
    assert "trainable: " in capsys.readouterr().err
    assert main(["run", "mine.yaml"]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SpecError, match="ZeroDivisionError"):
        run_experiment(spec)


def test_a_good_one_is_taken_by_any_way_in_which_a_name_is_made(own: Any) -> None:
    ways = [
        TRAIN,
        "class train:\n    def __init__(self, params, spec): pass\n",
        f"if True:\n    {TRAIN.strip().replace(chr(10), chr(10) + '    ')}\n",
        "try:\n    from nowhere import train\nexcept ImportError:\n    def train(params, *, spec): pass\n",
        "a, train = 1, lambda params, *, spec: None\n",
        "def __getattr__(name):\n    return lambda params, *, spec: None\n",
    ]
    for text in ways:
        module = own(text)
        spec = load_spec(copy.deepcopy(dict(GOOD)), [f"trainable={module}:train"])
        require_runnable(spec)


def test_costs_are_not_measured_of_a_function_or_of_a_closed_form(own: Any) -> None:
    module = own(TRAIN)
    with pytest.raises(SpecError, match=r"measure: .*train is a function, which reports its metrics itself; have it"):
        require_runnable(
            load_spec(copy.deepcopy(dict(GOOD)), [f"trainable={module}:train", "measure=train_device_seconds"])
        )
    with pytest.raises(SpecError, match=r"measure: .*a closed form has no model.*leave all but train_device_seconds"):
        load_spec(copy.deepcopy(dict(GOOD)), ["trainable=learning_curve", "measure=[parameters, train_device_seconds]"])


def test_the_names_of_a_module_are_read_off_its_source() -> None:
    imports, loop = b"import a.b, c as d\nfrom e import f as g\n", b"x: int = 1\nfor y in (): z = 2\n"
    assert defined_names(imports + loop + b"def h():\n    inner = 1\n_k = __l = 3\n") == {
        "a",
        "d",
        "g",
        "x",
        "y",
        "z",
        "h",
        "_k",
    }
    assert defined_names(b"from a import *\n") is None
    assert defined_names(b"") == set()


def offline(variable: str, value: str, *overrides: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            patch.delenv(name, raising=False)
        patch.setenv(variable, value)
        try:
            require_runnable(load_spec(copy.deepcopy(dict(GOOD)), ["model=some-org/no-such-model", *overrides]))
        except SpecError as error:
            return [str(mistake) for mistake in error.mistakes]
    return []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_hub_model_that_is_not_cached_is_refused_where_nothing_may_be_fetched(own: Any, variable: str) -> None:
    (message,) = offline(variable, "1")
    assert message.startswith("model: 'some-org/no-such-model': is no folder here, and not whole in the Hub's cache ")
    step = f"unset {variable}, point HF_HOME to a cache that holds it, or name a local folder"
    assert message.endswith(f"which {variable} keeps to; {step}")
    assert "revision abc" in offline(variable, "true", "revision=abc")[0]


def test_it_is_not_looked_for_where_it_may_be_fetched_or_other_machines_train(own: Any) -> None:
    assert offline("HF_HUB_OFFLINE", "0") == []
    assert offline("HF_HUB_OFFLINE", "1", "cluster.address=head:6379") == []
    assert offline("HF_HUB_OFFLINE", "1", "trainable=learning_curve") == []
    assert offline("HF_HUB_OFFLINE", "1", "model=minilm") == []
