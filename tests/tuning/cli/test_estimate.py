"""`tunefleet estimate`: its table, its JSON, its errors, and the line with which a run begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import tunefleet
from tests.support.specs import curve_fields
from tuning.cli import main
from tuning.testing.simulated_ray import SimulatedNode, simulated_ray


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with an experiment in closed form: four trials of four epochs of a minute each, two at a time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))
    fields = curve_fields(
        "runs", strategies=[{"kind": "grid", "points": 4}], test=False, fixed={"model.seconds_per_epoch": 60},
        cluster={"cpus_per_trial": 0.5, "gpus_per_trial": 0},
        budget={"price": {"per_device_hour": 3.0, "currency": "EUR"}},
    )  # fmt: skip
    (tmp_path / "curve.yaml").write_text(yaml.safe_dump(fields))
    return "curve.yaml"


@pytest.mark.tune
def test_what_an_experiment_takes_is_a_table_on_standard_output_alone(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", spec, "--no-calibration", "--slots", "2,4"]) == 0
    shown = capsys.readouterr()
    rows = {line[2:20].strip(): line[20:].split("  ") for line in shown.out.splitlines() if line.startswith("  ")}
    assert [cell.strip() for cell in rows["trials at a time"] if cell.strip()] == ["2", "4"]
    # Two turns of 4 minutes on two slots, one on four; 12 s for Ray, its processes and the driver.
    assert [cell.strip() for cell in rows["wall time"] if cell.strip()] == ["8 min", "4 min"]
    assert shown.out.startswith("whole: 1 study, of 1 strategy with 1 seed\n")
    assert "EUR" in shown.out
    assert "simulating the experiment with 2 trials at a time" in shown.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.tune
def test_the_json_is_in_seconds_and_bytes(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", spec, "--no-calibration", "--json", "--slots=2"]) == 0
    plain = json.loads(capsys.readouterr().out)
    (column,) = plain["columns"]
    assert plain["schema_version"] == 1
    assert (plain["experiment"], plain["device"], plain["currency"]) == ("whole", "CPU core", "EUR")
    assert column["trials"] == {"low": 4, "likely": 4, "high": 4}
    assert column["epochs"]["likely"] == 16
    assert column["wall_seconds"]["likely"] == pytest.approx(480 + 12, abs=2)
    assert column["device_seconds"]["likely"] == pytest.approx(482, abs=3)  # two slots of half a core each
    assert column["money"]["likely"] == pytest.approx(482 / 3600 * 3.0, rel=0.02)


@pytest.mark.tune
def test_a_run_begins_with_what_it_will_take(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    with simulated_ray(SimulatedNode(cpus=1)):
        assert main(["run", spec]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("whole: expected: ")
    assert first.endswith("(by model.seconds_per_epoch, as a formula takes it)")


@pytest.mark.tune
def test_from_python_it_is_an_object_that_prints_the_table(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    estimate = tunefleet.estimate(spec, {"epochs": 2}, slots=2, calibrate=False, progress=False)
    assert capsys.readouterr().out == ""
    assert estimate.columns[0].epochs == (8, 8, 8)
    assert repr(estimate).startswith("whole: 1 study")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slots", "2,many"], "--slots: '2,many': must be numbers above 0, with commas between them; such as"),
        (["--slots", "0"], "--slots: '0': must be numbers above 0"),
        (["--slots"], "option '--slots' requires an argument"),
        (["--calibration"], "--calibration: no such option; "),
        (["epoch=2"], "epoch: "),
        (
            ["--no-calibration", "cluster.address=host:6379"],
            "cluster.address: 'host:6379': is not joined without a calibration, so how many trials it runs at a time "
            "is not known; give them, such as --slots 8,64",
        ),
        (
            ["--no-calibration", "trainable=finetune", "model=minilm", "fixed={}"],
            "--no-calibration: 'given': nothing is known of this training: no earlier run in runs, and no estimate; "
            "leave it out, and a minute is measured",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_named_with_the_next_step_and_status_2(
    words: list[str], message: str, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", spec, *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
