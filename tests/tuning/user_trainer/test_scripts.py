"""Searches as users start them: a script with a module beside it, and code without a file, as in a notebook's cell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
PARTS = """
from tests.support.user_trainers import rows, tiny_model

DROPOUT = 0.2

def model_init(trial):
    return tiny_model(hidden_dropout_prob=DROPOUT)
"""
SCRIPT = """
import tunefleet
from transformers import Trainer, TrainingArguments
from tests.support.user_trainers import rows, tiny_model

tunefleet.install()


class Halved(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        return (loss / 2, outputs) if return_outputs else loss / 2


def hp_space(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True)}


arguments = TrainingArguments(
    "unused", num_train_epochs=1, eval_strategy="epoch", use_cpu=True, report_to="none", remove_unused_columns=True
)
trainer = Halved(
    model_init=model_init,
    args=arguments,
    train_dataset=rows(64).remove_columns("row"),
    eval_dataset=rows(32, 1).remove_columns("row"),
)
best = trainer.hyperparameter_search(hp_space, backend="tunefleet", n_trials=2, n_jobs=1, name="mine")
print("the same:", best.objective == trainer.evaluate()["eval_loss"], trainer.args.learning_rate)
print("halved:", best.objective < 0.5, trainer.model.config.hidden_dropout_prob)
"""


def started(folder: Path, *command: str) -> str:
    """The output of a Python that is started in `folder`."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tuning' / 'api'}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.smoke
def test_a_script_with_a_module_beside_it_is_searched(tmp_path: Path) -> None:
    scripts, elsewhere = tmp_path / "scripts", tmp_path / "elsewhere"
    scripts.mkdir()
    elsewhere.mkdir()
    (scripts / "parts.py").write_text(PARTS)
    (scripts / "script.py").write_text(f"from parts import model_init\n{SCRIPT}")
    shown = started(elsewhere, str(scripts / "script.py"))
    assert "the same: True" in shown
    assert "halved: True 0.2" in shown
    assert (elsewhere / "runs" / "mine" / "study.db").is_file()


def test_code_without_a_file_is_searched(tmp_path: Path) -> None:
    own = "def model_init(trial=None):\n    return tiny_model(hidden_dropout_prob=0.3)\n"
    shown = started(tmp_path, "-c", f"from tests.support.user_trainers import tiny_model\n{own}{SCRIPT}")
    assert "the same: True" in shown
    assert "halved: True 0.3" in shown
