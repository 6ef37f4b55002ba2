"""A trial computes in one precision from its first score to its last, and on a CPU it repeats bit for bit in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.finetune.finetune import FineTuning
from trainables.machine import devices, native_bf16
from trainables.machine.native_bf16 import cpu_native_bf16, gpus_native_bf16
from trainables.spec import FineTuneSpec

PARAMS = {"learning_rate": 1e-3, "model.hidden_dropout_prob": 0.2, "per_device_train_batch_size": 16}
on_a_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a CPU's numbers")
both = pytest.mark.parametrize("precision", ["fp32", "bf16"])


def trial(spec: FineTuneSpec, precision: str, **params: Any) -> FineTuning:
    return FineTuning({**PARAMS, **params}, spec.model_copy(update={"precision": precision}))


class Seen:
    """Notes the types of what a layer of the encoder and the loss are given."""

    def __init__(self, training: FineTuning, monkeypatch: pytest.MonkeyPatch) -> None:
        self.products: list[torch.dtype] = []
        self.losses: list[torch.dtype] = []
        linear = next(one for one in training.model.modules() if isinstance(one, torch.nn.Linear))
        linear.register_forward_hook(lambda _module, _inputs, output: self.products.append(output.dtype))
        loss = torch.nn.functional.cross_entropy

        def noting(logits: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
            self.losses.append(logits.dtype)
            return loss(logits, *args, **named)

        monkeypatch.setattr(torch.nn.functional, "cross_entropy", noting)

    def types(self) -> tuple[set[torch.dtype], set[torch.dtype]]:
        """The types since the last call."""
        found = set(self.products), set(self.losses)
        self.products.clear()
        self.losses.clear()
        return found


@pytest.mark.unit
@pytest.mark.parametrize(("precision", "products"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_scores_before_and_after_training_are_computed_as_the_training_is_and_the_loss_in_fp32(
    tiny_spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch, precision: str, products: torch.dtype
) -> None:
    training = trial(tiny_spec, precision)
    seen = Seen(training, monkeypatch)
    before = training.score("validation").metrics
    assert seen.types() == ({products}, {torch.float64})  # the loss of a score, over all rows
    training.train_on(0.5)
    assert seen.types() == ({products}, {torch.float32})
    training.score("test")
    assert seen.types() == ({products}, {torch.float64})
    assert before == trial(tiny_spec, precision).score("validation").metrics
    assert all(weight.dtype == torch.float32 for weight in training.model.parameters())
    states = [value for state in training.optimizer.state.values() for value in state.values()]
    assert all(value.dtype == torch.float32 for value in states)


@pytest.mark.unit
@on_a_cpu
@both
def test_a_trial_repeats_bit_for_bit_also_from_a_state_and_after_one_of_the_other_precision(
    tiny_spec: FineTuneSpec, tmp_path: Path, precision: str
) -> None:
    training = trial(tiny_spec, precision)
    first = training.advance(1.0)
    training.save(tmp_path)
    second = training.advance(1.0)
    trial(tiny_spec, {"fp32": "bf16", "bf16": "fp32"}[precision]).advance(0.5)
    again = trial(tiny_spec, precision)
    assert [again.advance(1.0), again.advance(1.0)] == [first, second]
    restored = trial(tiny_spec, precision)
    restored.restore(tmp_path)
    assert restored.advance(1.0) == second


@pytest.mark.unit
@on_a_cpu
def test_the_rounding_of_bf16_shows_in_the_loss_alone_in_so_short_a_training(tiny_spec: FineTuneSpec) -> None:
    found = {precision: trial(tiny_spec, precision).advance(1.0).metrics["loss"] for precision in ("fp32", "bf16")}
    assert found["fp32"] != found["bf16"]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.02)


@pytest.mark.unit
@on_a_cpu
def test_a_trial_that_nobody_decided_for_computes_in_bf16_where_its_cpu_does(tiny_spec: FineTuneSpec) -> None:
    found = cpu_native_bf16()
    if not found.native:
        pytest.skip(f"no native bf16 on this machine: {found.why}")
    training = trial(tiny_spec, "auto")
    assert training.provenance["precision"] == "bf16"
    assert training.advance(0.5) == trial(tiny_spec, "bf16").advance(0.5)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("capabilities", "native", "why"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, True, "its CPU has AVX512-BF16 and AMX"),
        ({"avx512_bf16": True, "amx_bf16": False}, True, "its CPU has AVX512-BF16"),
        ({"bf16": True, "sve": True}, True, "its CPU has Arm's bf16"),
        ({"avx512_f": True, "avx512_bf16": False}, False, "its CPU has neither AVX512-BF16, AMX nor Arm's bf16"),
        ({}, False, "its CPU has neither AVX512-BF16, AMX nor Arm's bf16"),
    ],
)
def test_a_cpu_has_the_instructions_that_torch_tells(
    monkeypatch: pytest.MonkeyPatch, capabilities: Mapping[str, bool], native: bool, why: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert cpu_native_bf16() == (native, why)


@pytest.mark.unit
def test_a_torch_that_does_not_tell_computes_in_fp32(tiny_spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    native, why = cpu_native_bf16()
    assert not native
    assert why == f"torch {torch.__version__} does not tell whether its CPU has bf16 (torch 2.13 does)"
    if not torch.cuda.is_available():
        assert trial(tiny_spec, "auto").provenance["precision"] == "fp32"


DRIVER = """
#include <string.h>
static int major[] = {%s}, minor[] = {%s};
int cuInit(int flags) { return %d; }
int cuDeviceGetCount(int *count) { *count = sizeof major / sizeof *major; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 75 ? major[device] : minor[device];
    return 0;
}
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, device ? "B" : "A", length); return 0; }
"""


@pytest.mark.system
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
@pytest.mark.parametrize(
    ("major", "minor", "status", "native", "why"),
    [
        ("9, 8", "0, 6", 0, True, "its B has compute capability 8.6, and bf16 takes 8.0"),
        ("9, 7", "0, 5", 0, False, "its B has compute capability 7.5, and bf16 takes 8.0"),
        ("", "", 0, False, "CUDA finds no GPU there"),
        ("9", "0", 100, False, "its GPUs do not tell: CUDA's error 100 of cuInit"),
    ],
)
def test_the_oldest_gpu_of_a_machine_tells_whether_they_all_compute_bf16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, major: str, minor: str, status: int, native: bool, why: str
) -> None:
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    source.write_text(DRIVER % (major, minor, status))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    devices.wait_for_mps.cache_clear()
    for module in (devices, native_bf16):
        monkeypatch.setattr(module, "DRIVER", str(library))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_native_bf16() == (native, why)
    devices.wait_for_mps.cache_clear()


@pytest.mark.gpu
@pytest.mark.system
def test_the_driver_tells_of_this_machines_gpus_what_torch_does() -> None:
    own = min(torch.cuda.get_device_capability(number) for number in range(torch.cuda.device_count()))
    assert gpus_native_bf16().native == (own >= (8, 0))
