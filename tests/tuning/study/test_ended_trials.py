"""Trials that have ended are saved once: snapshots do not grow with them, and a resume has them all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import history, run, run_study, run_until_killed, tear_the_newest_snapshot
from tests.support.specs import curve_experiment
from trainables.checkpoints.storage import FOLDERS
from tuning.errors import RunFolderError
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import SimulatedNode
from tuning.tune_compat import saving_controller
from tuning.tune_compat.snapshots import STATE, TRIALS, Snapshot, Snapshots, find_snapshots

TOGETHER = 4  # ended trials in one file, here
TRIALS_OF_ALL = 18
RANDOM: Mapping[str, Any] = {"kind": "random", "trials": TRIALS_OF_ALL}
HYPEROPT: Mapping[str, Any] = {"kind": "hyperopt_asha", "trials": TRIALS_OF_ALL, "initial_random": 4}


def experiment(folder: Path, strategy: Mapping[str, Any] = RANDOM, **changed: Any) -> ExperimentSpec:
    """Returns one with epochs of a minute and many short trials."""
    fixed = {"model.seconds_per_epoch": 60.0}
    return curve_experiment(
        folder, strategies=[dict(strategy)], fixed=fixed, test=False, **{"epochs": 2, "seeds": [0], **changed}
    )


def folder_of(spec: ExperimentSpec) -> Path:
    """Returns the folder of the only study's snapshots."""
    (found,) = spec.run_folder.glob("studies/*/snapshots")
    return found


def newest(folder: Path) -> Snapshot:
    """Returns what is in the newest snapshot's own file."""
    return Snapshot.parse(max(folder.glob("snapshot-*")).read_bytes())


# As files.


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a file of ended trials hold few of them."""
    monkeypatch.setattr(saving_controller, "TOGETHER", TOGETHER)


def take(snapshots: Snapshots, folder: Path, trials: Mapping[str, int]) -> None:
    """Takes a snapshot of these trials, with their positions, as Tune and the controller do."""
    folder.mkdir(exist_ok=True)
    (folder / "experiment_state-NOW.json").write_text(json.dumps({TRIALS: saved(trials), "runner_data": 1}))
    (folder / "searcher-state-NOW.pkl").write_bytes(b"\x80")
    snapshots.seal(folder, "NOW", trials)
    snapshots.settle()


def saved(trials: Mapping[str, int]) -> list[list[str]]:
    """Returns trials as Tune saves them: two texts each."""
    return [[f"trial {trial}", f"at {position}"] for trial, position in trials.items()]


@pytest.mark.unit
def test_a_snapshot_is_put_back_with_the_trials_that_were_set_apart(tmp_path: Path) -> None:
    with contextlib.closing(Snapshots(FOLDERS, str(tmp_path))) as snapshots:
        snapshots.set_apart(saved({"a": 3, "b": 1}), {"a": 3, "b": 1})
        take(snapshots, tmp_path / "staged", {"c": 2})
        snapshots.set_apart(saved({"c": 3}), {"c": 3})
        take(snapshots, tmp_path / "staged", {"a": 5, "d": 0})  # `a` had failed, and runs again
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == [
        *("ended-000001", "ended-000002", "snapshot-000001", "snapshot-000002")
    ]
    found = find_snapshots(FOLDERS, str(tmp_path))
    assert (found.newest, found.positions, found.damaged) == ("snapshot-000002", {"a": 5, "b": 1, "c": 3, "d": 0}, ())
    with contextlib.closing(Snapshots(FOLDERS, str(tmp_path))) as resumed:
        resumed.restore("snapshot-000002")
        assert resumed.apart == {"b", "c"}
    state = json.loads((tmp_path / STATE.format("restored")).read_text())
    assert state == {TRIALS: saved({"a": 5, "b": 1, "c": 3, "d": 0}), "runner_data": 1}


@pytest.mark.unit
@pytest.mark.parametrize("missing", [True, False], ids=["missing", "damaged"])
def test_a_snapshot_is_damaged_if_a_file_that_it_names_is(tmp_path: Path, missing: bool) -> None:
    with contextlib.closing(Snapshots(FOLDERS, str(tmp_path))) as snapshots:
        take(snapshots, tmp_path / "staged", {"a": 3, "b": 1})
        snapshots.set_apart(saved({"a": 4}), {"a": 4})
        take(snapshots, tmp_path / "staged", {"b": 2})
    ended = tmp_path / "snapshots" / "ended-000001"
    if missing:
        ended.unlink()
    else:
        ended.write_bytes(ended.read_bytes()[:-1])
    found = find_snapshots(FOLDERS, str(tmp_path))
    assert (found.newest, found.positions) == ("snapshot-000001", {"a": 3, "b": 1})
    (line,) = found.damaged
    assert line.startswith(f"{tmp_path}/snapshots/snapshot-000002 is damaged (")
    assert "ended-000001, which it needs," in line
    with contextlib.closing(Snapshots(FOLDERS, str(tmp_path))) as resumed:
        resumed.restore("snapshot-000001")
        assert not ended.exists()  # of the later snapshot: what ends now is another file of that name
        resumed.set_apart(saved({"a": 9}), {"a": 9})
        take(resumed, tmp_path / "staged", {"b": 1})
    assert find_snapshots(FOLDERS, str(tmp_path)).positions == {"a": 9, "b": 1}


# In a study.


@pytest.mark.tune
@pytest.mark.usefixtures("few")
def test_a_snapshot_holds_few_trials_that_have_ended_however_many_there_are(tmp_path: Path) -> None:
    sizes = []
    for trials in (TRIALS_OF_ALL, 3 * TRIALS_OF_ALL):
        spec = experiment(tmp_path / str(trials), {"kind": "random", "trials": trials})
        study, _ = run_study(spec, SimulatedNode(cpus=2))
        folder = folder_of(spec)
        last = newest(folder)
        assert len(study.trials) == trials
        assert len(last.positions) < TOGETHER + 2
        assert len(last.ended) >= trials // TOGETHER - 1
        assert find_snapshots(FOLDERS, str(folder.parent)).positions.keys() == {trial.id for trial in study.trials}
        sizes.append(len(last.files[STATE]))
    assert sizes[1] < 1.5 * sizes[0]


@pytest.mark.tune
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("strategy", [RANDOM, HYPEROPT], ids=lambda strategy: strategy["kind"])
def test_a_killed_study_ends_as_undisturbed_with_its_ended_trials_in_several_files(
    tmp_path: Path, strategy: Mapping[str, Any]
) -> None:
    one = SimulatedNode(cpus=1)
    undisturbed, _ = run_study(experiment(tmp_path / "undisturbed", strategy), one)
    spec = experiment(tmp_path / "killed", strategy)
    reports = sum(len(trial.reports) for trial in undisturbed.trials)
    with_apart = 0
    for number in range(3):  # at a quarter, a half and three quarters, each time it is resumed
        run_until_killed(spec, "train", reports // 4, one, resume=number > 0)
        with_apart += bool(newest(folder_of(spec)).ended)
        if number == 1:
            tear_the_newest_snapshot(spec)
    outcome, _ = run(spec, one, resume=True)
    assert history(outcome.studies[0]) == history(undisturbed)
    assert with_apart >= 2


@pytest.mark.tune
@pytest.mark.usefixtures("few")
def test_a_study_whose_ended_trials_are_lost_is_refused_with_the_file(tmp_path: Path) -> None:
    spec = experiment(tmp_path)
    run_until_killed(spec, "train", 30)
    (folder_of(spec) / "ended-000001").write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"of ended-000001, which it needs, the checksum differs.*cannot go on"):
        run(spec, resume=True)
