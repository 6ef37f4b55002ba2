"""A search in the steps of transformers' guide: a causal model, new for each trial; Optuna's space; the smallest loss.

Calls, names, ranges and directions are the guide's, the words are ours. `python as_in_the_guide.py MODEL_FOLDER`
"""

import sys

from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

PLACES = ("sea", "salt", "tree", "moss", "tram", "shop", "old")
MODEL = sys.argv[1]
TRIALS = 3  # the guide: 30

tokenizer = AutoTokenizer.from_pretrained(MODEL)
texts = [f"{PLACES[i % 7]} {PLACES[(i * 3 + 1) % 7]} {PLACES[(i * 5 + 2) % 7]}" for i in range(40)]
encoded = Dataset.from_dict({"input_ids": tokenizer(texts)["input_ids"]})


def model_init(trial):
    """Makes the model that a trial begins with."""
    return AutoModelForCausalLM.from_pretrained(MODEL)


def hp_space(trial):
    """Suggests values in the guide's space."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [16, 32, 64, 128]),
    }


def compute_objective(metrics):
    """Returns what is minimised."""
    return metrics["eval_loss"]


trainer = Trainer(
    model_init=model_init,
    args=TrainingArguments(output_dir="out", num_train_epochs=2, eval_strategy="epoch", use_cpu=True, report_to="none"),
    train_dataset=encoded.select(range(32)),
    eval_dataset=encoded.select(range(32, 40)),
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
best_run = trainer.hyperparameter_search(
    hp_space=hp_space,
    compute_objective=compute_objective,
    n_trials=TRIALS,
    direction="minimize",
    backend="optuna",
)

# As the guide ends: the best values go into the arguments, and the model is trained anew with them.
for name, value in best_run.hyperparameters.items():
    setattr(trainer.args, name, value)
trainer.train()
print("objective", best_run.objective, "values", sorted(best_run.hyperparameters))
