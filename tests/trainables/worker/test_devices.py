"""The devices of a process are those that Ray has assigned to it; a GPU that cannot be used is an error, not a CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cluster.gpu import mps
from tests.support import devices as noting
from tests.support.specs import curve_experiment
from tests.support.user_trainers import make_trainer
from trainables.finetune.finetune import FineTuning
from trainables.lookup import build_training
from trainables.machine import devices
from trainables.machine.devices import DeviceError, DeviceNotReady, training_device, use_assigned_devices
from trainables.spec import FineTuneSpec, Objective
from trainables.user_trainer.user_training import UserTraining
from tuning import run_experiment

NOSET = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA starts on this machine")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("noset", ["0", "1"])
@pytest.mark.parametrize("gpus", [0, 0.25, 1, 2])
def test_a_process_sees_the_gpus_that_ray_has_assigned_and_no_others(gpus: float, noset: str) -> None:
    import ray

    def seen() -> tuple[str | None, list[int]]:
        use_assigned_devices()
        use_assigned_devices()  # a second time changes nothing
        return os.environ.get("CUDA_VISIBLE_DEVICES"), ray.get_gpu_ids()

    environment = {"env_vars": {NOSET: noset}}
    remote = ray.remote(num_gpus=gpus, max_calls=1, runtime_env=environment)(seen)
    visible, assigned = ray.get(remote.remote())
    assert len(assigned) == (0 if gpus == 0 else max(1, gpus))
    assert visible == ",".join(map(str, sorted(assigned)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("trainable", "gpus", "each"), [("Noting", 0, 0), ("Noting", 1, 1), ("NotingApart", 2, 1), ("noting", 0, 0)]
)
def test_so_do_slots_teams_functions_and_jobs_and_all_have_the_allocator_of_the_spec(
    trainable: str, gpus: int, each: int, tmp_path: Path
) -> None:
    function = trainable == "noting"
    spec = curve_experiment(
        tmp_path,
        trainable=f"tests.support.devices:{trainable}",
        epochs=1,
        expandable_segments=True,
        fixed={"model.log": str(tmp_path / "log")},
        space={"learning_rate": {"choice": [1e-3, 1e-2]}},
        strategies=[{"kind": "grid"}],
        objective={"metric": "accuracy", "mode": "max"},
        cluster={"address": "auto", "gpus_per_trial": gpus, "max_concurrent": 1},
        test=not function,
    )
    run_experiment(spec, progress=False)
    noted = noting.noted(tmp_path / "log")
    assert len(noted) == 2 if function else len(noted) >= 3 * max(1, gpus)  # two trials, and the one scored on test
    for visible, assigned, allocator in noted:
        assert len(assigned) == each
        assert visible == ",".join(assigned)
        assert allocator == "expandable_segments:True"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_process_outside_rays_workers_keeps_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    use_assigned_devices()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert training_device() == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_the_memory_is_capped_before_a_trial_is_built(tmp_path: Path) -> None:
    import ray

    spec = FineTuneSpec(
        trainable="tests.support.devices:Noting",
        epochs=1,
        fixed={"model.log": str(tmp_path / "log")},
        objective=Objective(metric="accuracy", mode="max"),
    )

    def built() -> list[str]:
        import torch

        device = SimpleNamespace(total_memory=2**34)
        torch.cuda.is_available = lambda: True
        torch.cuda.get_device_properties = lambda index: device
        torch.cuda.set_per_process_memory_fraction = lambda share: noting.BUILT.append("capped")
        build_training({"learning_rate": 1e-3, **spec.fixed}, spec)
        return noting.BUILT

    happened = ray.get(ray.remote(num_gpus=0.25, max_calls=1)(built).remote())
    assert happened[:2] == ["capped", "built"]


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes this process one that holds GPU 0 of a machine with a device file; returns that file."""
    file = tmp_path / "nvidia0"
    file.touch()
    devices.wait_for_mps.cache_clear()
    monkeypatch.setattr(devices, "_assigned", ("0",))
    monkeypatch.setattr(devices, "DEVICE_FILES", (str(tmp_path / "nvidia[0-9]*"),))
    return file


@without_cuda
@pytest.mark.unit
def test_a_gpu_that_cannot_be_used_is_an_error_with_cause_and_next_step(held: Path, tiny_spec: FineTuneSpec) -> None:
    said = r"GPU 0 of .* is assigned to this trial, and CUDA does not start there: .*; .*cluster\.gpus_per_trial=0"
    with pytest.raises(DeviceError, match=said):
        FineTuning({}, tiny_spec)
    with pytest.raises(DeviceError, match=said):
        UserTraining(make_trainer, {"learning_rate": 1e-3}, tiny_spec)
    if torch.version.cuda is None:
        with pytest.raises(DeviceError, match=r"is built without CUDA; install torch with CUDA on that node"):
            training_device()


@without_cuda
@pytest.mark.unit
def test_trials_on_logical_gpus_train_on_the_cpu(held: Path, tiny_spec: FineTuneSpec) -> None:
    held.unlink()
    assert training_device() == "cpu"
    assert FineTuning({}, tiny_spec).model.device.type == "cpu"


@without_cuda
@pytest.mark.unit
def test_a_trial_without_a_gpu_on_a_machine_that_has_one_trains_on_the_cpu(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for assigned in ((), None):
        monkeypatch.setattr(devices, "_assigned", assigned)
        assert training_device() == "cpu"


def driver(folder: Path, not_ready: int) -> str:
    """Makes a CUDA driver that says so many times that its MPS server is not ready; returns its path."""
    source, library = folder / "driver.c", folder / "libcuda.so.1"
    source.write_text(f"static int left = {not_ready}; int cuInit(int flags) {{ return left-- > 0 ? 807 : 0; }}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


@without_cuda
@pytest.mark.system
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
def test_an_mps_server_that_is_not_ready_is_waited_for(
    held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(devices.time, "sleep", waits.append)
    monkeypatch.setattr(devices, "DRIVER", driver(tmp_path, 2))
    with pytest.raises(DeviceError) as raised:
        training_device()
    assert len(waits) == 2
    assert not isinstance(raised.value, DeviceNotReady)  # it is ready now: torch without CUDA is the reason
    devices.wait_for_mps.cache_clear()
    monkeypatch.setattr(devices, "READY_SECONDS", 0.0)
    (tmp_path / "never").mkdir()
    monkeypatch.setattr(devices, "DRIVER", driver(tmp_path / "never", 10**9))
    with pytest.raises(DeviceNotReady, match="error 807 of the driver"):
        training_device()


@pytest.mark.unit
def test_a_process_that_shares_its_gpu_takes_the_mps_daemon_of_that_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes = tmp_path / "1"
    pipes.mkdir()
    (pipes / mps.UUID_FILE).write_text("GPU-1a2b")
    monkeypatch.setenv(mps.PIPES, str(tmp_path))
    expected: dict[tuple[str, ...], Any] = {
        ("1",): {mps.PIPES: str(pipes), mps.VISIBLE: "GPU-1a2b"},
        ("0",): {},
        ("0", "1"): {},
        (): {},
    }
    assert {assigned: devices._under_mps(assigned) for assigned in expected} == expected
