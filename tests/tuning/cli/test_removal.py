"""A run that begins anew, and an experiment that is removed: what goes, what stays, and what is printed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.recorded_runs import record, run_left
from tests.support.simulated_studies import long_experiment, run, run_until_killed
from tests.support.specs import curve_experiment
from tests.support.user_trainers import rows
from trainables.user_trainer.shipped import load_shipped, ship
from tuning import load_spec
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.outcome import StudyState
from tuning.run_folder.files import ORIGIN
from tuning.run_folder.folder import claim_run_folder
from tuning.run_folder.run_lock import run_lock
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore, sqlite_url

WAYS = (
    r"go on with `tunefleet resume \S+`, begin anew with `tunefleet run --fresh`, which removes what is there, or "
    r"choose another name \(name=\.\.\.\); from Python: resume=True, fresh=True"
)


def file_of(spec: ExperimentSpec, folder: Path) -> str:
    path = folder / "own.yaml"
    path.write_text(spec.to_yaml())
    return str(path)


@pytest.mark.unit
def test_what_was_never_scored_is_replaced_by_a_run_with_the_corrected_spec(tmp_path: Path) -> None:
    run_left(tmp_path)
    corrected, shown = curve_experiment(tmp_path, epochs=8), list[str]()
    claim_run_folder(corrected, resume=False, say=shown.append)
    assert shown[0] == "nothing was trained before; begins anew; removed:"
    assert "3 studies with 3 trials and 0 reports" in shown[-1]
    assert load_spec(corrected.run_folder / "spec.yaml") == corrected
    assert [path.name for path in corrected.run_folder.iterdir()] == ["spec.yaml"]


@pytest.mark.unit
def test_what_was_never_scored_leaves_a_store_that_others_share_and_they_stay(tmp_path: Path) -> None:
    shared = sqlite_url(tmp_path / "team.db")
    run_left(tmp_path, name="other", store=shared, scores=(0.5,))
    run_left(tmp_path, store=shared)
    claim_run_folder(curve_experiment(tmp_path, store=shared, epochs=8), resume=False)
    assert StudyStore(shared).experiments() == ("other",)


@pytest.mark.unit
def test_what_was_scored_is_kept_and_three_ways_out_are_named_with_the_keys_that_differ(tmp_path: Path) -> None:
    spec = run_left(tmp_path, scores=(0.5,))
    with pytest.raises(RunFolderError, match=rf"holds an experiment already; {WAYS}$"):
        claim_run_folder(spec, resume=False)
    with pytest.raises(RunFolderError, match=rf"already \(of another spec; different: epochs, seeds\); {WAYS}$"):
        claim_run_folder(curve_experiment(tmp_path, epochs=8, seeds=[1]), resume=False)
    assert len(StudyStore(spec.store_url).load(spec.name).studies) == 3


@pytest.mark.unit
def test_a_resume_of_another_spec_names_the_ways_out_that_there_are(tmp_path: Path) -> None:
    spec = run_left(tmp_path / "scored", scores=(0.5,))
    changed = curve_experiment(tmp_path / "scored", epochs=8)
    with pytest.raises(RunFolderError, match=r"different: epochs\); resume without changes, begin anew .*--fresh`"):
        claim_run_folder(changed, resume=True)
    claim_run_folder(spec, resume=True)
    run_left(tmp_path / "failed")
    with pytest.raises(RunFolderError, match=r"epochs\); nothing was trained yet, so `tunefleet run` with the new"):
        claim_run_folder(curve_experiment(tmp_path / "failed", epochs=8), resume=True)


@pytest.mark.unit
def test_a_fresh_run_keeps_nothing_and_says_what_goes(tmp_path: Path) -> None:
    spec, shown = run_left(tmp_path, scores=(0.5, 0.6)), list[str]()
    claim_run_folder(spec, resume=False, fresh=True, say=shown.append)
    assert shown[0] == "begins anew; removed:"
    assert f"{spec.run_folder}: 3 files" in shown[1]
    assert "3 studies with 3 trials and 6 reports" in shown[2]
    assert [path.name for path in spec.run_folder.iterdir()] == ["spec.yaml"]
    claim_run_folder(
        curve_experiment(tmp_path, name="new"), resume=False, fresh=True, say=shown.append
    )  # nothing there
    assert len(shown) == 3


@pytest.mark.unit
@pytest.mark.parametrize("damaged", ["study.db", "spec.yaml"])
def test_a_fresh_run_begins_where_what_was_left_cannot_be_read_and_any_other_does_not(
    tmp_path: Path, damaged: str
) -> None:
    spec = run_left(tmp_path, scores=(0.5,))
    (spec.run_folder / damaged).write_bytes(b"\xff{" * 1000)
    with pytest.raises(RunFolderError, match=rf"holds an experiment already; {WAYS}$"):
        claim_run_folder(spec, resume=False)
    claim_run_folder(spec, resume=False, fresh=True)
    assert [path.name for path in spec.run_folder.iterdir()] == ["spec.yaml"]


@pytest.mark.unit
@pytest.mark.parametrize("command", ["run", "rm"])
def test_an_experiment_that_another_driver_runs_is_not_removed(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = run_left(tmp_path, scores=(0.5,))
    arguments = (
        ["run", file_of(spec, tmp_path), "--fresh"] if command == "run" else ["rm", str(spec.run_folder), "--yes"]
    )
    with run_lock(spec.run_folder, spec.name):
        assert main(arguments) == 2
    assert "is in use by process" in capsys.readouterr().err
    assert len(StudyStore(spec.store_url).load(spec.name).studies) == 3


@pytest.mark.unit
def test_rm_shows_what_it_removes_and_takes_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = sqlite_url(tmp_path / "team.db")
    run_left(tmp_path, name="other", store=shared, scores=(0.5,))
    spec = run_left(tmp_path, store=shared, scores=(0.5,))
    assert main(["rm", spec.name, "--storage", str(tmp_path), "--yes"]) == 0
    shown = capsys.readouterr().out
    assert f"{spec.run_folder}: 3 files" in shown
    assert f"3 studies with 3 trials and 3 reports, recorded in {shared}" in shown
    assert shown.endswith("whole is removed\n")
    assert not spec.run_folder.exists()
    assert StudyStore(shared).experiments() == ("other",)


@pytest.mark.unit
def test_rm_without_a_terminal_and_without_yes_removes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = run_left(tmp_path, scores=(0.5,))
    assert main(["rm", str(spec.run_folder)]) == 2
    shown = capsys.readouterr()
    assert str(spec.run_folder) in shown.out
    assert "--yes: 'not given': without a terminal nobody can confirm it; add --yes" in shown.err
    assert len(StudyStore(spec.store_url).load(spec.name).studies) == 3


@pytest.mark.unit
def test_rm_takes_the_studies_of_a_run_folder_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = sqlite_url(tmp_path / "team.db")
    record(curve_experiment(tmp_path, store=shared), (0.5,))
    assert main(["rm", "whole", "--storage", str(tmp_path)]) == 2
    assert "no experiment of that name" in capsys.readouterr().err
    assert main(["rm", "whole", "--storage", str(tmp_path), "--store", shared, "--yes"]) == 0
    assert StudyStore(shared).experiments() == ()
    assert main(["rm", "whole", "--storage", str(tmp_path), "--store", shared, "--yes"]) == 2
    assert "'whole': neither in" in capsys.readouterr().err


@pytest.mark.unit
def test_a_fetched_run_folder_that_names_a_store_of_ours_takes_nothing_out_of_it(tmp_path: Path) -> None:
    """The spec of a fetched run folder came from a cluster, which may be anybody's."""
    ours = sqlite_url(tmp_path / "ours.db")
    spec = run_left(tmp_path, store=ours, scores=(0.5,))
    (spec.run_folder / ORIGIN).write_text("{}")
    assert main(["rm", str(spec.run_folder), "--yes"]) == 0
    assert not spec.run_folder.exists()
    assert StudyStore(ours).experiments() == ("whole",)


@pytest.mark.unit
def test_a_run_folder_whose_store_holds_another_experiment_is_not_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = run_left(tmp_path, scores=(0.5,))
    run_left(tmp_path, name="other", store=spec.store_url, scores=(0.5,))
    assert main(["rm", str(spec.run_folder), "--yes"]) == 2
    assert "study.db holds other as well" in capsys.readouterr().err
    assert StudyStore(spec.store_url).experiments() == ("whole", "other")


@pytest.mark.unit
def test_rm_takes_what_was_shipped_for_the_experiment_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared, own, folder = rows(8, 1), rows(8, 2), tmp_path / ".shipped"
    run_left(tmp_path, name="one", trainable=ship([shared, own], str(tmp_path), "trainer"), scores=(0.5,))
    two = run_left(tmp_path, name="two", trainable=ship([shared], str(tmp_path), "trainer"), scores=(0.5,))

    def remove(name: str) -> str:
        assert main(["rm", name, "--storage", str(tmp_path), "--yes"]) == 0
        return capsys.readouterr().out

    assert f"{folder}: 2 files that only it needs, 0.0 MB" in remove("one")
    assert load_shipped(two.trainable)[0][:] == shared[:]
    assert f"{folder}: 2 files that only it needs" in remove("two")
    assert not list(folder.iterdir())


@pytest.mark.unit
def test_rm_leaves_what_a_search_that_is_being_prepared_has_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, folder = ship(rows(8, 1), str(tmp_path), "data"), tmp_path / ".shipped"
    spec = run_left(tmp_path, trainable=name, scores=(0.5,))
    long_ago = time.time() - 7200
    os.utime(spec.run_folder / "spec.yaml", (long_ago, long_ago))  # began, used its files, and then
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    assert ship([rows(8, 1)], str(tmp_path), "data") != name  # another search, over the same rows
    assert main(["rm", spec.name, "--storage", str(tmp_path), "--yes"]) == 0
    shown = capsys.readouterr().out
    assert f"{folder}: 1 file that only it needs" in shown
    assert f"{folder}: 1 file of it, used within the last hour, not removed" in shown
    assert len(list(folder.glob("*.arrow"))) == 1


@pytest.mark.tune
def test_a_run_that_was_killed_before_its_first_report_is_replaced_by_one_with_another_spec(tmp_path: Path) -> None:
    run_until_killed(long_experiment(tmp_path), "train", 1)
    outcome, _ = run(long_experiment(tmp_path, epochs=2, strategies=[{"kind": "grid", "points": 2}]))
    (study,) = outcome.studies
    assert (study.state, len(study.trials)) == (StudyState.FINISHED, 2)
    with pytest.raises(RunFolderError, match=WAYS):
        run(long_experiment(tmp_path))


@pytest.mark.unit
@pytest.mark.parametrize("name", ["spec.yaml", ".", "../project"])
def test_a_project_with_a_spec_in_it_is_no_run_folder_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spec, project = run_left(tmp_path, scores=(0.5,)), tmp_path / "project"
    project.mkdir()
    (project / "spec.yaml").write_bytes((spec.run_folder / "spec.yaml").read_bytes())
    for kept in ("train.py", ".git", "thesis.tex", "notes"):
        (project / kept).write_text("mine")
    monkeypatch.chdir(project)
    assert main(["rm", name, "--yes"]) == 2
    assert "holds .git, notes, thesis.tex and 1 more, which no run has made" in capsys.readouterr().err
    assert {path.name for path in project.iterdir()} >= {"spec.yaml", "train.py", ".git", "thesis.tex", "notes"}


@pytest.mark.unit
def test_a_link_in_a_run_folder_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    spec, kept = run_left(tmp_path, scores=(0.5,)), tmp_path / "elsewhere"
    kept.mkdir()
    (kept / "weights").write_text("mine")
    (spec.run_folder / "studies").mkdir(exist_ok=True)
    (spec.run_folder / "studies" / "linked").symlink_to(kept)
    (spec.run_folder / "wandb").symlink_to(kept)
    assert main(["rm", str(spec.run_folder), "--yes"]) == 0
    assert not spec.run_folder.exists()
    assert (kept / "weights").read_text() == "mine"
