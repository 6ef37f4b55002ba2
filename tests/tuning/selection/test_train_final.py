"""The final training of a model to keep: on which rows, and from a search to a folder that transformers loads."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.hub_server import TOKEN, running_hub, use_hub
from tests.support.specs import curve_fields, places_fields
from trainables.spec import FineTuneSpec
from trainables.training import Scores
from tuning import load_spec, run_experiment
from tuning.cli import main
from tuning.outcome import ExperimentOutcome, FinalModel
from tuning.selection.hidden_score import HiddenScore, pack_score, unpack_score
from tuning.selection.model_folder import ModelFolder
from tuning.selection.schedules import segments_of
from tuning.selection.winner import winner_of
from tuning.spec.models import ExperimentSpec
from tuning.spec.store_url import sqlite_url
from tuning.store.evaluation_ledger import EvaluationLedger
from tuning.store.study_store import StudyStore


@pytest.mark.unit
def test_what_was_said_to_the_test_rows_is_in_the_order_of_the_split(tiny_spec: FineTuneSpec) -> None:
    from trainables.finetune.finetune import FineTuning

    by_length = []
    for tokens in (8, 32):
        training = FineTuning({"data.max_length": tokens}, tiny_spec)
        labels = training.data.source.rows.test["label"]
        scores = training.score("test")
        assert scores.labels == tuple(labels)
        assert scores.predictions is not None
        assert np.mean(np.equal(scores.predictions, labels)) == pytest.approx(scores.metrics["accuracy"])
        assert training.score("validation").labels is None
        by_length.append(training.data.test["labels"])
    assert by_length[0] != by_length[1]


@pytest.mark.unit
def test_a_final_training_sees_training_and_validation_rows_and_judges_on_neither(tiny_spec: FineTuneSpec) -> None:
    from trainables.finetune.final_training import FinalTraining
    from trainables.finetune.finetune import FineTuning

    plain, final = FineTuning({}, tiny_spec), FinalTraining({}, tiny_spec)
    train, validation = len(plain.data.train), len(plain.data.validation)
    assert len(final.data.train) == train + validation
    assert final.data.train[train]["input_ids"] == plain.data.validation[0]["input_ids"]
    epoch, metrics, _ = final.advance(1)
    assert (epoch, final.examples, metrics) == (1, train + validation, {})
    assert sorted(final.trainer.segment) == list(range(train + validation))
    with pytest.raises(ValueError, match="were trained on"):
        final.score("validation")
    assert final.score("test").rows == len(plain.data.test)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("trainable", "rule"),
    [("learning_curve", "is a formula"), ("tests.support.own_trainables:train", "is code of your own")],
)
def test_what_makes_no_model_for_transformers_is_refused(
    tmp_path: Path, trainable: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = curve_fields(tmp_path, name="formula", trainable=trainable)
    (tmp_path / "formula").mkdir()
    (tmp_path / "formula" / "spec.yaml").write_text(yaml.safe_dump(raw))
    assert main(["train-final", "formula", "--storage", str(tmp_path)]) == 2
    assert rule in capsys.readouterr().err


@pytest.fixture(scope="module")
def searched(
    ray_session: None, tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExperimentSpec, ExperimentOutcome]:
    """A population whose best model changed its values on the way, confirmed."""
    raw = places_fields(
        tmp_path_factory.mktemp("runs"),
        tiny_data,
        tiny_model,
        epochs=3,
        objective={"metric": "loss", "mode": "min"},  # has no ties
        space={"learning_rate": {"loguniform": [3e-5, 3e-3]}, "weight_decay": {"uniform": [0, 0.3]}},
        fixed={"per_device_train_batch_size": 16},
        strategies=[{"kind": "pbt", "population": 2, "quantile": 0.5, "factors": [4.0], "resample_probability": 0}],
        confirm={"top": 1, "seeds": 2},
    )
    spec = load_spec(raw)
    return spec, run_experiment(spec, progress=False)


@pytest.mark.ray
def test_a_replayed_schedule_is_the_way_that_the_member_took(
    searched: tuple[ExperimentSpec, ExperimentOutcome], tmp_path: Path
) -> None:
    from trainables.checkpoints.replay import replay
    from trainables.lookup import build_training

    spec, outcome = searched
    winner = winner_of(outcome)
    assert len(winner.candidate.schedule) > 1
    trial_of = next(t for t in winner.study.trials if t.id == winner.candidate.trial)
    reported = next(r for r in trial_of.reports[::-1] if r.epoch == winner.candidate.epoch)
    _, evaluation = replay(segments_of(winner.candidate.schedule), build_training, spec.trial_spec(0), tmp_path)
    assert evaluation.metrics == pytest.approx(reported.metrics, rel=1e-6)  # a slot has fewer threads than this process
    assert evaluation.params == reported.params


@pytest.mark.ray
def test_the_folder_is_a_model_that_transformers_loads_with_all_that_is_known_of_it(
    searched: tuple[ExperimentSpec, ExperimentOutcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import ModelCard
    from transformers import pipeline

    spec, outcome = searched
    (confirmed,) = outcome.studies
    folder = tmp_path / "model"
    words = ["train-final", "places", "--storage", spec.cluster.storage, "--out", str(folder)]
    assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert "its test score (24 rows) is kept hidden" in said.err
    (hidden,) = StudyStore(spec.store_url).load("places").studies[0].finals
    assert (hidden.hidden, hidden.metrics, hidden.rows) == (True, {}, 24)
    assert hidden.sealed is not None
    score = unpack_score(hidden.sealed).scores.metrics["accuracy"]
    assert main(["results", "places", "--storage", spec.cluster.storage, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["studies"][0]["finals"][0]["hidden"] is True
    unseen = ModelCard.load(folder / "README.md")
    assert not unseen.data.eval_results
    assert "Its score on the 24 test rows is hidden" in unseen.text
    looks = EvaluationLedger(spec.run_folder.parent).read().entries
    assert len(looks) == 2  # of the confirmations

    assert main([*words, "--reveal-test"]) == 0
    said = capsys.readouterr()
    assert "test loss, evaluated once: " in said.err
    assert "training the configuration of" not in said.err
    assert len(EvaluationLedger(spec.run_folder.parent).read().entries) == 3
    (shown,) = StudyStore(spec.store_url).load("places").studies[0].finals
    assert shown == replace(hidden, metrics=shown.metrics, sealed=None)
    assert shown.metrics["accuracy"] == score
    assert main(["compare", "places", "--storage", spec.cluster.storage, "--format", "markdown"]) == 0
    told = "Each model was evaluated on the test rows once: 2 chosen models and 1 final model."
    assert told in capsys.readouterr().out
    classify = pipeline("text-classification", str(folder))
    assert {classify(text)[0]["label"] for text in ("wave salt boat", "tree moss deer", "shop tram")} <= {
        "sea",
        "town",
        "wood",
    }
    assert json.loads((folder / "config.json").read_text())["label2id"] == {"sea": 0, "town": 1, "wood": 2}
    assert {"model.safetensors", "tokenizer.json", "best.yaml", "README.md"} <= {path.name for path in folder.iterdir()}

    (model,) = StudyStore(spec.store_url).load("places").studies[0].finals
    assert (model.folder, model.seed, model.rows) == (str(folder), 1000, len(confirmed.confirmed()[0].rows.labels))
    card = ModelCard.load(folder / "README.md")
    (told,) = [r for r in card.data.eval_results if r.metric_type == "accuracy"]
    assert (told.metric_value, told.dataset_split, card.data.license) == (model.metrics["accuracy"], "test", None)
    for words_of_card in (
        str(confirmed.attributes["data_fingerprint"]),
        "replayed in flight",
        "2 training seeds",
        "- pbt: learning_rate: loguniform [3e-05, 0.003], weight_decay: uniform [0",
        "tunefleet train-final places --strategy pbt --seed 1000",
        "transformers 5",
        f"| accuracy | {model.metrics['accuracy']:.4f} | 0.",
    ):
        assert words_of_card in card.text
    assert "was not confirmed" not in card.text

    best = load_spec(folder / "best.yaml")
    assert (best.name, best.fixed, best.epochs) == ("places-best", spec.fixed, 3)
    (values,) = best.space.grid(1)
    assert values == {n: confirmed.confirmed()[0].schedule[-1].params[n] for n in ("learning_rate", "weight_decay")}
    assert "# It is a schedule" in (folder / "best.yaml").read_text()

    assert main(words) == 2
    assert "holds a model already" in capsys.readouterr().err
    assert len(StudyStore(spec.store_url).load("places").studies[0].finals) == 1


@pytest.mark.ray
def test_a_model_that_is_pushed_is_private_and_names_no_place_of_this_machine(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec, _ = searched
    folder = tmp_path / "model"
    words = ["train-final", "places", "--storage", spec.cluster.storage, "--out", str(folder)]
    with running_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home", token=TOKEN)
        assert main([*words, "--push-to-hub", "someone/places"]) == 0, capsys.readouterr().err
    assert hub.private == {"someone/places": True}
    pushed = hub.files["someone/places"]
    assert pushed == {path.name: path.read_bytes() for path in folder.iterdir()}  # `hf upload` would send no more
    places = {str(tiny_model), str(tiny_data), spec.cluster.storage, str(tmp_path), str(Path.home())}
    for name, content in pushed.items():
        if name.endswith((".yaml", ".md", ".json", ".txt")):
            assert [place for place in places if re.search(rf"{place}\b", content.decode())] == [], name
    best = yaml.safe_load(pushed["best.yaml"])
    assert best["data"]["path"] == tiny_data.name
    assert "# Places of the machine that made it are left out." in pushed["best.yaml"].decode()
    assert "#   data.path\n" in pushed["best.yaml"].decode()


@pytest.mark.ray
def test_what_cannot_be_pushed_or_recorded_is_found_out_before_the_training_and_the_evaluation_on_test(
    searched: tuple[ExperimentSpec, ExperimentOutcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec, _ = searched
    shutil.copytree(spec.run_folder, tmp_path / "places")
    store = tmp_path / "places" / "study.db"
    words = ["train-final", "places", "--storage", str(tmp_path), "--out", str(tmp_path / "model")]
    before = len(StudyStore(sqlite_url(store)).load("places").studies[0].finals)

    def refused(*more: str) -> str:
        assert main([*words, *more]) != 0
        said = capsys.readouterr().err
        assert "training the configuration of" not in said
        return said

    with running_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home", token=TOKEN)
        assert "others/places: cannot make the repository: HTTP 403" in refused("--push-to-hub", "others/places")
        use_hub(monkeypatch, hub, tmp_path / "home")
        assert "set HF_TOKEN or `hf auth login`" in refused("--push-to-hub", "someone/places")
    assert "cannot be written: /proc" in refused("--out", "/proc/model")
    with contextlib.closing(sqlite3.connect(store)) as connection:
        for change in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER no_{change} BEFORE {change} ON study_user_attributes "
                "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
            )
    assert "attempt to write a readonly database" in refused()
    assert len(StudyStore(sqlite_url(store)).load("places").studies[0].finals) == before
    assert not (tmp_path / "model").exists()


@pytest.mark.ray
def test_an_evaluation_is_in_the_ledger_before_its_score_is_in_the_store_or_on_the_screen(
    searched: tuple[ExperimentSpec, ExperimentOutcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, outcome = searched
    shutil.copytree(spec.run_folder, tmp_path / "places")
    url, folder = sqlite_url(tmp_path / "places" / "study.db"), tmp_path / "model"
    winner = winner_of(outcome)
    hidden = pack_score(
        HiddenScore(Scores({"loss": 0.123456, "accuracy": 0.75}, 2, (0.0, 1.0), (0.0, 0.0)), {}, ("a", "b"))
    )
    at = (winner.candidate.trial, winner.candidate.epoch)
    StudyStore(url).writer("places", winner.study).add_final(FinalModel(str(folder), *at, 7, {}, 2, 1.0, 9.0, hidden))
    ModelFolder(folder).write({"best.yaml": b"a", "README.md": b"the card of before"})
    with contextlib.closing(sqlite3.connect(tmp_path / "places" / "study.db")) as connection:
        refuse = "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        connection.execute(f"CREATE TRIGGER no BEFORE UPDATE ON study_user_attributes {refuse}")
    words = ["train-final", "places", "--storage", str(tmp_path), "--out", str(folder), "--reveal-test"]
    assert main(words) == 1
    said = "".join(capsys.readouterr())
    assert "readonly" in said
    assert "0.1235" not in said
    assert (folder / "README.md").read_text() == "the card of before"
    looks = EvaluationLedger(tmp_path).read().entries
    assert sum(look.endswith("/7/9.0") for look in looks) == 1
    assert sum("/final/" not in look for look in looks) == 2  # a copy brings the looks of its confirmations along
