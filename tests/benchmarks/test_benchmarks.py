"""The benchmarks measure what they say, count every process, and run the same trials in every arm."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import controller, exploit
from benchmarks.throughput import __main__ as throughput
from benchmarks.throughput import summary
from benchmarks.throughput.arms import TrialRecord, add, read
from benchmarks.throughput.breakdown import STAMPS, breakdown, read_stamps
from benchmarks.throughput.session import ARMS, Arm, run_arm
from benchmarks.workload import Workload
from tests.support.strategies import installed_kinds
from trainables.spec import FineTuneSpec
from tuning import load_spec
from tuning.strategies import find_strategies

ROOT = Path(__file__).parents[2]
# The parent forgets its child; the child, like Ray's raylet, ignores SIGCHLD, and its own child is killed.
HIDDEN = """
import os, signal, sys, time

def burn(seconds):
    while time.process_time() < seconds:
        pass

if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:
        burn(0.6)
        with open(sys.argv[1], "wb") as file:
            file.write(bytes(2**23))
        time.sleep(0.4)
        os.kill(os.getpid(), signal.SIGKILL)
    burn(0.4)
    time.sleep(1)
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Uses one thread, as a slot of one core: the number of threads affects the last bits of a sum."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny(tiny_spec: FineTuneSpec) -> Workload:
    """Returns two trials on the tiny model."""
    data = tiny_spec.data
    return Workload(
        trials=2,
        slots=1,
        rows=48,
        validation_rows=20,
        max_length=32,
        task=tiny_spec.task,
        model=tiny_spec.model,
        data=data.path,
        text=data.text,
        label=data.label,
    )


def measured(tmp_path: Path, *command: str) -> dict[str, Any]:
    """Returns what `benchmarks.process_tree` measures of a command."""
    usage = tmp_path / "usage.json"
    line = [sys.executable, "-m", "benchmarks.process_tree", str(usage), *command]
    subprocess.run(line, cwd=ROOT, check=False)
    return dict(json.loads(usage.read_text()))


@pytest.mark.system
def test_the_time_of_a_forgotten_grandchild_that_was_killed_is_counted(tmp_path: Path) -> None:
    usage = measured(tmp_path, sys.executable, "-c", HIDDEN, str(tmp_path / "file"))
    assert usage["status"] == 0
    # Samples miss up to an interval of each process; the task clock misses nothing.
    assert usage["cpu_seconds"] > (1.0 if usage["cpu_method"] == "task clock" else 0.7)


@pytest.mark.system
def test_what_a_forgotten_grandchild_writes_is_counted(tmp_path: Path) -> None:
    def own() -> int:
        return int(Path("/proc/self/io").read_text().split("\nwrite_bytes: ")[1].split()[0])

    before = own()
    (tmp_path / "probe").write_bytes(bytes(2**20))
    if own() == before:
        pytest.skip("the temporary folder is in memory, where nothing is written to a disk")
    assert measured(tmp_path, sys.executable, "-c", HIDDEN, str(tmp_path / "file"))["bytes_written"] >= 2**23


@pytest.mark.unit
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_trial_comes_to_what_a_plain_trainer_and_the_plain_loop_come_to_bit_for_bit(
    tiny: Workload, precision: str, one_thread: None
) -> None:
    from benchmarks.throughput.arms.gate import plain_trial
    from benchmarks.throughput.arms.limit import Loop
    from trainables.finetune.finetune import FineTuning

    workload = tiny.model_copy(update={"precision": precision})
    loop = Loop(workload)
    loop.warm_up()
    for rate in workload.learning_rates:
        spec = workload.trial
        training = FineTuning({**spec.fixed, "learning_rate": rate}, spec)
        metrics = training.advance(1).metrics
        assert training.provenance["precision"] == precision
        plain, limit = plain_trial(workload, rate, workload.seed, True), loop.run(rate)
        assert plain.steps == limit.steps == 3
        assert (plain.accuracy, plain.loss) == (metrics["accuracy"], metrics["loss"])
        assert (limit.accuracy, limit.loss) == (metrics["accuracy"], metrics["loss"])


@pytest.mark.unit
def test_the_plain_trainer_with_its_own_shuffle_sees_other_batches(tiny: Workload, one_thread: None) -> None:
    from benchmarks.throughput.arms.gate import plain_trial

    rate = tiny.learning_rates[-1]
    assert plain_trial(tiny, rate, tiny.seed, False).loss != plain_trial(tiny, rate, tiny.seed, True).loss


def usage(wall: float, cpu: float) -> dict[str, Any]:
    return {"started": 100.0, "wall_seconds": wall, "cpu_seconds": cpu, "bytes_written": 7}


def run_of(arm: str, repeat: int, wall: float, cpu: float, **more: Any) -> dict[str, Any]:
    run = {"arm": arm, "precision": "fp32", "repeat": repeat, "usage": usage(wall, cpu)}
    return run | {"trials": [], "bytes_left": 0, "error": None} | more


@pytest.mark.unit
def test_efficiency_is_the_limits_loop_by_the_arm_of_the_same_repeat_and_failures_do_not_count(tiny: Workload) -> None:
    loops = [{"wall_seconds": 10.0, "cpu_seconds": 18.0}, {"wall_seconds": 12.0, "cpu_seconds": 20.0}]
    runs = [run_of("limit", repeat, 30, 40, loop=loop) for repeat, loop in enumerate(loops)]
    runs += [run_of("tunefleet", 0, 20, 36), run_of("tunefleet", 1, 16, 25)]
    runs += [run_of("ray", 0, 50, 90), run_of("ray", 1, 1, 1, error="it broke")]
    found = summary.summarise(runs, tiny, our_tokens=5)
    assert found["arms"]["tunefleet"]["efficiency"]["wall"] == {"median": 0.625, "low": 0.5, "high": 0.75}
    assert found["arms"]["tunefleet"]["efficiency"]["cpu"]["low"] == 0.5
    assert found["ratios"]["ray"] == {
        "wall": {"median": 2.5, "low": 2.5, "high": 2.5},
        "cpu": {"median": 2.5, "low": 2.5, "high": 2.5},
    }
    assert found["arms"]["ray"]["runs"] == 1
    assert found["default_ratios"] == {}


@pytest.mark.unit
def test_figures_are_of_one_precision_and_peers_by_default_are_compared_with_it_too(tiny: Workload) -> None:
    runs = [run_of("limit", 0, 30, 40, loop={"wall_seconds": 10.0, "cpu_seconds": 18.0})]
    runs += [run_of("tunefleet", 0, 20, 36), run_of("ray", 0, 50, 90), run_of("ray_expert", 0, 40, 80)]
    loop = {"wall_seconds": 4.0, "cpu_seconds": 7.0}
    runs += [run_of("limit", 0, 20, 25, loop=loop, precision="bf16")]
    runs += [run_of("tunefleet", 0, 10, 20, precision="bf16"), run_of("ray", 0, 30, 50, precision="bf16")]
    found = summary.summarise(runs, tiny.model_copy(update={"precision": "bf16"}), our_tokens=5)
    assert list(found["arms"]) == ["limit", "tunefleet", "ray"]
    assert found["arms"]["tunefleet"]["wall_seconds"]["median"] == 10
    assert found["arms"]["tunefleet"]["efficiency"]["cpu"]["median"] == 0.35
    assert found["arms"]["limit"]["loop"]["wall"]["median"] == 4
    assert {name: ratio["wall"]["median"] for name, ratio in found["ratios"].items()} == {"ray": 3}
    by_default = {name: (r["wall"]["median"], r["cpu"]["median"]) for name, r in found["default_ratios"].items()}
    assert by_default == {"ray": (5, 4.5), "ray_expert": (4, 4)}
    assert summary.summarise(runs, tiny, our_tokens=5)["arms"]["tunefleet"]["wall_seconds"]["median"] == 20


@pytest.mark.unit
@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp32"), ("cuda", "bf16")])
def test_the_precision_of_a_workload_is_the_devices_unless_stated(device: str, precision: str) -> None:
    assert Workload(device=device).trial.precision == precision
    assert Workload(device=device, precision="fp32").trial.precision == "fp32"


@pytest.mark.unit
def test_a_peer_computes_in_the_precision_of_the_workload_and_by_default_as_a_trainer_does(
    tiny: Workload, tmp_path: Path
) -> None:
    from transformers import TrainingArguments

    from benchmarks.throughput.arms.trainer import arguments

    by_default = arguments(tiny, tmp_path, expert=False)
    assert by_default.bf16 is TrainingArguments(output_dir=str(tmp_path), use_cpu=True).bf16 is False
    assert arguments(tiny.model_copy(update={"precision": "bf16"}), tmp_path, expert=False).bf16 is True


@pytest.mark.unit
def test_the_gate_counts_equal_trials_and_judges_other_batches_by_the_spread_of_seeds() -> None:
    ours = [{"accuracy": 0.7, "loss": 0.6}, {"accuracy": 0.8, "loss": 0.5}]
    other = [{"accuracy": 0.7, "loss": 0.6}, {"accuracy": 0.8, "loss": 0.5 + 1e-16 * 10}]
    far = [{"accuracy": 0.1}, {"accuracy": 0.2}]
    found = summary.gate(ours, other, ours, {"near": ours, "far": far}, [0.70, 0.72, 0.74])
    assert (found["trials"], found["identical"], found["identical_limit"]) == (2, 1, 2)
    assert found["peers"]["near"]["within"]
    assert not found["peers"]["far"]["within"]


def stamp(verb: str, worker: int, start: float, end: float, **more: Any) -> dict[str, Any]:
    """Returns a stamp with as many CPU seconds as wall seconds since the run began at 100."""
    times = {"start": start, "end": end, "cpu_start": start - 100, "cpu_end": end - 100}
    return {"verb": verb, "worker": worker, **times, **more}


@pytest.mark.unit
def test_the_breakdown_of_a_trial_adds_up_to_its_time(tmp_path: Path) -> None:
    trial = [("build", 0, 1), ("advance", 1, 9), ("evaluate", 6, 9), ("checkpoint", 9, 10)]
    stamps = [stamp(verb, 1, 110 + begin, 110 + end, tokens=50) for verb, begin, end in trial]
    stamps += [stamp(verb, 1, 122 + begin, 122 + end, tokens=60) for verb, begin, end in trial]
    (tmp_path / STAMPS).write_text("".join(json.dumps(s) + "\n" for s in reversed(stamps)))
    parts = breakdown(read_stamps(tmp_path), usage(wall=35, cpu=40))
    later = {part: seconds["wall"] for part, seconds in parts["later_trials"].items()}
    assert later == {"turnover": 2, "build": 1, "restore": 0, "train": 5, "evaluate": 3, "checkpoint": 1}
    assert (parts["start_up"]["wall"], parts["exit"]["wall"]) == (10, 3)
    assert parts["cpu_outside_slots"] == 40 - 32
    assert parts["cpu_between_reports"] == 12
    assert parts["tokens"] == 110


@pytest.mark.unit
def test_an_exploit_costs_from_the_last_checkpoint_of_its_generation_to_the_next_step_of_the_clone() -> None:
    first = [("build", 0, 1), ("advance", 1, 9), ("evaluate", 7, 9), ("checkpoint", 9, 10)]
    donor = [stamp(verb, 1, 101 + begin, 101 + end) for verb, begin, end in first]
    clone = [stamp(verb, 2, 100 + begin, 100 + end) for verb, begin, end in first]
    clone += [stamp("build", 2, 111.5, 111.75), stamp("restore", 2, 112, 112.5), stamp("advance", 2, 113, 119)]
    found = exploit.costs([*donor, *clone])
    median = {part: seconds["median"] for part, seconds in found["seconds"].items()}
    assert median == {"wall": 2, "build": 0.25, "restore": 0.5, "around": 1.25, "cpu_of_slot": 3}
    assert found["epoch_seconds"] == {"median": 6, "low": 6, "high": 6}


@pytest.mark.unit
def test_no_exploit_is_no_result() -> None:
    with pytest.raises(ValueError, match="--generations"):
        exploit.costs([stamp("build", 1, 0, 1)])


@pytest.mark.system
def test_an_arm_that_fails_says_how_and_the_session_goes_on(tiny: Workload, tmp_path: Path) -> None:
    told = run_arm(Arm("fails", (sys.executable, "-c", "raise SystemExit('no luck')")), tiny, tmp_path / "a", 60)
    assert told["error"] == "exit status 1: no luck"
    told = run_arm(Arm("does nothing", (sys.executable, "-c", "")), tiny, tmp_path / "b", 60)
    assert told["error"] == "0 of 2 trials came to an end"
    told = run_arm(Arm("hangs", (sys.executable, "-c", "import time; time.sleep(60)")), tiny, tmp_path / "c", 1)
    assert told["error"] == "stopped after 1 s"
    assert told["usage"]["status"] == -15


@pytest.mark.unit
def test_trials_are_read_in_the_order_of_the_list(tmp_path: Path) -> None:
    for rate in (2e-4, 1e-5):
        add(tmp_path, TrialRecord(learning_rate=rate, accuracy=0.5))
    assert [trial.learning_rate for trial in read(tmp_path)] == [1e-5, 2e-4]


@pytest.mark.unit
def test_an_unknown_arm_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        throughput.main(["--arms", "limit,rey"])
    assert "'rey' is none of limit, ray" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        throughput.main(["--precision", "fp32,fp16"])
    assert "--precision: 'fp16' is none of fp32, bf16" in capsys.readouterr().err


@pytest.mark.unit
def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where it is not installed
    with pytest.raises(SystemExit):
        throughput.main(["--arms", "limit"])
    assert "the plot needs matplotlib: pip install 'tunefleet[benchmarks]'" in capsys.readouterr().err


@pytest.mark.unit
@pytest.mark.parametrize("kind", [kind for kind in installed_kinds() if find_strategies()[kind].searches])
def test_the_controller_is_measured_with_every_strategy(kind: str, tmp_path: Path) -> None:
    options = argparse.Namespace(trials=20, reports=3, slots=2)
    spec = load_spec(controller.experiment("controller", kind, options, tmp_path))
    assert spec.strategies[0].plan(spec.space, spec.resolved_objective(), spec.epochs, 0).trials == 20


@pytest.mark.ray
@pytest.mark.parametrize("name", ["grid", controller.TUNE])
def test_the_controller_counts_every_report(name: str, ray_session: None, tmp_path: Path) -> None:
    options = argparse.Namespace(trials=4, reports=3, slots=2)
    assert controller.measure(name, options, tmp_path)["reports"] == 12


@pytest.mark.system
def test_a_session_compares_tunefleet_with_the_limit_and_passes_the_gate(tiny: Workload, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    sizes = ("trials", "slots", "rows", "validation_rows", "max_length", "task", "model", "data", "label")
    words = [word for name in sizes for word in (f"--{name.replace('_', '-')}", str(getattr(tiny, name)))]
    words += ["--text", *(tiny.text or ()), "--arms", "limit,tunefleet", "--repeats", "1", "--no-plot"]
    assert throughput.main([*words, "--precision", "bf16,fp32", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert list(result["precisions"]) == ["bf16", "fp32"]
    for found in result["precisions"].values():
        assert found["gate"]["identical"] == found["gate"]["identical_limit"] == found["gate"]["trials"] == 2
        tokens = {name: figures["tokens"] for name, figures in found["summary"]["arms"].items()}
        assert tokens["limit"] == tokens["tunefleet"] > 0
        assert found["steady_state"] > 0
        assert set(found["summary"]["arms"]) <= set(ARMS)
    order = [(run["arm"], run["precision"]) for run in result["runs"]]
    assert order == [(arm, precision) for arm in ("limit", "tunefleet") for precision in ("bf16", "fp32")]
    losses = {run["precision"]: run["trials"][0]["loss"] for run in result["runs"] if run["arm"] == "tunefleet"}
    assert losses["bf16"] != losses["fp32"]
    assert os.environ.get("HOME", "/nowhere") not in json.dumps(result["machine"])
