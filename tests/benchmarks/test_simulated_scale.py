"""Tests what `benchmarks.simulated_scale` counts, on arms of a few trials."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import simulated_scale
from benchmarks.simulated_scale import Arm, by_parts, measure, slots_busy


@pytest.mark.unit
def test_an_arm_has_a_name_that_is_read_back() -> None:
    for text in ("8x1000x10@0.2", "64x640x4@3600"):
        assert str(Arm.parse(text)) == text


@pytest.mark.unit
@pytest.mark.parametrize("text", ["", "8x1000x10", "0x10x4@1", "8x1000x10@", "ax1x1@1"])
def test_what_is_no_arm_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--arms: .* is no SLOTSxTRIALSxREPORTS@SECONDS, such as 64x640x4@3600"):
        Arm.parse(text)


@pytest.mark.unit
def test_costs_are_divided_among_the_reports_of_each_part() -> None:
    costs = [0.002 * number for number in range(1, 11)] + [0.02 + 0.004 * number for number in range(1, 11)]
    assert by_parts(costs) == pytest.approx([2.0] * 5 + [4.0] * 5)


@pytest.mark.unit
def test_slots_are_busy_from_the_first_step_until_the_last_trials_start() -> None:
    def trial(*spans: tuple[float, float]) -> SimpleNamespace:
        return SimpleNamespace(reports=[SimpleNamespace(time=end, device_seconds=end - begin) for begin, end in spans])

    trials = [trial((0.0, 10.0), (10.0, 20.0)), trial((0.0, 12.0)), trial((16.0, 40.0))]
    assert slots_busy(trials, slots=2) == pytest.approx((16 + 12) / 32)


@pytest.mark.tune
def test_an_arm_is_a_study_whose_driver_is_measured() -> None:
    found = measure(Arm(slots=4, trials=12, reports=2, seconds=100.0), "random")
    assert (found["trials"], found["reports"]) == (12, 24)
    assert 0.0 < found["driver_cpu_seconds"] < found["virtual_seconds"]
    assert found["driver_ms_per_report"] == pytest.approx(1000 * found["driver_cpu_seconds"] / 24)
    assert 0.8 < found["slots_busy"] <= 1.0
    assert found["virtual_seconds"] > 12 * 50.0 / 4
    assert min(found["store_bytes"], found["snapshot_bytes"]) > 1000


@pytest.mark.tune
def test_the_command_writes_what_it_has_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "scale.json"
    assert simulated_scale.main(["--arms", "2x4x1@10", "--strategy", "grid", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert written["arms"]["2x4x1@10"]["strategy"] == "grid"
    assert written["arms"]["2x4x1@10"]["trials"] == 4
