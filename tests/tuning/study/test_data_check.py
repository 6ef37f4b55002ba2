"""Before the first trial the rows are read and tokenised once, where trials will run; unusable ones end the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.session import connect
from tests.support.specs import places_fields
from trainables.data.encoding import prepare_task
from trainables.errors import InputError
from trainables.tasks import TaskError
from tuning import load_spec, run_experiment
from tuning.comparison import compare
from tuning.report.page.document import page_content, render_page
from tuning.selection.winner import winner_of
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec
from tuning.store.evaluation_ledger import EvaluationLedger
from tuning.store.study_store import StudyStore
from tuning.study.data_check import check_data, node_options

pytestmark = pytest.mark.ray


def experiment(folder: Path, data: Path, model: Path, **fields: object) -> ExperimentSpec:
    return load_spec(places_fields(folder, data, model, strategies=[{"kind": "random", "trials": 1}], **fields))


def keep_quiet(line: str) -> None:
    """Nothing is said here."""


def test_the_data_are_recorded_with_the_tokens_of_every_split_and_found_by_the_trials(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = experiment(tmp_path, tiny_data, tiny_model, name="told")
    outcome = run_experiment(spec)
    data = outcome.data
    assert data is not None
    assert data == StudyStore(spec.store_url).load("told").data
    assert data.tokens.keys() == {"train", "validation", "test"}
    assert data.splits["validation"].rows == outcome.studies[0].attributes["validation_rows"]
    assert data.source == str(tiny_data)
    out = capsys.readouterr().out
    assert out.index(f"data: {tiny_data}") < out.index("trial 0")
    # As a trial finds it in the store of its node, entry by entry.
    assert data == prepare_task(spec.trial_spec(0), None).summary(test=True)


def test_every_search_seed_trains_on_its_own_cut_of_the_rows_and_all_are_scored_on_one_test_split(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = {"data.split_seed": "per_seed", "seeds": [0, 1]}
    spec = load_spec(experiment(tmp_path, tiny_data, tiny_model, name="cuts"), cut)
    outcome = run_experiment(spec)
    assert outcome.data is not None
    assert outcome.data.cuts == 2
    fingerprints = {study.attributes["data_fingerprint"] for study in outcome.studies}
    assert len(fingerprints) == 2
    (first, second) = (study.test.scored for study in outcome.studies if study.test)
    assert first is not None
    assert second is not None
    assert first.labels == second.labels
    assert "each of 2 search seeds has its own cut" in capsys.readouterr().out
    assert any("rows of its own" in caveat for caveat in winner_of(outcome).caveats)


def test_each_node_that_holds_trials_reads_the_data_and_the_first_one_tells(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """The one node here, twice."""
    spec = experiment(tmp_path, tiny_data, tiny_model, name="nodes")
    with connect(spec.cluster, run_folder=spec.run_folder) as session:
        alone, twice = (check_data(spec, replace(session, nodes=session.nodes * n), keep_quiet) for n in (1, 2))
        asked = [len(node_options(replace(session, nodes=session.nodes * n))) for n in (0, 1, 2)]
    assert alone is not None
    assert twice is not None
    assert alone.summary == twice.summary
    assert alone.rows.test.tolist() == twice.rows.test.tolist()
    assert asked == [1, 1, 2]


def test_a_later_experiment_is_told_who_has_looked_at_its_test_rows(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {f"data.subset.{split}": None for split in ("validation", "test")}
    first = load_spec(experiment(tmp_path, tiny_data, tiny_model, name="first"), whole)
    (study,) = run_experiment(first).studies
    assert study.test_memory is not None
    assert (study.test_memory.models, study.test_memory.trained) == (0, 0)
    assert "used before" not in capsys.readouterr().out
    second = load_spec(first, {"name": "second", "data.seed": 1, "data.subset.train": 150})
    outcome = run_experiment(second)
    memory = outcome.test_memory
    assert memory is not None
    assert (memory.models, memory.experiments, memory.rows, memory.train_rows) == (1, ("first",), 96, 198)
    assert 0 < memory.seen < 96
    assert 0 < memory.trained < 96
    said = " ".join(capsys.readouterr().out.split())
    told = f"1 model of earlier experiments (first) were evaluated on {memory.seen} of the 96 test rows"
    assert told in said
    caveats = " ".join(compare(outcome).caveats)
    assert told in caveats
    assert f"{memory.trained} of the 198 training and validation rows were test rows of first" in caveats
    assert "on the test rows once: 1 chosen model." in caveats
    assert told in render_page(page_content(outcome, second.to_yaml()))
    assert len(EvaluationLedger(tmp_path).read().entries) == 2


def test_data_that_cannot_be_used_end_the_run_before_a_trial_with_the_users_own_words(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "places.csv"
    copy.write_text(tiny_data.read_text())
    spec = experiment(tmp_path, copy, tiny_model, name="refused")
    copy.write_text("text,label\n" + "\n".join(f"always the same {i},sea" for i in range(50)))  # since it was checked
    with (
        connect(spec.cluster, run_folder=spec.run_folder) as session,
        pytest.raises(TaskError, match=r"data\.label: 'sea': is the only class"),
    ):
        check_data(spec, session, keep_quiet)
    with pytest.raises(InputError, match=r"is the only class"):
        run_experiment(spec, progress=False)
    assert not (spec.run_folder / "spec.yaml").exists()  # the name is free again


def test_a_warmup_that_only_the_rows_show_to_be_endless_ends_the_run_before_a_trial(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "places.csv"
    copy.write_text(tiny_data.read_text())
    many = copy.read_text() + "".join(f"again {number % 3},sea\n" for number in range(2000))
    copy.write_text(many)  # lines enough for the warm-up, rows not: most are duplicates
    fixed, data = {"warmup_steps": 200}, {"path": str(copy), "subset": {}}
    one = [{"kind": "random", "trials": 1}]
    spec = load_spec(places_fields(tmp_path, copy, tiny_model, name="endless", strategies=one, fixed=fixed, data=data))
    with pytest.raises(SpecError, match=r"fixed\.warmup_steps: 200: a trial has at most \d\d optimizer steps"):
        run_experiment(spec, progress=False)
    assert not (spec.run_folder / "spec.yaml").exists()
