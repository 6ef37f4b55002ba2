"""Every experiment that ships with the package is right, and the reference experiments are the published ones."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tuning.spec.file import EXAMPLES, presets
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.unit

FILES = sorted(EXAMPLES.glob("*.yaml"))
FINE_TUNINGS = [path for path in FILES if "\ntrainable:" not in path.read_text()]


@pytest.fixture(autouse=True)
def _with_a_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory holds the file that the preset for one's own data names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(40)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_spec_validates(path: Path) -> None:
    assert load_spec(path) == load_spec(path.stem)


@pytest.mark.parametrize("path", FINE_TUNINGS, ids=lambda path: path.stem)
def test_every_shipped_fine_tuning_runs_the_three_strategies_once_each(path: Path) -> None:
    searches = [strategy.name for strategy in load_spec(path).strategies if strategy.searches]
    assert searches == ["grid", "hyperopt_asha", "pbt"]


@pytest.mark.parametrize("name", ["quickstart", "starter", "rte-recommended", "imdb-recommended"])
def test_what_is_recommended_ends_with_what_comes_of_no_tuning(name: str) -> None:
    assert load_spec(name).strategies[-1].name == "defaults"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_spec_begins_with_its_description(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert 20 < len(presets()[path.stem]) <= 100


def test_there_is_a_recommended_preset_beside_each_reference() -> None:
    assert {"rte-reference", "rte-recommended", "imdb", "imdb-recommended", "quickstart"} <= presets().keys()


def space_of(spec: ExperimentSpec, kind: str) -> dict[str, object]:
    """The declaration of a strategy's space, without what is default."""
    (strategy,) = (strategy for strategy in spec.strategies if strategy.kind == kind)
    return {name: d.model_dump(exclude_defaults=True) for name, d in spec.space_of(strategy).items()}


def test_the_reference_grid_is_exactly_the_18_published_combinations() -> None:
    spec = load_spec("rte-reference")
    grid = spec.space_of(spec.strategies[0]).grid(points=3)
    published = itertools.product((16, 32), (2e-5, 3e-5, 5e-5), (2, 3, 4))
    names = ("per_device_train_batch_size", "learning_rate", "num_train_epochs")
    assert grid == [dict(zip(names, combination, strict=True)) for combination in published]
    assert len(grid) == 18


def test_the_reference_hyperopt_is_the_published_one() -> None:
    spec = load_spec("rte-reference")
    strategy = spec.strategies[1].model_dump()
    assert (strategy["trials"], strategy["initial_random"]) == (60, 15)
    assert space_of(spec, "hyperopt_asha") == {
        "per_device_train_batch_size": {"int": (16, 64)},
        "weight_decay": {"uniform": (0, 0.3)},
        "learning_rate": {"uniform": (1e-5, 5e-5)},
        "warmup_steps": {"int": (0, 500)},
        "num_train_epochs": {"int": (2, 5)},
    }


def test_the_reference_population_is_the_published_one() -> None:
    spec = load_spec("rte-reference")
    strategy = spec.strategies[2].model_dump()
    assert (strategy["population"], strategy["perturb_every_epochs"]) == (8, 1)
    assert space_of(spec, "pbt") == {
        "per_device_train_batch_size": {"choice": (16, 32, 64)},
        "weight_decay": {"uniform": (0, 0.3)},
        "learning_rate": {"uniform": (1e-5, 5e-5)},
        "num_train_epochs": {"choice": (2, 3, 4, 5), "mutate": False},
    }
    assert (spec.task, spec.model, spec.epochs) == ("rte", "bert-base-uncased", 5)


def test_imdb_is_the_published_one() -> None:
    spec = load_spec("imdb")
    assert (spec.data.subset.train, spec.data.subset.validation) == (2000, 1000)
    assert space_of(spec, "pbt") == {
        "learning_rate": {"loguniform": (1e-6, 1e-4)},
        "per_device_train_batch_size": {"choice": (16, 32, 64, 128)},
        "weight_decay": {"uniform": (0, 0.3)},
    }


@pytest.mark.parametrize("name", [name for name in presets() if name.endswith("recommended")])
def test_recommended_presets_compare_equal_schedules_over_several_seeds(name: str) -> None:
    spec = load_spec(name)
    assert len(spec.seeds) >= 3
    for strategy in (one for one in spec.strategies if one.searches):
        space = spec.space_of(strategy)
        assert "num_train_epochs" not in space.names
        assert space.model_dump()["learning_rate"].keys() & {"loguniform", "choice"}
