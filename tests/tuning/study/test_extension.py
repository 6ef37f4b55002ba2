"""An experiment that gets more seeds, or another strategy, after it has run."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.outcomes import study
from tests.support.recorded_runs import run_left
from tests.support.simulated_studies import TICK, long_experiment, run, run_until_killed
from tests.support.strangers import NOBODY, needs_root
from trainables.data.row_hashes import RowHashes, hashes_of
from trainables.errors import InputError
from trainables.tasks.summary import DataSummary
from tuning.cli import main
from tuning.comparison import compare
from tuning.comparison.version_caveats import version_caveats
from tuning.errors import RunFolderError
from tuning.experiment import run_experiment
from tuning.extended_spec import extend_spec, has_test_score
from tuning.extension import extend_experiment
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.run_folder.experiments import UnknownExperiment, load_experiment
from tuning.run_folder.folder import claim_run_folder
from tuning.selection.evaluations import refuse_other_test_rows
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.store.evaluation_ledger import TestRows
from tuning.store.study_store import StudyStore
from tuning.study.study import run_order
from tuning.testing.recording import open_study
from tuning.testing.simulated_ray import simulated_ray

TWO = [{"kind": "grid", "points": 2}, {"kind": "pbt", "population": 3}]
RANDOM = {"kind": "random", "trials": 3}


def experiment(folder: Path, **changed: Any) -> ExperimentSpec:
    return long_experiment(folder, **{"strategies": TWO, "seeds": [0, 1, 2], "epochs": 2, "test": True, **changed})


def small(folder: Path, **changed: Any) -> ExperimentSpec:
    """Studies of a moment: one is as good as three where no verdict is asked for."""
    return experiment(folder, **{"seeds": [0], **changed})


def more(spec: ExperimentSpec, *, judged: bool = True, **changed: Any) -> ExperimentSpec:
    return extend_spec(spec, load_spec(spec, changed), judged=judged)


def told_by(outcome: ExperimentOutcome) -> dict[tuple[str, int], list[object]]:
    """Returns the values and scores that each study has found."""
    return {
        (study.strategy, study.seed): [(trial.params, [r.metrics for r in trial.reports]) for trial in study.trials]
        + [study.test and study.test.metrics]
        for study in outcome.studies
    }


@pytest.mark.tune
def test_added_seeds_and_strategies_find_what_they_find_in_one_run(tmp_path: Path) -> None:
    """Studies of before are as they were, the new ones as in an experiment that had them from the start."""
    spec = small(tmp_path / "grown")
    before, _ = run(spec)
    grown = more(spec, judged=has_test_score(spec.name, spec.store_url), seeds=[0, 1], strategies=[*TWO, RANDOM])
    after, _ = run(grown, resume=True)
    whole, _ = run(small(tmp_path / "whole", seeds=[0, 1], strategies=[*TWO, RANDOM]))
    assert told_by(after) == told_by(whole)
    assert after.studies[: len(before.studies)] == before.studies
    assert {study.state for study in after.studies} == {StudyState.FINISHED}
    outcome, text = load_experiment(str(spec.run_folder), tmp_path)
    assert load_spec(spec.run_folder / "spec.yaml") == grown
    assert text == grown.to_yaml()
    assert (
        compare(outcome).caveats[0].startswith("Verdict 2, where 1 was planned: seeds or strategies were added after")
    )
    with pytest.raises(RunFolderError, match="was extended by somebody else meanwhile"):
        claim_run_folder(more(spec, seeds=[0, 9]), resume=True)
    assert told_by(run(spec, resume=True)[0]) == told_by(after)  # by the spec that it was first run with


@pytest.mark.tune
def test_an_extension_that_is_killed_goes_on_by_resume_and_shows_the_old_verdict_till_it_has_begun(
    tmp_path: Path,
) -> None:
    spec = small(tmp_path, verdicts=3)
    before, _ = run(spec)
    first = compare(before, spec=spec.plain())
    assert first.caveats[0].startswith("Verdict 1 of 3 that are planned")
    grown = more(spec, seeds=[0, 1])
    claim_run_folder(grown, resume=True)  # and killed there
    outcome, text = load_experiment(str(spec.run_folder), tmp_path)
    assert (outcome, text) == (before, spec.to_yaml())
    run_until_killed(spec, "train", 3, resume=True)
    killed, text = load_experiment(str(spec.run_folder), tmp_path)
    assert text == grown.to_yaml()
    assert len(killed.studies) == 3
    so_far = compare(killed, spec=grown.plain())
    assert "not all searches have ended" in {pair.withheld for pair in so_far.pairs}
    assert not any(pair.shown for pair in so_far.pairs)
    after, _ = run(load_spec(spec.run_folder / "spec.yaml"), resume=True)
    assert len(after.studies) == 4
    assert compare(after, spec=grown.plain()).caveats[0].startswith("Verdict 2 of 3 that are planned")
    whole, _ = run(small(tmp_path / "whole", seeds=[0, 1]))
    assert told_by(after) == told_by(whole)
    assert all(study == old for study, old in zip(after.studies, before.studies, strict=False))


@pytest.mark.tune
@pytest.mark.parametrize(("apart", "seeds"), [(True, 3), (False, 5)])
def test_until_decided_adds_seeds_until_a_verdict_decides_or_the_last_planned_one_is_given(
    tmp_path: Path, apart: bool, seeds: int
) -> None:
    near = {"learning_rate": {"loguniform": [3e-4, 3e-3]}}
    other = (
        {"learning_rate": {"loguniform": [1e-6, 1e-5]}} if apart else {"learning_rate": {"loguniform": [2e-4, 3e-3]}}
    )
    strategies = [
        {"kind": "random", "label": name, "trials": 2, "space": space} for name, space in (("a", near), ("b", other))
    ]
    spec = experiment(tmp_path, strategies=strategies, verdicts=3, until="decided", worthwhile=0)
    outcome, _ = run(spec)
    assert [study.seed for study in outcome.studies if study.strategy == "a"] == list(range(seeds))
    kept = load_spec(spec.run_folder / "spec.yaml")
    assert (len(kept.seeds), kept.verdict_number) == (seeds, seeds - 2)
    comparison = compare(outcome, spec=kept.plain())
    assert comparison.pairs[0].shown == apart
    assert comparison.caveats[0].startswith(f"Verdict {seeds - 2} of 3")
    assert len(run(kept, resume=True)[0].studies) == 2 * seeds


@pytest.mark.tune
def test_the_folder_of_another_account_that_is_trusted_is_so_for_all_verdicts(tmp_path: Path) -> None:
    needs_root()
    strategies = [{"kind": "random", "label": label, "trials": 1} for label in ("a", "b")]
    spec = experiment(tmp_path, strategies=strategies, verdicts=2, until="decided", epochs=1)
    claim_run_folder(spec, resume=False)
    os.chown(spec.run_folder, NOBODY, NOBODY)
    with simulated_ray(tick=TICK):
        outcome = run_experiment(spec, progress=False, resume=True, trust_fetched=True)
    assert len(outcome.studies) == 8


@pytest.mark.tune
def test_the_command_adds_and_the_others_read_what_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = small(tmp_path / "runs")
    (tmp_path / "mine.yaml").write_text(spec.to_yaml())
    with simulated_ray(tick=TICK):
        assert main(["run", "mine.yaml"]) == 0
        assert main(["extend", spec.name, "seeds=[0, 1]", "strategies.2={kind: random, trials: 2}"]) == 0
        assert main(["resume", spec.name]) == 0
        for words in (["compare"], ["results"], ["report"], ["export"]):
            assert main([words[0], spec.name]) == 0
        assert main(["ls"]) == 0
        assert "6 of 6" in capsys.readouterr().out
        assert main(["extend", spec.name, "seeds=[0, 1]"]) == 2
        assert "nothing is added" in capsys.readouterr().err
        # A new experiment by the grown one's spec has one verdict.
        shutil.copy(spec.run_folder / "spec.yaml", tmp_path / "grown.yaml")
        assert main(["run", "grown.yaml", "name=another"]) == 0
    assert load_spec(tmp_path / "runs" / "another" / "spec.yaml").extended == ()
    assert len(list(run_order(load_spec(tmp_path / "runs" / "another" / "spec.yaml")))) == 6


@pytest.mark.tune
def test_the_function_extends_as_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec, other = (small(tmp_path / folder) for folder in ("runs", "others"))
    added = {"seeds": [0, 1], "strategies.2": RANDOM}
    with simulated_ray(tick=TICK):
        before = run_experiment(spec, progress=False)
        outcome = extend_experiment(spec.name, added, progress=False)
        run_experiment(other, progress=False)
        words = [f"{key}={json.dumps(value)}" for key, value in added.items()]
        assert main(["extend", str(other.run_folder), *words]) == 0
    assert len(outcome.studies) == 6
    assert outcome.studies[:2] == before.studies
    assert outcome == load_experiment(spec.name, tmp_path / "runs")[0]
    assert told_by(outcome) == told_by(load_experiment(spec.name, tmp_path / "others")[0])
    assert compare(outcome).caveats[0].startswith("Verdict 2, where 1 was planned")


@pytest.mark.tune
def test_the_function_refuses_as_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(small(tmp_path / "runs", name="mine"))
    for name, words in (("mine", ["seeds=[0]"]), ("mine", ["seeds=[1]"]), ("mine", ["epochs=9"]), ("none", [])):
        assert main(["extend", name, *words]) == 2
        told = capsys.readouterr().err
        with pytest.raises((InputError, UnknownExperiment)) as refused:
            extend_experiment(name, words)
        assert str(refused.value) in told
    with pytest.raises(InputError, match=r"experiment: .*ExperimentOutcome names no experiment"):
        extend_experiment(load_experiment("mine", "runs")[0], {"seeds": [0, 1]})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"overrides: 3: must be a dictionary"):
        extend_experiment("mine", 3)  # type: ignore[arg-type]


@pytest.mark.unit
def test_a_resume_with_more_seeds_is_refused_with_how_they_are_added(tmp_path: Path) -> None:
    spec = run_left(tmp_path / "scored", strategies=TWO, scores=(0.5,), finished=True)
    for resume in (True, False):
        with pytest.raises(RunFolderError, match=r"different: seeds\); `tunefleet extend .*` adds to them; "):
            claim_run_folder(load_spec(spec, {"seeds": [0, 1]}), resume=resume)
    with pytest.raises(RunFolderError, match=r"different: .*seeds.*\); resume without changes"):
        claim_run_folder(load_spec(spec, {"seeds": [0, 1], "epochs": 9}), resume=True)
    begun = experiment(tmp_path)
    claim_run_folder(begun, resume=False)
    with pytest.raises(RunFolderError, match=r"different: seeds\); nothing was trained yet"):
        claim_run_folder(load_spec(begun, {"seeds": [0, 1, 2, 3]}), resume=True)


@pytest.mark.unit
def test_other_test_rows_than_before_are_refused_and_other_training_rows_are_reported(tmp_path: Path) -> None:
    spec = experiment(tmp_path, name="reviews")
    store = StudyStore(f"sqlite:///{tmp_path}/study.db")
    writer = open_study(store)
    before, now = (hashes_of([(text,), ("b",)]) for text in ("a", "c"))
    refuse_other_test_rows(spec, store, RowHashes(now, now))  # nothing is recorded of them
    writer.set_test_rows(TestRows.of(before).to_json(), EarlierEvaluations(2, 0, 0, (), 0, 0, ()))
    refuse_other_test_rows(spec, store, RowHashes(before, now))
    with pytest.raises(InputError, match=r"the test rows have changed since .* \(2 rows then, 2 now\); bring the old"):
        refuse_other_test_rows(spec, store, RowHashes(now, now))

    def made(seed: int, fingerprint: str, cuts: int = 1) -> StudyOutcome:
        data = DataSummary(source="texts.csv", splits={}, cuts=cuts)
        return replace(study("grid", [], seed=seed), data=data, attributes={"data_fingerprint": fingerprint})

    assert version_caveats([made(0, "x"), made(1, "x"), made(2, "y", cuts=3)]) == []  # a cut per seed
    (told,) = version_caveats([made(0, "x"), made(1, "y")])
    assert told == (
        "The data have changed between studies, so their scores may not compare: fingerprint x (grid seed 0), y (grid "
        "seed 1)."
    )
