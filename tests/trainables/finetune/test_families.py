"""Of every family of models, scores do not depend on the batch, and the saved model is the scored one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.tiny_models import FAMILIES, WORDS, Family, write_model
from trainables.finetune.finetune import FineTuning
from trainables.finetune.model_folder import export_model
from trainables.models.encoders import check_model
from trainables.models.families import SEES_PADDING
from trainables.spec import DataSpec, FineTuneSpec, Objective
from trainables.tasks import TaskError

pytestmark = pytest.mark.unit

PARAMS = {"learning_rate": 1e-3, "per_device_train_batch_size": 8}
LONGEST = 40  # tokens


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 60 rows of 1 to 60 words, three classes; some texts hold what looks like special tokens."""
    rng = random.Random(0)
    rows = ["text,label"]
    for i in range(60):
        text = rng.choices(WORDS, k=rng.choice((1, 2, 5, 20, 60)))
        if i % 10 == 0:
            text += ["</s>", "<|endoftext|>", "<pad>", "[PAD]"]
        rows.append(f"{' '.join(text)} word{i},{'abc'[i % 3]}")
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture(scope="module")
def spec(family: Family, data: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuneSpec:
    return FineTuneSpec(
        task="text_classification",
        data=DataSpec(path=str(data), text=("text",), label="label", max_length=LONGEST),
        model=str(write_model(family, tmp_path_factory.mktemp("model"))),
        epochs=1,
        objective=Objective(metric="accuracy", mode="max"),
        precision="fp32",
    )


def scored(spec: FineTuneSpec, batch: int) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Returns test logits and validation metrics at a batch size."""
    trial = FineTuning(PARAMS, spec.model_copy(update={"eval_batch_size": batch}))
    return trial.trainer.predict(trial.data.test).predictions, dict(trial.score("validation").metrics)


def test_a_folder_of_the_family_is_found_in_order(spec: FineTuneSpec) -> None:
    assert check_model(spec) == []


def test_the_score_does_not_depend_on_the_size_of_the_batch(spec: FineTuneSpec) -> None:
    alone, metrics = scored(spec, 1)
    assert np.ptp(alone, axis=0).max() > 0.01  # the rows do differ
    for batch in (4, 16):
        together, same = scored(spec, batch)
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
        assert (together.argmax(-1) == alone.argmax(-1)).all()
        assert same == pytest.approx(metrics, rel=1e-5)


def test_what_is_trained_and_saved_scores_alike_in_plain_transformers(
    family: Family, spec: FineTuneSpec, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    trial = FineTuning(PARAMS, spec)
    before = [parameter.detach().clone() for parameter in trial.model.parameters()]
    trial.train_on(8 / len(trial.data.train))
    assert any(not torch.equal(old, new) for old, new in zip(before, trial.model.parameters(), strict=True))
    state, folder = tmp_path / "state", tmp_path / "final"
    state.mkdir()
    folder.mkdir()
    trial.save(state, weights_only=True)
    export_model(state, PARAMS, spec, folder)

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    stated = {part["pad_token_id"] for part in (saved, saved.get("text_config", saved))}
    assert stated == {tokenizer.pad_token_id} == {family.pads_with}
    assert check_model(spec.model_copy(update={"model": str(folder)})) == []

    texts = list(trial.data.source.rows.test["text"])
    padding = "max_length" if family.model_type in SEES_PADDING else True
    batch = tokenizer(texts, truncation=True, max_length=LONGEST, padding=padding, return_tensors="pt")
    takes = trial.data.test.column_names
    with torch.no_grad():
        plain = model.eval()(**{name: values for name, values in batch.items() if name in takes}).logits.numpy()
    own = np.empty_like(plain)
    own[trial.data.test_order] = trial.trainer.predict(trial.data.test).predictions
    np.testing.assert_allclose(plain, own, rtol=1e-4, atol=1e-5)


def test_a_key_of_a_nested_configuration_is_set_where_it_stands(tmp_path: Path, data: Path) -> None:
    gemma = next(family for family in FAMILIES if family.model_type == "gemma3")
    spec = FineTuneSpec(
        task="text_classification",
        data=DataSpec(path=str(data), text=("text",), label="label", max_length=LONGEST),
        model=str(write_model(gemma, tmp_path)),
        epochs=1,
        objective=Objective(metric="accuracy", mode="max"),
        precision="fp32",
    )
    assert check_model(spec, ["attention_dropout"]) == []
    assert [path for path, _ in check_model(spec, ["atention_dropout"])] == ["model.atention_dropout"]
    trial = FineTuning({**PARAMS, "model.attention_dropout": 0.25}, spec)
    assert trial.model.config.text_config.attention_dropout == 0.25
    assert trial.in_force()["model.attention_dropout"] == 0.25


def test_texts_that_become_no_token_are_refused_with_how_many(tmp_path: Path) -> None:
    """A tokenizer of words without one for unknown words leaves nothing of a text in another language."""
    gpt = next(family for family in FAMILIES if family.model_type == "gpt2")
    model = write_model(gpt, tmp_path / "model")
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"] = {"type": "BPE", "vocab": tokenizer["model"]["vocab"], "merges": [], "unk_token": None}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    rows = "".join(f"{'一二三四' if n < 40 else '<|endoftext|>'} {n},{'ab'[n % 2]}\n" for n in range(60))
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}")
    spec = FineTuneSpec(
        task="text_classification",
        data=DataSpec(path=str(tmp_path / "rows.csv"), text=("text",), label="label", max_length=LONGEST),
        model=str(model),
        epochs=1,
        objective=Objective(metric="accuracy", mode="max"),
    )
    with pytest.raises(TaskError, match=r"data\.text: '.*': \d+ of \d+ texts, .* become no token with this model"):
        FineTuning(PARAMS, spec)
