"""An experiment that was fetched from a cluster: what is done with it here, and with what was recorded of it before."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fetching import SPEC, Member, fetched
from tests.support.head_server import HeadServer, bundle, tarred
from trainables.data.row_hashes import hashes_of
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.experiment import run_experiment
from tuning.outcome import FinalModel
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.run_folder.folder import claim_run_folder
from tuning.selection.evaluations import final_evaluation_id
from tuning.spec.loading import load_spec
from tuning.spec.store_url import sqlite_url
from tuning.store.evaluation_ledger import EvaluationLedger, TestRows
from tuning.store.study_store import StudyStore

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("laptop")]


def test_what_was_fetched_is_closed_to_other_accounts_and_rm_takes_all_of_it(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0, capsys.readouterr().err
    folder = laptop / "runs/reviews"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert main(["rm", "reviews", "--yes"]) == 0, capsys.readouterr().err
    assert not folder.exists()


def test_nothing_is_gone_on_with_that_was_fetched_unless_asked_for_by_name(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0
    capsys.readouterr()
    for insist in ([], ["--force"]):
        assert main(["resume", "reviews", *insist]) == 2
        assert "was fetched from a cluster" in capsys.readouterr().err
    spec = load_spec(laptop / "runs/reviews/spec.yaml")
    with pytest.raises(RunFolderError, match="--trust-fetched"):
        run_experiment(spec, resume=True, force=True)
    claim_run_folder(spec, resume=True, trust_fetched=True)
    claim_run_folder(spec, resume=True)  # said once, it is this machine's, and no fetch replaces it any more
    assert fetched(HeadServer(bundle(tarred(honest)))) == 2
    assert "holds something that did not come from a cluster" in capsys.readouterr().err


def test_what_needs_the_data_of_the_cluster_is_gone_on_with_there(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"path": "/cluster/rows.csv", "text": ["text"], "label": "label"}
    spec = yaml.safe_dump(SPEC | {"task": "text_classification", "trainable": "finetune", "data": data}).encode()
    members = [(name, spec if name == "reviews/spec.yaml" else content) for name, content in honest]
    assert fetched(HeadServer(bundle(tarred(members)))) == 0
    capsys.readouterr()
    for words in (["resume", "reviews"], ["extend", "reviews", "seeds=[0, 1]"]):
        assert main([*words, "--trust-fetched"]) == 2
        told = capsys.readouterr().err
        assert "/cluster/rows.csv" in told
        assert "on its cluster the same `tunefleet submit` goes on with --resume, --extend" in told


def test_a_second_fetch_keeps_the_evaluations_on_test_that_were_recorded_here(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0
    looks = [FinalModel("/m", "a", 1.0, seed, {"accuracy": 0.5}, 100, 1.5, 7.0) for seed in (0, 1)]

    def recorded(act: Callable[[StudyStore], Any]) -> Any:
        store = StudyStore(sqlite_url(laptop / "runs/reviews/study.db"))
        try:
            return act(store)
        finally:
            store.close()

    def look(store: StudyStore) -> None:
        for model in looks:
            store.writer("reviews", store.load("reviews").studies[0]).add_final(model)

    recorded(look)
    for _ in range(2):
        assert fetched(HeadServer(bundle(tarred(honest)))) == 0, capsys.readouterr().err
        assert recorded(lambda store: store.load("reviews").studies[0].finals) == tuple(looks)
    assert json.loads((laptop / "runs/reviews/results.json").read_text())["studies"][0]["finals"] != []


def test_a_fetch_brings_evaluations_into_the_ledger_and_a_shown_score_stays_shown(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0
    store, ledger = laptop / "runs/reviews/study.db", EvaluationLedger(laptop / "runs")
    assert ledger.read().entries == {}  # of a version that recorded no rows
    hidden = FinalModel("/m", "a", 1.0, 0, {}, 100, 1.5, 7.0, "packed")
    shown = FinalModel("/m", "a", 1.0, 0, {"accuracy": 0.5}, 100, 1.5, 7.0)

    def tell(model: FinalModel) -> None:
        with contextlib.closing(StudyStore(sqlite_url(store))) as opened:
            (study, *_) = opened.load("reviews").studies
            writer = opened.writer("reviews", study)
            writer.add_final(model)
            writer.set_test_rows(
                TestRows.of(hashes_of([("a",), ("b",)])).to_json(), EarlierEvaluations(2, 0, 0, (), 0, 0, ())
            )

    tell(hidden)
    with_rows = [(name, store.read_bytes() if name == "reviews/study.db" else content) for name, content in honest]
    tell(shown)
    assert fetched(HeadServer(bundle(tarred(with_rows)))) == 0, capsys.readouterr().err
    with contextlib.closing(StudyStore(sqlite_url(store))) as opened:
        (study, *_) = opened.load("reviews").studies
    assert study.finals == (shown,)
    assert list(ledger.read().entries) == [final_evaluation_id("reviews", study, shown)]
