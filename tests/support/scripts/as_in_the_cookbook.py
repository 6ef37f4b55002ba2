"""A search in the steps of the Hub cookbook's recipe: a classifier, a named study in a database of Optuna's, accuracy.

Calls, names, ranges and directions are the recipe's, the words are ours. `python as_in_the_cookbook.py MODEL_FOLDER`
"""

import sys

import optuna
from datasets import Dataset
from optuna.importance import get_param_importances
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed

STUDY, DATABASE = "transformers_optuna_study", "sqlite:///optuna_trials.db"
MODEL = sys.argv[1]
TRIALS = 3  # the recipe: 5

set_seed(42)
tokenizer = AutoTokenizer.from_pretrained(MODEL)
reviews = Dataset.from_dict(
    {"text": ["a fine wave" if i % 2 else "a dull street" for i in range(64)], "label": [i % 2 for i in range(64)]}
)
tokenized = reviews.map(
    lambda batch: tokenizer(batch["text"], padding="max_length", truncation=True, max_length=16), batched=True
).select_columns(["input_ids", "attention_mask", "label"])

# The recipe makes the study first; the search then finds one of its name.
study = optuna.create_study(study_name=STUDY, direction="maximize", storage=DATABASE, load_if_exists=True)


def model_init():
    """Makes the model that a trial begins with."""
    return AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=2)


def compute_metrics(predicted):
    """Returns the accuracy."""
    return {"accuracy": float((predicted.predictions.argmax(axis=-1) == predicted.label_ids).mean())}


def optuna_hp_space(trial):
    """Suggests values in the recipe's space."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [16, 32, 64, 128]),
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 0.3),
    }


trainer = Trainer(
    model_init=model_init,
    args=TrainingArguments(
        output_dir="results",
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        logging_strategy="epoch",
        num_train_epochs=3,
        report_to="none",
        run_name=STUDY,
        use_cpu=True,
    ),
    train_dataset=tokenized.select(range(48)),
    eval_dataset=tokenized.select(range(48, 64)),
    processing_class=tokenizer,
    compute_metrics=compute_metrics,
)
best_run = trainer.hyperparameter_search(
    direction="maximize",
    backend="optuna",
    hp_space=optuna_hp_space,
    n_trials=TRIALS,
    compute_objective=lambda metrics: metrics["eval_accuracy"],
    study_name=STUDY,
    storage=DATABASE,
    load_if_exists=True,
)

# The recipe draws history, values of each epoch and importances from the study in the database.
study = optuna.load_study(study_name=STUDY, storage=DATABASE)
curves = [len(trial.intermediate_values) for trial in study.trials if trial.value is not None]
print("trials in the database", len(curves), "epochs of each", curves, "best", study.best_value == best_run.objective)
print("importances of", sorted(get_param_importances(study)))
print("objective", best_run.objective, "values", sorted(best_run.hyperparameters))
