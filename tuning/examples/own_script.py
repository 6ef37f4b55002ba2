"""A script as it was written for `Trainer.hyperparameter_search`, with one line more: tunefleet runs its search.

Which of two topics a sentence is about. The first half of the file is the script of any fine-tuning; `python
own_script.py` searches, then evaluates and saves the best model.
"""

from __future__ import annotations

import random
from typing import Any

from datasets import Dataset
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)

import tunefleet
from trainables.models.encoders import resolve_model

tokenizer = AutoTokenizer.from_pretrained(resolve_model("minilm"))  # for real work: the name of your encoder
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
TOPICS = [["wave", "salt", "boat", "harbour", "storm"], ["tree", "moss", "deer", "path", "clearing"]]
FILLER = ["the", "a", "some", "old", "new", "small", "near", "far", "very", "quite", "and", "but"]


def sentences(count: int, seed: int) -> Dataset:
    """Synthetic rows; for real work: datasets.load_dataset(...)."""
    rng = random.Random(seed)
    labels = [number % 2 for number in range(count)]
    texts = [" ".join(rng.sample(FILLER, 8) + rng.choices(TOPICS[label], k=2)) for label in labels]
    rows = Dataset.from_dict({"text": texts, "label": labels})
    return rows.map(lambda batch: tokenizer(batch["text"]), batched=True, remove_columns="text")


def model_init(trial: Any) -> BertForSequenceClassification:
    """A new model for each trial, with the dropout that the search has chosen for it."""
    dropout = 0.1 if trial is None else trial.params["dropout"]  # the first model is made before there is a trial
    return BertForSequenceClassification(BertConfig(**SIZES, vocab_size=len(tokenizer), hidden_dropout_prob=dropout))


def hp_space(trial: Any) -> dict[str, Any]:
    """The search space: values may be computed, and names may depend on other values."""
    warm = trial.suggest_categorical("warm", [True, False])
    return {
        "learning_rate": 10 ** trial.suggest_float("log_rate", -3.5, -2.5),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [8, 16]),
        "warmup_steps": trial.suggest_float("warmup_share", 0.05, 0.3) if warm else 0,
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
    }


def compute_metrics(output: EvalPrediction) -> dict[str, float]:
    """The share of right answers."""
    return {"accuracy": float((output.predictions.argmax(-1) == output.label_ids).mean())}


if __name__ == "__main__":
    trainer = Trainer(
        model_init=model_init,
        args=TrainingArguments("own-script", num_train_epochs=2, eval_strategy="epoch", report_to="none"),
        train_dataset=sentences(256, seed=0),
        eval_dataset=sentences(64, seed=1),
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
    )

    tunefleet.install()  # the line that is added

    best = trainer.hyperparameter_search(
        hp_space=hp_space,
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        direction="maximize",
        backend="tunefleet",
        n_trials=4,
    )
    print(f"trial {best.run_id}: accuracy {best.objective:.3f} with {best.hyperparameters}")
    print(f"the Trainer has that model: accuracy {trainer.evaluate()['eval_accuracy']:.3f}")
    trainer.save_model("own-script-model")
