"""`import tunefleet` at work, over simulated Ray: run, open, compare, report; and what a notebook shows meanwhile."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import tunefleet
from tests.support.specs import GRID, curve_fields
from tuning.run_folder.experiments import UnknownExperiment
from tuning.testing.simulated_ray import simulated_ray

pytestmark = pytest.mark.tune

STRATEGIES = [dict(GRID), {"kind": "random", "trials": 2}]


def fields(folder: Path, **changed: Any) -> dict[str, Any]:
    return curve_fields(folder, **{"strategies": STRATEGIES, "epochs": 2, "test": False, **changed})


@pytest.fixture
def ray() -> Iterator[None]:
    with simulated_ray():
        yield


@pytest.mark.usefixtures("ray")
def test_an_experiment_runs_from_a_dictionary_and_is_opened_by_name_and_by_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = tunefleet.run(fields(tmp_path / "runs"), {"epochs": 1}, progress=False)
    assert [len(study.trials) for study in outcome.studies] == [3, 2]
    assert tunefleet.experiments() == ["whole"]
    assert tunefleet.load_outcome("whole") == outcome
    assert tunefleet.load_outcome(tmp_path / "runs/whole") == outcome
    assert tunefleet.load_outcome("whole", storage=tmp_path / "runs") == outcome
    assert set(outcome.best_params) == {"learning_rate"}
    for given in ("whole", outcome, tmp_path / "runs/whole"):
        assert tunefleet.compare(given).best_params == outcome.best_params
    page = tunefleet.report("whole")
    assert page == Path("whole.html")
    assert "<h1>whole</h1>" in page.read_text()
    with pytest.raises(tunefleet.InputError, match=r"out: .*cannot be written"):
        tunefleet.report("whole", tmp_path / "no/such/folder.html")
    with pytest.raises(tunefleet.InputError, match="is a formula: there is no model to keep"):
        tunefleet.train_final(outcome, storage=tmp_path / "runs")


@pytest.mark.usefixtures("ray")
def test_an_experiment_runs_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(fields(tmp_path / "runs", name="mine")))
    outcome = tunefleet.run(str(file))
    assert outcome.name == "mine"
    assert "grid-seed0  trial 2 (" in capsys.readouterr().out


@pytest.mark.usefixtures("ray")
def test_an_experiment_that_has_run_gets_more_seeds(tmp_path: Path) -> None:
    before = tunefleet.run(fields(tmp_path), {"epochs": 1}, progress=False)
    after = tunefleet.extend("whole", {"seeds": [0, 1]}, storage=tmp_path, progress=False)
    assert [(study.strategy, study.seed) for study in after.studies] == [
        ("grid", 0), ("random", 0), ("random", 1), ("grid", 1),
    ]  # fmt: skip
    assert after.studies[:2] == before.studies
    assert tunefleet.load_outcome("whole", storage=tmp_path) == after


def test_an_unknown_experiment_is_reported_with_where_it_was_looked_for(tmp_path: Path) -> None:
    for call in (tunefleet.load_outcome, tunefleet.compare, tunefleet.report, tunefleet.train_final):
        with pytest.raises(UnknownExperiment, match="no experiment of that name in"):
            call("nothing", storage=tmp_path)
    with pytest.raises(UnknownExperiment, match="no experiment of that name in"):
        tunefleet.extend("nothing", {"seeds": [0, 1]}, storage=tmp_path)


class Cell:
    """The output of a notebook's cell, as IPython keeps it: places that can be written anew, until it is emptied."""

    def __init__(self) -> None:
        self.places: list[list[str]] = []

    def display(self, shown: str, display_id: bool = False) -> SimpleNamespace:
        place = [shown]
        self.places.append(place)
        return SimpleNamespace(update=place.append)

    def clear_output(self, wait: bool = False) -> None:
        self.places.clear()


class ZMQInteractiveShell:
    """A class by whose name a notebook's kernel is recognised."""


@pytest.mark.usefixtures("ray")
def test_a_notebook_s_cell_keeps_the_table_of_every_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tune's own reporter for notebooks empties the cell whenever a study begins."""
    cell = Cell()
    display = SimpleNamespace(HTML=str, display=cell.display, clear_output=cell.clear_output)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    for module in ("ray.tune.tune", "ray.tune.progress_reporter"):  # they look once, when they are imported
        monkeypatch.setattr(f"{module}.IS_NOTEBOOK", True)
    tunefleet.run(fields(tmp_path))
    assert len(cell.places) == 2
    for name, trials, place in zip(("grid", "random"), (3, 2), cell.places, strict=True):
        assert f"{name}, seed 0" in place[-1]
        assert f"{trials} completed of {trials} trials" in place[-1]
        assert len(place) > 1
        assert place[-1].startswith("<pre")
    assert "epoch 2/2" not in capsys.readouterr().out
