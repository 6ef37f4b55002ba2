"""Whole experiments on real Ray, from a spec alone: fine-tunings of a small model, and a function of a user's own."""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml

from tests.support.raylets import TRIALS
from tests.support.specs import curve_experiment, places_fields
from tests.support.stamped import stamps
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checksums import DamagedCheckpoint
from tuning import compare, load_spec, run_experiment
from tuning.checkpoints import study_states
from tuning.cli import main
from tuning.comparison.text import print_comparison
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState

LARGE, LARGER = 1e6, 1e9  # values of `max_grad_norm` that no gradient reaches: to the training both mean the same
SEARCHES = [
    {"kind": "hyperopt_asha", "trials": 3},
    {"kind": "pbt", "population": 2, "quantile": 0.5},
]


class Films(NamedTuple):
    """A finished experiment on a CSV of a user's own."""

    raw: dict[str, Any]  # its spec
    outcome: ExperimentOutcome
    noted: list[dict[str, Any]]  # values and process of each trial of the grid, in the order of their starts


def check(outcome: ExperimentOutcome, test_rows: int) -> None:
    """Every study is finished and scored once, nothing failed, and the comparison stands on its own."""
    assert [study.strategy for study in outcome.studies] == ["grid", "hyperopt_asha", "pbt"]
    for study in outcome.studies:
        assert study.count(TrialState.FAILED) == study.count(TrialState.RUNNING) == 0
        assert study.test is not None
        assert study.test.rows == test_rows
    assert len({study.attributes["data_fingerprint"] for study in outcome.studies}) == 1
    assert sum(bool(trial.lineage) for trial in outcome.study("pbt", 0).trials) == 1
    assert compare(outcome).best is not None


@pytest.fixture(scope="module")
def films(ray_session: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Films:
    """A grid that trains each rate twice, then a search and a population, two trials at a time."""
    folder = tmp_path_factory.mktemp("films")
    rng = random.Random(0)
    words = {"one": "awful bad", "two": "weak poor", "three": "fine okay", "four": "good nice", "five": "superb best"}
    rows = [f'"{" ".join(rng.choices(words[stars].split(), k=4))} {i}",{stars}' for i in range(60) for stars in words]
    data = folder / "films.csv"
    data.write_text("\n".join(["review,stars", *rows]))
    twice = {"max_grad_norm": {"choice": [LARGE, LARGER]}, "learning_rate": {"choice": [1e-2, 3e-3]}}
    raw = places_fields(
        folder,
        data,
        tiny_model,
        name="films",
        trainable="tests.support.stamped_fine_tuning:StampedFineTuning",
        data={"text": ["review"], "label": "stars", "subset": {}},
        fixed={"model.hidden_dropout_prob": 0.1, "warmup_ratio": 0.1},
        space={"learning_rate": {"loguniform": [1e-4, 3e-3]}, "per_device_train_batch_size": {"choice": [8, 16]}},
        strategies=[{"kind": "grid", "space": twice}, *SEARCHES],
    )
    outcome = run_experiment(load_spec(raw), progress=False)
    return Films(raw, outcome, stamps(data.with_suffix(".log"))[:4])


def scores(study: StudyOutcome) -> list[list[dict[str, float]]]:
    """Of each trial, in the order of their numbers, what each report told."""
    return [[dict(report.metrics) for report in trial.reports] for trial in study.trials]


@pytest.mark.ray
def test_your_own_csv_with_five_classes_is_searched_by_every_strategy(films: Films) -> None:
    check(films.outcome, test_rows=60)
    best = films.outcome.study("grid", 0).best()
    assert best is not None
    assert best[1].metrics["accuracy"] > 0.5  # five classes: chance is 0.2


@pytest.mark.ray
def test_the_same_values_score_the_same_on_a_warm_slot_bit_for_bit(films: Films) -> None:
    assert [note["params"]["max_grad_norm"] for note in films.noted] == [LARGE, LARGE, LARGER, LARGER]
    processes = [note["process"] for note in films.noted]
    assert set(processes[2:]) <= set(processes[:2])  # both had computed another trial before
    one, two, one_again, two_again = scores(films.outcome.study("grid", 0))
    assert len(one) == 2
    assert (one_again, two_again) == (one, two)
    assert one != two


@pytest.mark.ray
def test_the_best_configuration_pastes_into_a_spec_that_validates_and_trains_the_same_model_bit_for_bit(
    films: Films, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the printed text of one experiment to another, in a process that has computed nothing else."""
    grid = films.outcome.study("grid", 0)
    file = io.StringIO()
    print_comparison(compare(replace(films.outcome, studies=(grid,))), file)
    kept = {name: films.raw[name] for name in ("trainable", "task", "data", "model", "precision", "epochs")}
    common = {"name": "pasted", **kept, "cluster": {**films.raw["cluster"], "storage": str(tmp_path)}}
    path = tmp_path / "pasted.yaml"
    printed = file.getvalue()
    pasted = printed[printed.index("# best configuration") :]
    one_trial = {"space": {"adam_beta1": {"choice": [0.9]}}, "strategies": [{"kind": "grid"}]}
    path.write_text(f"{yaml.safe_dump(common)}{pasted}\n{yaml.safe_dump(one_trial)}")

    assert main(["validate", str(path)]) == 0
    assert "pasted: valid" in capsys.readouterr().out
    again = run_experiment(load_spec(path), progress=False).study("grid", 0)
    best, at_best = grid.best() or pytest.fail("no best")
    assert scores(again) == [[dict(report.metrics) for report in best.reports]]
    assert again.trials[0].reports[-1].params == at_best.params
    assert again.test is not None
    assert grid.test is not None
    assert again.test.metrics == grid.test.metrics


@pytest.mark.system
@pytest.mark.data
@pytest.mark.parametrize(("task", "test_rows"), [("rte", 277), ("imdb", 200)])
def test_real_rte_and_imdb_from_local_files(
    ray_session: None, tiny_model: Path, real_data: Path, tmp_path: Path, task: str, test_rows: int
) -> None:
    raw = places_fields(
        tmp_path,
        real_data / task,
        tiny_model,
        name=task,
        task=task,
        space={"learning_rate": {"loguniform": [1e-4, 3e-3]}, "per_device_train_batch_size": {"choice": [8, 16]}},
        strategies=[{"kind": "grid", "points": 2, "space": {"learning_rate": {"loguniform": [3e-3, 1e-2]}}}, *SEARCHES],
    )
    subset = {"train": 128, "validation": 64, "test": test_rows}
    raw["data"] = {"path": raw["data"]["path"], "max_length": 64, "subset": subset}
    check(run_experiment(load_spec(raw), progress=False), test_rows)


def kill_the_trials_below_this_process() -> list[int]:
    killed = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith(TRIALS):
                process.kill()
                killed.append(process.pid)
    return killed


@pytest.mark.ray
def test_a_long_trial_of_a_grid_whose_process_dies_goes_on_from_its_last_optimizer_state(
    ray_session: None, tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_states, "EVERY_SECONDS", 0.0)  # every epoch is a long one
    raw = places_fields(
        tmp_path,
        tiny_data,
        tiny_model,
        epochs=6,
        space={"learning_rate": {"choice": [3e-3]}},
        strategies=[{"kind": "grid"}],
        max_failures=1,
        test=False,
    )
    spec = load_spec(raw)
    found: list[CheckpointManifest] = []
    killed: list[int] = []

    def kill_after_second_epoch() -> None:
        until = time.monotonic() + 120
        while not found:
            assert time.monotonic() < until, "the trial has not saved a checkpoint of its second epoch"
            time.sleep(0.01)
            for file in spec.run_folder.glob("studies/*/*/checkpoint_000001/recipe.json"):
                with contextlib.suppress(DamagedCheckpoint):  # Tune has not copied all of it yet
                    found.append(CheckpointManifest.read(file.parent))
        killed.extend(kill_the_trials_below_this_process())

    killer = threading.Thread(target=kill_after_second_epoch)
    killer.start()
    (study,) = run_experiment(spec, progress=False).studies
    killer.join()
    assert killed
    assert [report.epoch for report in study.trials[0].reports] == [1, 2, 3, 4, 5, 6]
    (kept,) = spec.run_folder.glob("studies/*/*/checkpoint_*")
    assert found[0].moments
    assert (
        found[0].restore_points[0] in CheckpointManifest.read(kept).restore_points
    )  # trained again from its start it would have others
    assert not list(kept.glob("state-*"))


@pytest.mark.ray
def test_a_function_of_the_users_own_runs_under_every_strategy(ray_session: None, tmp_path: Path) -> None:
    def copies() -> set[Path]:
        made = Path(tempfile.gettempdir())
        return {*made.glob("checkpoint_tmp_*"), *made.glob("tunefleet-*/*/curve.json")}

    before = copies()
    outcome = run_experiment(curve_experiment(tmp_path, trainable="tests.support.own_trainables:train"), progress=False)
    assert copies() <= before
    assert [len(study.trials) for study in outcome.studies] == [3, 6, 4]
    for study in outcome.studies:
        assert study.count(TrialState.FAILED) == 0
        assert study.test is None  # its data are its own
        assert all(report.device_seconds > 0 for trial in study.trials for report in trial.reports)
    assert outcome.study("grid", 0).count(TrialState.COMPLETED) == 3
    assert outcome.study("hyperopt_asha", 0).count(TrialState.STOPPED) > 0

    pbt = outcome.study("pbt", 0)
    exploits = [(trial, exploit) for trial in pbt.trials for exploit in trial.lineage]
    assert exploits
    for trial, exploit in exploits:
        donor = next(t for t in pbt.trials if t.id == exploit.donor).reports[exploit.donor_reports - 1]
        first = trial.reports[exploit.reports]
        assert first.metrics["begun"] == donor.metrics["progress"]
        assert first.params == exploit.new
