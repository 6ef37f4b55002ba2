"""An estimate is a short table in plain words, and JSON that reads back."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from tuning.estimate.text import duration_text, estimate_text, one_line
from tuning.estimate.types import Expected, ExperimentEstimate, SlotsEstimate

pytestmark = pytest.mark.unit

COLUMN = SlotsEstimate(
    slots=2,
    simulated=True,
    trials=Expected(12, 12, 12),
    stopped=Expected(2, 3, 4),
    epochs=Expected(20, 21, 22),
    steps=Expected(800, 850, 900),
    device_seconds=Expected(3000, 3600, 4500),
    wall_seconds=Expected(480, 540, 660),
    memory=1_900_000_000,
    disk=480_000_000,
    money=Expected(1.75, 2.1, 2.625),
)
ESTIMATE = ExperimentEstimate(
    experiment="mine", strategies=4, seeds=1, device="CPU core", source="measured now", columns=(COLUMN,),
    trial_memory=1_100_000_000, currency="USD", certain=("one thing", "another"), ranges=("a third: why",),
)  # fmt: skip


def test_an_estimate_is_a_table_with_a_column_for_each_number_of_slots() -> None:
    wide = replace(COLUMN, slots=64, wall_seconds=Expected(60, 60, 60), money=None)
    lines = estimate_text(replace(ESTIMATE, columns=(COLUMN, wide))).splitlines()
    assert lines[0] == "mine: 4 studies, of 4 strategies with 1 seed"
    assert [line.split()[-1] for line in lines[1:3]] == ["64", "early"]
    assert next(line for line in lines if "wall time" in line).split() == [
        *["wall", "time", "9", "min", "(8", "min", "to", "11", "min)", "60", "s"]
    ]


def test_every_row_says_what_is_certain_as_one_number_and_else_a_range() -> None:
    rows = (line for line in estimate_text(ESTIMATE).splitlines() if line.startswith("  "))
    shown = dict(re.split(r"\s{2,}", row.strip(), maxsplit=1) for row in rows)
    assert shown == {
        "trials at a time": "2",
        "trials": "12; 3 (2 to 4) of them stopped early",
        "optimizer steps": "850 (800 to 900)",
        "epochs of all": "21 (20 to 22)",
        "device-hours": "1 (0.83 to 1.25) CPU core-hours",
        "wall time": "9 min (8 min to 11 min)",
        "memory of a trial": "about 1.1 GB",
        "memory of all": "about 1.9 GB",
        "disk": "at most 480 MB",
        "money": "2.1 (1.75 to 2.62) USD",
    }
    assert estimate_text(ESTIMATE).splitlines()[-3:] == [
        "seconds of a trial: measured now",
        "certain: one thing; another",
        "- a third: why",
    ]


def test_what_is_not_known_is_said() -> None:
    unknown = replace(COLUMN, trials=None, epochs=None, device_seconds=None, wall_seconds=None, disk=None, money=None)
    shown = estimate_text(replace(ESTIMATE, columns=(unknown,)))
    assert shown.count("not known") == 5
    assert "money" not in shown
    assert one_line(unknown, "GPU") == "not known"


def test_a_run_says_it_in_one_line() -> None:
    told = "9 min (8 min to 11 min) with 2 trials at a time, 1 (0.83 to 1.25) CPU core-hours"
    assert one_line(COLUMN, "CPU core") == told


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (95, "95 s"), (540, "9 min"), (3600, "1 h 00 min"), (7500, "2 h 05 min"), (3.2 * 86400, "3 d 5 h")],
)
def test_a_duration_is_in_the_units_of_its_size(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words


def test_the_json_names_its_version_and_reads_back() -> None:
    plain = json.loads(json.dumps(ESTIMATE.to_json()))
    assert plain["schema_version"] == 1
    assert plain["columns"][0]["wall_seconds"] == {"low": 480, "likely": 540, "high": 660}
    assert ExperimentEstimate.from_json(plain) == ESTIMATE
