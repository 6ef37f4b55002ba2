"""Scripts for `Trainer.hyperparameter_search` that are published run on tunefleet with one line more.

Ray's PBT example is read from the installed Ray; the transformers guide's script and the Hub cookbook's are in our own
words, with their calls and their names. tuning/user_trainer/README.md lists what has to be changed in each.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.drivers import own_environment
from tests.support.ray_pbt_example import changed_example
from tests.support.tiny_models import FAMILIES, write_tokenizer
from tuning.outcome import StudyOutcome

pytestmark = pytest.mark.system

PERTURBED = ("learning_rate", "weight_decay", "per_device_train_batch_size")
SCRIPTS = Path(__file__).parents[2] / "support/scripts"


def run_with_one_line_more(script: str, backend: str, folder: Path, *arguments: str) -> str:
    """The output of the script when tunefleet searches in place of `backend`."""
    line = f"import tunefleet; tunefleet.install(backends=[{backend!r}])"
    path = folder / "script.py"
    path.write_text(f"{line}\n{script}")
    environment = own_environment() | {"WANDB_MODE": "disabled"}
    environment["PYTHONPATH"] += f":{Path(__file__).parents[3] / 'tuning/api'}"
    command = [sys.executable, str(path), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def the_study_in(folder: Path) -> StudyOutcome:
    """The recorded study of the only experiment in `folder`/runs."""
    from tuning.notebook.commands import load_outcome

    (run,) = (spec.parent for spec in (folder / "runs").glob("*/spec.yaml"))
    (study,) = load_outcome(str(run)).studies
    return study


def test_the_script_of_the_transformers_guide_runs_with_one_line_more(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = Qwen3Config(vocab_size=320, intermediate_size=64, head_dim=16, max_position_embeddings=64, **small)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    write_tokenizer(next(family for family in FAMILIES if str(family) == "qwen2"), tmp_path / "model")
    script = (SCRIPTS / "as_in_the_guide.py").read_text()
    printed = run_with_one_line_more(script, "optuna", tmp_path, str(tmp_path / "model"))
    assert "values ['learning_rate', 'per_device_train_batch_size']" in printed
    study = the_study_in(tmp_path)
    assert len(study.trials) == 3
    best = min(report.metrics["loss"] for trial in study.trials for report in trial.reports)
    assert float(re.findall(r"objective ([\d.]+)", printed)[-1]) == best


def test_the_recipe_of_the_hub_cookbook_runs_with_one_line_more(tmp_path: Path, tiny_model: Path) -> None:
    script = (SCRIPTS / "as_in_the_cookbook.py").read_text()
    printed = run_with_one_line_more(script, "optuna", tmp_path, str(tiny_model))
    assert "trials in the database 3 epochs of each [3, 3, 3] best True" in printed
    assert "values ['learning_rate', 'per_device_train_batch_size', 'weight_decay']" in printed


def test_the_pbt_example_of_ray_runs_with_one_line_more_and_its_members_train_with_their_own_values(
    tmp_path: Path, tiny_model: Path
) -> None:
    script, changed = changed_example(tiny_model)
    assert changed == ["data", "model", "TrainingArguments(logging_dir=)", "hyperparameter_search(local_dir=)"]
    run_with_one_line_more(script, "ray", tmp_path)
    study = the_study_in(tmp_path)
    assert len(study.trials) == 8  # as published: members do not wait, and of so many some take over in any order
    exploits = [(trial, exploit) for trial in study.trials for exploit in trial.lineage]
    assert exploits
    for trial, exploit in exploits:
        if exploit.reports < len(trial.reports):  # the next report tells what its optimizer and loader had
            shown = trial.reports[exploit.reports].params
            assert {name: shown[name] for name in PERTURBED} == {name: exploit.new[name] for name in PERTURBED}
