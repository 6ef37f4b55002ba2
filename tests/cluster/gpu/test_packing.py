"""Trials share a GPU: the arithmetic, the trial that is measured, what is refused before anything starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster import ClusterSpec
from cluster.capacity import ClusterError, Node, trial_resources
from cluster.gpu.packing import MOST_TRIALS, Packing, best_count, declared_packing, pack_trials, time_together
from cluster.session import Session
from cluster.spec import TrialResources
from tests.support.specs import GOOD
from trainables.errors import InputError
from trainables.finetune.finetune import FineTuning
from trainables.finetune.footprint import measure_footprint, step_of_longest_rows
from trainables.machine.device_memory import capped_fraction
from trainables.spec import FineTuneSpec
from tuning import SpecError, load_spec
from tuning.study.packing import heaviest, pack_session, sharing_record

GIB = 2**30


class Load(NamedTuple):
    """The load of a small encoder on a large device."""

    total_bytes: int = 140 * GIB
    peak_bytes: int = 4 * GIB
    context_bytes: int = GIB // 2


def gpu_node(cpus: float = 64, gpus: float = 1, accelerator: str | None = "H200") -> Node:
    return Node("n", "n", cpus, gpus, accelerator)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("change", "expected", "limit"),
    [
        ({}, MOST_TRIALS, "MPS"),
        ({"peak_bytes": 12 * GIB}, 10, "memory"),
        ({"peak_bytes": 40 * GIB}, 3, "memory"),
        ({"peak_bytes": 140 * GIB}, 1, "memory"),  # one that fills the device runs alone
    ],
)
def test_no_more_trials_share_a_gpu_than_its_memory_and_mps_allow(
    change: dict[str, Any], expected: int, limit: str
) -> None:
    packing = pack_trials([Load()._replace(**change)], [gpu_node()], cpus_per_trial=1, trials=100)
    assert packing.trials_per_gpu == expected
    assert min(packing.bounds, key=lambda what: packing.bounds[what]) == limit


class Device(NamedTuple):
    """A device on which a trial alone makes `alone` steps per second, and any number of them `full` at most."""

    alone: float
    full: float
    crowded: float = 0.0  # steps per second that each further trial costs

    def speed_of(self, count: int) -> float:
        return min(count * self.alone, self.full) - (count - 1) * self.crowded


@pytest.mark.unit
@pytest.mark.parametrize(
    ("device", "most", "timed", "best"),
    [
        (Device(alone=40, full=1000), 16, [1, 4, 8, 16], 16),  # a small model: its host is the limit
        (Device(alone=40, full=250), 16, [1, 4, 8, 16], 8),  # full with 6.25 of them
        (Device(alone=40, full=160), 16, [1, 4, 8], 4),
        (Device(alone=40, full=41), 16, [1, 4], 1),  # in turns: a second one would halve the first one's speed
        (Device(alone=40, full=200, crowded=40), 16, [1, 4], 1),  # they are in each other's way
        (Device(alone=40, full=1000), 8, [1, 4, 8], 8),
        (Device(alone=40, full=1000), 6, [1, 4, 6], 6),
        (Device(alone=40, full=1000), 2, [1, 2], 2),
    ],
)
def test_as_many_trials_share_a_gpu_as_compute_faster_together(
    device: Device, most: int, timed: list[int], best: int
) -> None:
    speeds = time_together(most, device.speed_of)
    assert list(speeds) == timed
    assert best_count(speeds) == best
    assert Packing(most, {"memory": most}).as_timed([speeds]) == Packing(best, {"memory": most, "speed": best})


@pytest.mark.unit
def test_the_kind_of_device_that_gains_least_decides_for_all() -> None:
    large, small = (time_together(16, Device(alone=40, full=full).speed_of) for full in (1000, 160))
    assert Packing(16, {}).as_timed([large, small]).trials_per_gpu == 4


@pytest.mark.unit
def test_no_more_trials_share_a_gpu_than_its_node_has_cpus_for() -> None:
    nodes = [gpu_node(cpus=32, gpus=4), gpu_node(cpus=12, gpus=2), gpu_node(cpus=2, gpus=0, accelerator=None)]
    assert pack_trials([Load()], nodes, cpus_per_trial=1, trials=100).trials_per_gpu == 6
    assert pack_trials([Load()], nodes, cpus_per_trial=3, trials=100).trials_per_gpu == 2


@pytest.mark.unit
def test_few_trials_are_spread_over_the_gpus_instead_of_packed_on_the_first() -> None:
    assert pack_trials([Load()], [gpu_node(gpus=4)], cpus_per_trial=1, trials=8).trials_per_gpu == 2


@pytest.mark.unit
def test_the_smallest_kind_of_device_decides_for_all() -> None:
    small = Load(total_bytes=24 * GIB)
    nodes = [gpu_node(), gpu_node(accelerator="L4")]
    assert pack_trials([Load(), small], nodes, cpus_per_trial=1, trials=99).bounds == {
        "memory": 4, "CPUs": 64, "trials": 50, "MPS": MOST_TRIALS
    }  # fmt: skip


@pytest.mark.unit
@pytest.mark.parametrize("count", range(1, MOST_TRIALS + 1))
def test_the_shares_of_a_gpu_fit_on_it_as_ray_and_as_floats_count(count: int) -> None:
    share = Packing(count, {}).share
    assert count * share <= 1
    assert share * 1e4 == pytest.approx(round(share * 1e4), abs=1e-9)  # a whole number of Ray's units
    assert gpu_node().holds(TrialResources(cpus=1, gpus=share)) == count
    assert declared_packing(TrialResources(cpus=1, gpus=share)).trials_per_gpu == count


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("count", [3, 7])
def test_ray_places_as_many_shares_on_one_gpu_and_no_more(count: int) -> None:
    import ray

    @ray.remote(num_cpus=0, num_gpus=Packing(count, {}).share)
    class Held:
        def gpu(self) -> list[str]:
            return [str(gpu) for gpu in ray.get_runtime_context().get_accelerator_ids()["GPU"]]

    until = time.monotonic() + 60
    while ray.available_resources().get("GPU", 0) < 4:
        assert time.monotonic() < until, f"tests before hold GPUs: {ray.available_resources()}"
        time.sleep(0.05)
    held = [Held.remote() for _ in range(count + 1)]
    gpus = [gpu for (gpu,) in ray.get([one.gpu.remote() for one in held])]
    assert sorted(gpus.count(gpu) for gpu in set(gpus)) == [1, count]


@pytest.mark.unit
def test_auto_is_refused_where_no_device_can_be_measured() -> None:
    auto = ClusterSpec(gpus_per_trial="auto")
    with pytest.raises(
        ClusterError, match=r"cluster.gpus_per_trial: auto measures .* but no node has a GPU. Set it to"
    ):
        trial_resources(auto, [gpu_node(gpus=0, accelerator=None)])
    with pytest.raises(ClusterError, match="the GPUs of n are logical, without a device"):
        trial_resources(auto, [gpu_node(accelerator=None)])
    assert trial_resources(auto, [gpu_node()]) == TrialResources(cpus=1, gpus=1)


@pytest.mark.unit
@pytest.mark.parametrize("value", ["lots", -0.5, 1.5, float("nan"), float("inf"), True])
def test_a_share_that_is_none_is_one_mistake_at_its_own_path(value: object) -> None:
    with pytest.raises(SpecError) as told:
        load_spec(GOOD | {"cluster": {"gpus_per_trial": value, "address": "head:6379"}})
    assert [mistake.path for mistake in told.value.mistakes] == ["cluster.gpus_per_trial"]
    assert "must be 0, a fraction of one GPU, a whole number of them, auto or null" in str(told.value)


@pytest.mark.unit
def test_auto_is_refused_for_a_trainable_that_it_cannot_measure() -> None:
    raw = GOOD | {"trainable": "learning_curve", "cluster": {"gpus_per_trial": "auto", "address": "head:6379"}}
    with pytest.raises(SpecError, match=r"cluster.gpus_per_trial: .auto.: measures trials of trainable: finetune"):
        load_spec(raw)


SPACES = {
    "space": {"learning_rate": {"loguniform": [1e-5, 1e-3]}, "per_device_train_batch_size": {"choice": [16, 64, 32]}},
    "strategies": [
        {"kind": "grid", "points": 2},
        {
            "kind": "hyperopt_asha",
            "trials": 5,
            "space": {
                "per_device_train_batch_size": {"logint": [8, 48]},
                "gradient_accumulation_steps": {"choice": [1, 8]},
                "data.max_length": {"int": [64, 128], "step": 64},
                "optim": {"choice": ["sgd", "adamw_torch", "adafactor"]},
                "model.hidden_dropout_prob": {"uniform": [0, 0.2]},
            },
        },
    ],
}


@pytest.mark.unit
def test_the_measured_trial_has_the_largest_sizes_of_all_strategies() -> None:
    assert heaviest(load_spec(GOOD | SPACES)) == {
        "per_device_train_batch_size": 64,
        "gradient_accumulation_steps": 2,
        "data.max_length": 128,
        "optim": "adamw_torch",
        "model.hidden_dropout_prob": 0.2,
    }


@pytest.mark.unit
def test_a_trial_is_measured_on_its_longest_rows_a_whole_step_of_them(tiny_spec: FineTuneSpec) -> None:
    training = FineTuning({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}, tiny_spec)
    rows = step_of_longest_rows(training)
    lengths = training.data.lengths
    assert sorted(lengths[row] for row in rows) == sorted(lengths)[-16:]
    few = FineTuning({"per_device_train_batch_size": 1000}, tiny_spec)
    assert len(step_of_longest_rows(few)) == 1000  # more than there are rows
    assert len(set(step_of_longest_rows(few))) == len(lengths)


@pytest.mark.unit
def test_without_a_device_nothing_is_measured(tiny_spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match=r"cluster.gpus_per_trial: 'auto': torch finds no CUDA device.* by hand"):
        measure_footprint({}, tiny_spec)


@pytest.mark.unit
@pytest.mark.parametrize("total", [8 * GIB, 24 * GIB, 140 * GIB])
@pytest.mark.parametrize("count", [2, 3, 8, 16])
def test_the_caps_of_all_slots_and_their_contexts_lie_within_the_device(total: int, count: int) -> None:
    cap = capped_fraction(1 / count, total) * total
    assert 0.5 * total / count <= cap < total / count
    if cap > 0.5 * total / count:
        assert count * (cap + GIB // 2) <= total


def session(*nodes: Node, **declared: Any) -> Session:
    spec = ClusterSpec(**declared)
    return Session("head:6379", nodes, trial_resources(spec, nodes))


@pytest.mark.unit
def test_the_header_tells_how_many_trials_share_a_gpu_and_why() -> None:
    packing = pack_trials([Load()], [gpu_node()], cpus_per_trial=1, trials=100).as_timed([{1: 40, 4: 160, 8: 165}])
    shared = replace(
        session(gpu_node()),
        packing=replace(packing, mps="under MPS, started for this run"),
        resources=TrialResources(cpus=1, gpus=packing.share),
    )
    assert shared.slots == 4
    assert shared.describe() == (
        "Ray at head:6379: 64 CPUs, 1 GPU; 4 trials at a time, 1 CPU and 0.25 GPU each; 4 trials per GPU (the least "
        "of 28 by memory, 64 by CPUs, 100 by trials, 16 by MPS, 4 by speed) under MPS, started for this run"
    )


@pytest.mark.unit
def test_what_was_measured_is_recorded_with_the_study() -> None:
    packing = replace(pack_trials([Load()], [gpu_node()], cpus_per_trial=1, trials=100), measured=(Load()._asdict(),))
    record = sharing_record(replace(session(gpu_node()), packing=packing))
    assert record["trials_per_gpu"] == 16
    assert str(record["gpu_sharing"]).startswith("16 trials per GPU (the least of 28 by memory")
    assert json.loads(str(record["gpu_footprints"])) == [Load()._asdict()]


@pytest.mark.unit
@pytest.mark.parametrize("share", [0, 1, None])
def test_trials_that_share_no_gpu_are_left_as_they_are(share: float | None, tmp_path: Path) -> None:
    spec = load_spec(GOOD | {"cluster": {"gpus_per_trial": share, "address": "head:6379", "storage": str(tmp_path)}})
    whole = session(gpu_node(), gpus_per_trial=share)
    assert pack_session(spec, whole, [4], progress=False) is whole
    assert sharing_record(whole) == {}


@pytest.mark.unit
def test_shares_of_a_logical_gpu_need_no_device_to_be_shared(tmp_path: Path) -> None:
    spec = load_spec(GOOD | {"cluster": {"gpus_per_trial": 0.5, "address": "head:6379", "storage": str(tmp_path)}})
    logical = session(gpu_node(accelerator=None), gpus_per_trial=0.5)
    assert pack_session(spec, logical, [4], progress=False) is logical


@pytest.mark.unit
def test_nothing_is_measured_where_no_study_is_left_to_run(tmp_path: Path) -> None:
    spec = load_spec(GOOD | {"cluster": {"gpus_per_trial": "auto", "address": "head:6379", "storage": str(tmp_path)}})
    joined = session(gpu_node(), gpus_per_trial="auto")
    assert pack_session(spec, joined, [], progress=False) is joined


# On a GPU that Ray alone knows of, trials compute on the CPU.
TOGETHER = """
import json, sys, time
import ray
from cluster import ClusterSpec
from cluster.capacity import Node, trial_resources
from cluster.session import Session
from tuning import load_spec
from tuning.study.packing import time_trials

ray.init(num_cpus=3, num_gpus=1, resources={"accelerator_type:H200": 1}, include_dashboard=False, log_to_driver=False)
spec = load_spec({
    "name": "timed", "task": "text_classification", "model": sys.argv[2], "epochs": 1,
    "data": {"path": sys.argv[1], "text": ["text"], "label": "label"},
    "space": {"learning_rate": {"choice": [1e-4, 1e-3]}, "per_device_train_batch_size": 4},
    "strategies": [{"kind": "grid"}],
    "cluster": {"address": "auto", "storage": sys.argv[3]},
})
nodes = tuple(map(Node.from_ray, ray.nodes()))
session = Session("auto", nodes, trial_resources(ClusterSpec(), nodes))
speeds = time_trials(spec, session, 2, "H200")
until = time.monotonic() + 60
while (free := ray.available_resources()).get("CPU") != 3 and time.monotonic() < until:  # Ray ends processes meanwhile
    time.sleep(0.1)
print(json.dumps([speeds, free.get("GPU"), free.get("CPU")]))
"""


@pytest.mark.system
def test_trials_are_timed_together_on_one_gpu_and_leave_it(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(tiny_data), str(tiny_model), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    speeds, gpus, cpus = json.loads(done.stdout.splitlines()[-1])
    assert list(speeds) == ["1", "2"]
    assert all(speed > 0 for speed in speeds.values())
    assert (gpus, cpus) == (1.0, 3.0)


# A device as far as Ray knows: torch finds none behind it.
RUN = """
import sys
import ray
from cluster.session import ClusterError
from tuning import load_spec, run_experiment

ray.init(num_cpus=2, num_gpus=1, resources={"accelerator_type:H200": 1}, include_dashboard=False, log_to_driver=False)
raw = {
    "task": "text_classification",
    "data": {"path": sys.argv[1], "text": ["text"], "label": "label"},
    "model": sys.argv[2],
    "epochs": 1,
    "space": {"learning_rate": {"choice": [1e-4, 1e-3]}, "per_device_train_batch_size": 48},
    "strategies": [{"kind": "grid"}],
}
cluster = {"address": "auto", "storage": sys.argv[3]}
try:
    run_experiment(load_spec(raw | {"name": "measured", "cluster": cluster | {"gpus_per_trial": "auto"}}))
except ClusterError as error:
    print("REFUSED", str(error).replace(chr(10), " "))
sharing = {"trainable": "learning_curve", "cluster": cluster | {"gpus_per_trial": 0.5}}
outcome = run_experiment(load_spec(raw | {"name": "shared"} | sharing))
(study,) = outcome.studies
print("RECORDED", study.devices_per_trial, study.attributes["trials_per_gpu"], study.attributes["gpu_sharing"])
"""


@pytest.mark.system
def test_a_run_says_before_its_first_trial_how_trials_share_a_gpu_or_why_they_cannot(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    paths = [str(path) for path in (tiny_data, tiny_model, tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *paths],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    lines = {line.partition(" ")[0]: line for line in done.stdout.splitlines()}
    assert "auto, but the trial that was to be measured, with {'per_device_train_batch_size': 48}" in lines["REFUSED"]
    assert "torch finds no CUDA device to measure a trial on; set it to a fraction or 1 by hand" in lines["REFUSED"]
    assert not (tmp_path / "measured").exists()  # it is not in the way of the next try
    how = "2 trials per GPU (as declared) in time slices where there is no MPS: none runs on"
    assert lines["shared:"].count(how) == 1
    assert lines["RECORDED"].startswith(f"RECORDED 0.5 2 {how}")
