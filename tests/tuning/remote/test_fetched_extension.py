"""An experiment that was extended on a cluster, fetched, and is extended again where it was fetched to."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.support.head_server import HeadServer
from tests.support.serving import serving
from tests.support.simulated_studies import TICK, long_experiment
from trainables.data.row_hashes import hashes_of
from tuning.cli import main
from tuning.comparison.verdict_levels import verdict_number
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.remote.bundle import pack_bundle
from tuning.run_folder.experiments import load_experiment
from tuning.selection.evaluations import evaluation_ids
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec, Extension
from tuning.store.evaluation_ledger import EvaluationLedger, TestRows
from tuning.store.spec_diff import differing_keys
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import simulated_ray

pytestmark = pytest.mark.tune


def fetched(experiment: ExperimentSpec, scratch: Path) -> int:
    """Fetches what a cluster packs of the experiment into `runs`; returns the exit status."""
    scratch.mkdir()
    manifest = pack_bundle(experiment.name, experiment.cluster.storage, scratch)
    files = {part.name: (scratch / part.name).read_bytes() for part in manifest.parts}
    head = HeadServer({**files, "manifest.json": manifest.json().encode()}, name=experiment.name)
    with serving(head):
        return main(["fetch", experiment.name, "--address", head.url])


def test_what_was_fetched_is_extended_with_the_verdicts_of_before_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "laptop").mkdir()
    monkeypatch.chdir(tmp_path / "laptop")
    there = long_experiment(tmp_path / "cluster", strategies=[{"kind": "grid", "points": 1}], epochs=1, test=True)
    (tmp_path / "mine.yaml").write_text(there.to_yaml())
    with simulated_ray(tick=TICK):
        assert main(["run", str(tmp_path / "mine.yaml")]) == 0
        with contextlib.closing(StudyStore(there.store_url)) as store:  # as if it had read data
            writer = store.writer(there.name, store.load(there.name).studies[0])
            writer.set_test_rows(TestRows.of(hashes_of([("a",)])).to_json(), EarlierEvaluations(2, 0, 0, (), 0, 0, ()))
        assert main(["extend", str(there.run_folder), "seeds=[0, 1]"]) == 0
    assert fetched(there, tmp_path / "first") == 0
    before, _ = load_experiment(there.name, "runs")
    capsys.readouterr()
    more = ["extend", there.name, "seeds=[0, 1, 2]"]
    assert main(more) == 2
    told = capsys.readouterr().err
    assert "the same `tunefleet submit` and --resume (with --extend for more seeds or strategies)" in told
    with simulated_ray(tick=TICK):
        assert main([*more, "--trust-fetched"]) == 0
    here = Path("runs", there.name)
    outcome, text = load_experiment(there.name, "runs")
    spec = load_spec(here / "spec.yaml")
    assert (outcome.studies[:2], len(outcome.studies)) == (before.studies, 3)
    assert differing_keys(text, spec.to_yaml(), apart_from="cluster.storage") == ""
    assert spec.extended == tuple(Extension(seeds=seeds, strategies=1, judged=True) for seeds in (1, 2))
    assert verdict_number(outcome.studies) == (3, 1)
    assert [*EvaluationLedger(here.parent).read().entries] == evaluation_ids(there.name, outcome.studies)
    assert {path.name for path in here.iterdir() if path.is_file()} == {"spec.yaml", "study.db", "driver.lock"}
    assert fetched(there, tmp_path / "second") == 2  # it is no longer the cluster's
