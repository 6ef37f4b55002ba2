"""Packing on a real device. Run on a machine with a GPU: `pytest -m gpu`; skipped elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.gpu.packing import trials_by_memory
from trainables.finetune.finetune import FineTuning
from trainables.finetune.footprint import measure_footprint
from trainables.spec import FineTuneSpec, Subset

pytestmark = [pytest.mark.gpu, pytest.mark.system]

MIB = 2**20


@pytest.fixture(scope="module")
def spec(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    all_rows = tiny_spec.data.model_copy(update={"subset": Subset()})
    return tiny_spec.model_copy(update={"precision": "auto", "data": all_rows})


def in_a_process(code: str, *arguments: str) -> str:
    """Runs `code` in a process, as a peak and a cap belong to one; returns its last line."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


MEASURE = """
import json, sys
from trainables.finetune.footprint import measure_footprint
from trainables.spec import FineTuneSpec
spec = FineTuneSpec.model_validate_json(sys.argv[1])
print(json.dumps(measure_footprint({"per_device_train_batch_size": int(sys.argv[2])}, spec)))
"""


def test_a_trial_is_measured_on_the_device(spec: FineTuneSpec) -> None:
    small, large = (json.loads(in_a_process(MEASURE, spec.model_dump_json(), size)) for size in ("8", "256"))
    names = ("device", "total_bytes", "peak_bytes", "context_bytes", "seconds")
    found = dict(zip(names, small, strict=True))
    assert found["device"] == torch.cuda.get_device_name()
    assert found["total_bytes"] == torch.cuda.mem_get_info()[1]
    assert MIB <= found["peak_bytes"] < dict(zip(names, large, strict=True))["peak_bytes"] < found["total_bytes"] / 4
    assert found["context_bytes"] > 50 * MIB
    assert found["seconds"] > 0


def test_the_measured_peak_is_no_less_than_what_the_trial_then_takes(spec: FineTuneSpec) -> None:
    footprint = measure_footprint({"per_device_train_batch_size": 64}, spec)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    FineTuning({"per_device_train_batch_size": 64}, spec).advance(1)
    assert torch.cuda.max_memory_allocated() <= footprint.peak_bytes
    assert trials_by_memory(footprint) >= 2


CAPPED = """
import ray, torch
from trainables.machine.device_memory import cap_device_memory, capped_fraction

def over_its_share():
    cap_device_memory()
    total = torch.cuda.get_device_properties(0).total_memory
    allowed = capped_fraction(0.25, total) * total
    torch.empty(int(allowed * 0.9), dtype=torch.uint8, device="cuda")
    torch.cuda.empty_cache()
    try:
        torch.empty(int(allowed * 1.1), dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError:
        return "refused"
    return "taken"

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
print(ray.get(ray.remote(num_gpus=0.25)(over_its_share).remote()))
"""


def test_a_slot_cannot_take_more_memory_than_its_share() -> None:
    assert in_a_process(CAPPED) == "refused"


RUN = """
import sys
from tuning import load_spec, run_experiment
raw = {
    "name": "packed", "task": "text_classification", "model": sys.argv[2], "epochs": 1,
    "data": {"path": sys.argv[1], "text": ["text"], "label": "label", "max_length": 32},
    "space": {"learning_rate": {"choice": [1e-4, 3e-4, 1e-3, 3e-3]}},
    "strategies": [{"kind": "grid"}],
    "cluster": {"gpus_per_trial": sys.argv[4], "storage": sys.argv[3]},
}
(study,) = run_experiment(load_spec(raw)).studies
print(study.attributes["trials_per_gpu"], len([t for t in study.trials if t.reports]), study.attributes["gpu_sharing"])
"""


@pytest.mark.parametrize("share", ["auto", "0.5"])
def test_trials_share_the_device_and_the_record_says_how(
    share: str, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    count, trials, how = in_a_process(RUN, str(tiny_data), str(tiny_model), str(tmp_path), share).split(" ", 2)
    assert int(trials) == 4
    assert int(count) == 2 if share == "0.5" else int(count) >= 1
    assert share != "auto" or "by speed" in how
    assert int(count) == 1 or "under MPS" in how or "in time slices, without MPS: " in how
